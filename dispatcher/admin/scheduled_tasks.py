"""The admin of scheduled tasks, with what became of each, and “Run now”."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from dispatcher.admin.reading import LARGE, status_link
from dispatcher.admin.task_buttons import TaskButtons
from dispatcher.models import Status, TaskRun
from scheduling.admin import ScheduledTaskAdmin, StateFilter, table
from scheduling.models import ScheduledTask, ScheduledTaskQuerySet
from scheduling.stop import current_stop
from scheduling.wording import duration_text, moment_text

#: How many of its runs the page of a scheduled task shows.
RECENT = 5


class LastStatusFilter(admin.SimpleListFilter):
    title = gettext_lazy("last status")
    parameter_name = "last_status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        unstarted = (Status.PLANNED, Status.PUBLISHED)
        return [(status.value, status.label) for status in Status if status not in unstarted]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(last_status=self.value()) if self.value() else queryset


admin.site.unregister(ScheduledTask)


@admin.register(ScheduledTask)
class DispatchedTaskAdmin(TaskButtons):
    """The admin of scheduled tasks, with their runs."""

    list_display = (
        "name",
        "state",
        "last_run",
        "next_run",
        "schedule",
        "task",
        "group",
        "owner",
    )
    list_filter = (StateFilter, LastStatusFilter, *ScheduledTaskAdmin.list_filter[1:])
    actions = ("run_now", *ScheduledTaskAdmin.actions)
    readonly_fields = (*ScheduledTaskAdmin.readonly_fields, "recent_runs")
    now_fields = (*ScheduledTaskAdmin.now_fields, "recent_runs")

    def get_queryset(self, request: HttpRequest) -> Any:
        """With the newest run that has started or ended: an index entry per row, no query more."""
        begun = TaskRun.objects.active() | TaskRun.objects.ended()
        newest = begun.filter(scheduled_task=OuterRef("pk")).order_by("-pk")
        return (
            super()
            .get_queryset(request)
            .annotate(
                last_run_id=Subquery(newest.values("pk")[:1]),
                last_status=Subquery(newest.values("status")[:1]),
            )
        )

    @admin.display(description=gettext_lazy("last status"))
    def last_run(self, task: Any) -> str:
        return status_link(task.last_status, task.last_run_id) if task.last_status else "–"

    @admin.display(description=gettext_lazy("newest runs"))
    def recent_runs(self, task: ScheduledTask) -> str:
        newest = list(task.runs.defer(*LARGE).order_by("-pk")[:RECENT])
        if not newest:
            return format_html('<span class="mh-quiet">{}</span>', _("None yet."))
        heads = [_("status"), _("scheduled for"), _("duration")]
        rows = [
            [
                status_link(run.status, run.pk),
                moment_text(run.scheduled_for, task.timezone),
                duration_text(run.duration),
            ]
            for run in newest
        ]
        every = reverse("admin:dispatcher_taskrun_changelist")
        link = format_html(
            '<a href="{}?scheduled_task__id__exact={}">{}</a>', every, task.pk, _("All its runs")
        )
        return format_html("<div>{}{}</div>", table(heads, rows), link)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        may = self.has_pause_permission(request) and current_stop() is None
        return super().changelist_view(
            request, (extra_context or {}) | {"may_pause_everything": may}
        )

    # Run now, for many --------------------------------------------------------------------------

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("scheduling.run_scheduledtask")

    @admin.action(description=gettext_lazy("Run now"), permissions=["run"])
    def run_now(self, request: HttpRequest, queryset: ScheduledTaskQuerySet) -> None:
        done = self.each(request, queryset, lambda task: self.run_one(request, task))
        text = ngettext("%(n)d run started.", "%(n)d runs started.", done)
        messages.success(request, text % {"n": done})
