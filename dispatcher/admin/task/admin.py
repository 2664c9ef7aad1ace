"""The admin of scheduled tasks.

What its pages show and do stands in the modules beside it: a function for each column, read-only
field, page and action of the list.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.views.main import SEARCH_VAR
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from dispatcher.admin.kit.fields import WallTimeField, WallTimeWidget
from dispatcher.admin.kit.found_rows import FoundChangeList, FoundPaginator
from dispatcher.admin.kit.list_filters import (
    GroupFilter,
    OwnerFilter,
    QueueFilter,
    StateFilter,
    TaskFilter,
)
from dispatcher.admin.kit.row_pages import RowPage, row_urls
from dispatcher.admin.task import (
    backfill,
    columns,
    copying,
    history,
    links,
    list_actions,
    pausing,
    preview,
    run_now,
    runs_page,
    skipping,
)
from dispatcher.admin.task.fieldsets import READ_ONLY, fieldsets_of
from dispatcher.admin.task.form import ScheduledTaskForm
from dispatcher.admin.task.outcome_filter import LastStatusFilter
from dispatcher.watch import recent_runs
from scheduling.database import DatabaseNow
from scheduling.models import ScheduledTask
from scheduling.stop import is_everything_paused
from scheduling.trail import Via, acting
from scheduling.words import task_advice

#: Import and export need django-import-export, which a project may do without.
HAS_FILES = apps.is_installed("import_export")
if HAS_FILES:
    from dispatcher.admin.exchange import pages as exchange


class RecentRunsChangeList(FoundChangeList):
    """A list whose rows come with their newest runs: one query for a page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        recent = recent_runs.recent_runs_of([task.pk for task in self.result_list])
        for task in self.result_list:
            task.recent_runs = recent[task.pk]


def _is_enabled(task: ScheduledTask) -> bool:
    return task.enabled


@admin.register(ScheduledTask)
class ScheduledTaskAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # no generic at run time
    """What should run and when, what became of it, and what one may do to it."""

    # The list
    list_display: Any = (
        columns.named,
        columns.state,
        columns.ticks,
        columns.next_run,
        columns.schedule,
        "group",
        "owner",
    )
    list_display_links: Any = (columns.named,)
    list_filter: ClassVar[Any] = (
        StateFilter,
        LastStatusFilter,
        "kind",
        GroupFilter,
        OwnerFilter,
        TaskFilter,
        QueueFilter,
    )
    search_fields = ("name", "task", "description", "owner")
    search_help_text = gettext_lazy("Name, task, description or owner")
    ordering = ("name_key",)  # unique, with an index: a page of the list sorts nothing
    actions: Any = (*list_actions.ACTIONS, *((exchange.export,) if HAS_FILES else ()))
    empty_value_display = "–"
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    # The form
    form = ScheduledTaskForm
    formfield_overrides = {
        models.DateTimeField: {"form_class": WallTimeField, "widget": WallTimeWidget}
    }
    readonly_fields: ClassVar[Any] = READ_ONLY

    #: The pages of one scheduled task besides Django's, in the order of their links.
    pages: ClassVar[dict[str, RowPage]] = {
        "run": RowPage(run_now.page, "run", gettext_lazy("Run now")),
        "skip": RowPage(skipping.skip_page, "skip", gettext_lazy("Skip next"), _is_enabled),
        "pause": RowPage(pausing.pause_page, "pause", gettext_lazy("Pause"), _is_enabled),
        "backfill": RowPage(backfill.page, "backfill", gettext_lazy("Backfill")),
        "duplicate": RowPage(copying.page, "add", gettext_lazy("Duplicate")),
        "runs": RowPage(runs_page.page, "see_runs", gettext_lazy("Its runs")),
        "unskip": RowPage(skipping.unskip_page, "skip"),
        "resume": RowPage(pausing.resume_page, "pause", methods=("POST",)),
        "preview": RowPage(preview.page, "change", methods=("POST",)),
    }

    class Media:
        css = {"all": ("dispatcher/admin.css", "dispatcher/pages.css", "dispatcher/form.css")}
        js = ("dispatcher/combobox.js", "dispatcher/form.js", "dispatcher/ticks.js")

    def get_urls(self) -> list[URLPattern]:
        preview_of_new = require_POST(lambda request: preview.page_of_new(self, request))
        return [
            *row_urls(self, self.pages),
            path(
                "preview/",
                self.admin_site.admin_view(preview_of_new),
                name="scheduling_scheduledtask_preview_new",
            ),
            *(exchange.urls(self) if HAS_FILES else ()),
            *super().get_urls(),
        ]

    # Who may --------------------------------------------------------------------------------------

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("scheduling.run_scheduledtask")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("scheduling.pause_scheduledtask")

    def has_skip_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("scheduling.skip_scheduledtask")

    def has_backfill_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("scheduling.backfill_scheduledtask")

    def has_see_runs_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dispatcher.view_taskrun")

    # The list -------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> Any:
        """Each row with the time at which it was read, one `now` for the page, and whether
        everything was paused then: no query more."""
        rows = super().get_queryset(request)
        return rows.annotate(read_at=DatabaseNow(), everything_paused=is_everything_paused())

    def get_list_display(self, request: HttpRequest) -> Any:
        """The columns; the one that shows runs for those who may see them."""
        if self.has_see_runs_permission(request):
            return self.list_display
        return [column for column in self.list_display if column is not columns.ticks]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return RecentRunsChangeList

    def get_paginator(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        """A paginator that looks only once for rows that have to be looked for."""
        if {SEARCH_VAR, LastStatusFilter.parameter_name} & {*request.GET}:
            return FoundPaginator(self.get_queryset(request), *args, **options)
        return super().get_paginator(request, *args, **options)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        offered = links.of_list(self, request)
        if HAS_FILES:
            offered += exchange.links(self, request)
        context = {"list_links": offered} | (extra_context or {})
        return _in_their_name(super().changelist_view, request, context)

    # The page of one ------------------------------------------------------------------------------

    def get_fieldsets(self, request: HttpRequest, obj: ScheduledTask | None = None) -> Any:
        return fieldsets_of(obj, may_change=self.has_change_permission(request, obj))

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return _in_their_name(super().changeform_view, request, *args, **kwargs)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        if (task := context.get("original")) is not None:
            context["links"] = links.of_task(self, request, task)
            context["buttons"] = links.buttons(self, request, task)
        return super().render_change_form(request, context, *args, **options)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write only what the person changed: the tick and other people share the row. An unknown
        task is allowed: this process need not know what the workers know."""
        if change:
            obj.save(update_fields=form.written_columns())
        else:
            obj.save()
        if advice := task_advice(obj.task):
            messages.warning(request, advice)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return _in_their_name(super().delete_view, request, *args, **kwargs)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return history.page(self, request, object_id, extra_context)


def _in_their_name(
    view: Callable[..., HttpResponse], request: HttpRequest, *args: Any, **kwargs: Any
) -> HttpResponse:
    """Note what the view changes as done in the admin by who asked."""
    with acting(Via.ADMIN, request.user):
        return view(request, *args, **kwargs)
