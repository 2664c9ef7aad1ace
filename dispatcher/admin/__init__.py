"""The admin of what happened. Each module registers its own."""

from django.contrib import admin

from dispatcher.admin import overview, processes, stop
from dispatcher.admin.run import admin as runs
from dispatcher.admin.task import admin as scheduled_tasks

__all__ = ["overview", "processes", "runs", "scheduled_tasks", "stop"]

if admin.site.index_template is None:  # or the project has a start page of its own
    admin.site.index_template = "admin/dispatcher/index.html"
