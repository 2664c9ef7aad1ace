"""The admin of scheduled tasks, with what became of each, and what one may do to them."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dispatcher.admin.kit.found_rows import FoundChangeList, FoundPaginator
from dispatcher.admin.kit.html import status_link, table
from dispatcher.admin.kit.read_only import LARGE
from dispatcher.admin.task.form_admin import ScheduledTaskAdmin
from dispatcher.admin.task.list_actions import ListActions
from dispatcher.admin.task.outcome_filter import LastStatusFilter
from dispatcher.admin.task.run_marks import TickColumns, strip
from dispatcher.watch import recent_runs as newest
from scheduling.models import ScheduledTask
from scheduling.stop import current_stop
from scheduling.words import duration_text, moment_text

#: How many of its runs the page of a scheduled task shows.
RECENT = 5


class RecordedChangeList(FoundChangeList):
    """Its rows come with their records: one query for all of a page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        found = newest.records([task.pk for task in self.result_list])
        for task in self.result_list:
            task.record = found[task.pk]


admin.site.unregister(ScheduledTask)


@admin.register(ScheduledTask)
class DispatchedTaskAdmin(TickColumns, ListActions):  # type: ignore[misc]  # both have Media
    """The admin of scheduled tasks, with their runs."""

    list_display = ("named", "state", "ticks", "next_run", "schedule", "group", "owner")
    list_filter = (
        ScheduledTaskAdmin.list_filter[0],
        LastStatusFilter,
        *ScheduledTaskAdmin.list_filter[1:],
    )
    readonly_fields = (*ScheduledTaskAdmin.readonly_fields, "skipped", "recent_runs")
    now_fields = (*ScheduledTaskAdmin.now_fields, "skipped", "recent_runs")

    def get_paginator(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        """What is quick to count is counted; what has to be looked for is looked for once."""
        if {SEARCH_VAR, LastStatusFilter.parameter_name} & {*request.GET}:
            return FoundPaginator(self.get_queryset(request), *args, **options)
        return super().get_paginator(request, *args, **options)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return RecordedChangeList

    @admin.display(description=gettext_lazy("newest runs"))
    def recent_runs(self, task: ScheduledTask) -> str:
        record = newest.records([task.pk])[task.pk]
        newest_runs = list(task.runs.defer(*LARGE).order_by("-pk")[:RECENT])
        if not newest_runs:
            return format_html('<span class="mh-quiet">{}</span>', _("None yet."))
        heads = [_("status"), _("scheduled for"), _("duration")]
        rows = [
            [
                status_link(run.status, run.pk),
                moment_text(run.scheduled_for, task.timezone),
                duration_text(run.duration),
            ]
            for run in newest_runs
        ]
        every = reverse("admin:dispatcher_taskrun_changelist")
        link = format_html(
            '<a href="{}?scheduled_task__id__exact={}">{}</a>', every, task.pk, _("All its runs")
        )
        return format_html("<div>{}{}{}</div>", strip(task, record), table(heads, rows), link)

    def list_links(self, request: HttpRequest) -> list[tuple[str, str]]:
        links: list[tuple[str, str]] = super().list_links(request)
        if self.has_pause_permission(request) and current_stop() is None:
            links.insert(0, (reverse("admin:scheduling_stop_pause"), _("Pause everything")))
        return links
