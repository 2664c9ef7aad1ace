"""The admin of runs: what happened, and why.

What its pages show and do stands in the modules beside it: a function for each column, field and
page.
"""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext_lazy

from dispatcher.admin.kit.found_rows import FoundChangeList, FoundPaginator
from dispatcher.admin.kit.list_filters import TaskFilter
from dispatcher.admin.kit.read_only import CappedPaginator, ReadOnlyAdmin
from dispatcher.admin.kit.row_pages import RowPage, row_urls
from dispatcher.admin.overview import page as overview
from dispatcher.admin.run import columns, links, verbs
from dispatcher.admin.run.details import fieldsets_of
from dispatcher.admin.run.search import SinceFilter, searched
from dispatcher.models import TaskRun
from dispatcher.models.run import LARGE
from scheduling.database import DatabaseNow

#: How often the page of a run that goes on asks for news (seconds).
REFRESH_SECONDS = 3


class RunChangeList(FoundChangeList):
    """Reads of each run only what the list shows."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        return listed(super().get_queryset(request, exclude_parameters))


def listed(runs: Any) -> Any:
    """The runs with what the list shows of them."""
    return runs.defer(*LARGE).annotate(exception_head=Left("exception", 120))


def _is_ended(run: TaskRun) -> bool:
    return run.is_ended


def _is_not_ended(run: TaskRun) -> bool:
    return not run.is_ended


@admin.register(TaskRun)
class TaskRunAdmin(ReadOnlyAdmin):
    """What happened, and why."""

    # The list
    list_display = (
        columns.status_now,
        columns.name_link,
        columns.planned_for,
        columns.began,
        columns.took,
        columns.late,
        columns.why,
        "trigger",
        "attempt",
        "worker",
    )
    list_display_links = None
    list_filter = ("status", "trigger", SinceFilter, TaskFilter)
    search_fields = ("name",)
    search_help_text = gettext_lazy("Name, or the id of a run")
    ordering = ("-pk",)
    paginator = CappedPaginator
    list_per_page = 50

    #: The pages of a run besides its own.
    pages: ClassVar[dict[str, RowPage]] = {
        "cancel": RowPage(
            verbs.cancel_page, "cancel", gettext_lazy("Cancel"), is_offered=_is_not_ended
        ),
        "rerun": RowPage(
            verbs.rerun_page, "rerun", gettext_lazy("Run again"), is_offered=_is_ended
        ),
    }

    class Media:
        css = {"all": ("dispatcher/admin.css", "dispatcher/pages.css")}

    def get_urls(self) -> list[URLPattern]:
        return [
            *overview.urls(self.admin_site),
            *row_urls(self, self.pages),
            *super().get_urls(),
        ]

    # Who may --------------------------------------------------------------------------------------

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dispatcher.cancel_taskrun")

    def has_rerun_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dispatcher.rerun_taskrun")

    # The list -------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> Any:
        """Each run with the time at which it was read."""
        return super().get_queryset(request).annotate(read_at=DatabaseNow())

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return RunChangeList

    def get_paginator(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        """A paginator that looks only once for a part of a name: it has to look at all runs."""
        if SEARCH_VAR in request.GET:
            return FoundPaginator(listed(self.get_queryset(request)), *args, **options)
        return super().get_paginator(request, *args, **options)

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        search = super().get_search_results
        return searched(
            queryset, search_term, lambda rows: search(request, rows, search_term)[0]
        ), False

    # The page of one ------------------------------------------------------------------------------

    def get_fieldsets(self, request: HttpRequest, obj: TaskRun | None = None) -> Any:
        return () if obj is None else fieldsets_of(obj)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        if (run := context.get("original")) is not None:
            context["links"] = links.of_run(self, request, run)
            context["neighbours"] = links.neighbours(run)
            context["live"] = None if run.is_ended else REFRESH_SECONDS
        return super().render_change_form(request, context, *args, **options)
