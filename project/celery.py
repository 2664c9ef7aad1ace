"""The Celery application.

`install` adds what Minutehand needs to it: the gate around every task, the two beat entries
(`dispatcher.tick` every minute, `dispatcher.rescue` every 20 seconds) and their queue. What helps a
worker besides is in the settings.
"""

import os

from celery import Celery

import dispatcher

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

app = Celery("project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
dispatcher.install(app)
