"""The admin of runs: what happened, and why."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models.functions import Left
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from dispatcher import runs
from dispatcher.admin import overview
from dispatcher.admin.reading import (
    LARGE,
    CappedPaginator,
    ReadOnlyAdmin,
    moment_span,
    run_url,
    status_badge,
    text_block,
)
from dispatcher.models import RunAttempt, TaskRun
from dispatcher.reasons import describe
from scheduling.admin import complaint, json_block, table
from scheduling.clock import DatabaseNow, database_now
from scheduling.models import ScheduledTask
from scheduling.wording import duration_text, moment_text


class RunChangeList(ChangeList):
    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        found = super().get_queryset(request, exclude_parameters)
        return found.defer(*LARGE).annotate(exception_head=Left("exception", 120))


class SinceFilter(admin.SimpleListFilter):
    title = gettext_lazy("planned")
    parameter_name = "since"

    _RANGES = {
        "hour": (timedelta(hours=1), gettext_lazy("in the last hour")),
        "day": (timedelta(days=1), gettext_lazy("in the last 24 hours")),
        "week": (timedelta(days=7), gettext_lazy("in the last 7 days")),
        "month": (timedelta(days=30), gettext_lazy("in the last 30 days")),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, label) for name, (_length, label) in self._RANGES.items()]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() not in self._RANGES:
            return queryset
        length, _label = self._RANGES[str(self.value())]
        return queryset.filter(planned_at__gte=database_now() - length)


class TaskFilter(admin.SimpleListFilter):
    """By task, from the small table of definitions: the runs would have to be read all."""

    title = gettext_lazy("task")
    parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = ScheduledTask.objects.order_by("task").values_list("task", flat=True).distinct()
        return [(name, name) for name in names]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(task=self.value()) if self.value() else queryset


class RunAttemptInline(admin.TabularInline):  # type: ignore[type-arg]
    model = RunAttempt
    extra = 0
    can_delete = False
    fields = ("number", "status_now", "began", "took", "worker", "what_went_wrong")
    readonly_fields = fields

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True  # whoever sees the run sees its attempts

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=gettext_lazy("attempt"))
    def number(self, attempt: RunAttempt) -> str:
        return str(attempt.attempt)

    @admin.display(description=gettext_lazy("status"))
    def status_now(self, attempt: RunAttempt) -> str:
        return status_badge(attempt.status)

    @admin.display(description=gettext_lazy("started"))
    def began(self, attempt: RunAttempt) -> str:
        return moment_span(attempt.started_at)

    @admin.display(description=gettext_lazy("duration"))
    def took(self, attempt: RunAttempt) -> str:
        if attempt.started_at is None:
            return ""
        return duration_text(attempt.finished_at - attempt.started_at)

    @admin.display(description=gettext_lazy("what went wrong"))
    def what_went_wrong(self, attempt: RunAttempt) -> str:
        said = attempt.exception or describe(attempt.reason, attempt.reason_params)
        if not attempt.traceback:
            return said
        block = text_block(attempt.traceback)
        return format_html("<details><summary>{}</summary>{}</details>", said, block)


@admin.register(TaskRun)
class TaskRunAdmin(ReadOnlyAdmin):
    list_display = (
        "status_now",
        "name_link",
        "planned_for",
        "began",
        "took",
        "late",
        "why",
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

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return RunChangeList

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(read_at=DatabaseNow())

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """An id is looked up by its index; anything else is a part of the name."""
        try:
            return queryset.filter(pk=UUID(search_term.strip())), False
        except ValueError:
            pass
        return super().get_search_results(request, queryset, search_term)

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return [RunAttemptInline] if obj is not None and obj.attempt > 1 else []

    def get_fieldsets(self, request: HttpRequest, obj: TaskRun | None = None) -> Any:
        if obj is None:
            return ()
        wrong = ("shown_exception", "shown_traceback") if obj.exception or obj.traceback else ()
        result = ("shown_result",) if obj.result is not None else ()
        return (
            (None, {"fields": ("status_text", "definition", "life")}),
            *([(_("What went wrong"), {"fields": wrong})] if wrong else []),
            (
                _("What it ran"),
                {"fields": ("task", "shown_args", "shown_kwargs", *result)},
            ),
            (
                _("Where it came from"),
                {"fields": ("trigger", "triggered_by", "triggered_via", "original", "revision")},
            ),
            (
                _("Where it went"),
                {
                    "fields": (
                        "id",
                        "attempt",
                        "retries",
                        "worker",
                        "pid",
                        "queue",
                        "priority",
                        "soft_time_limit",
                        "time_limit",
                        "message_id",
                    )
                },
            ),
        )

    # Columns ------------------------------------------------------------------------------------

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def status_now(self, run: TaskRun) -> str:
        return status_badge(run.status)

    @admin.display(description=gettext_lazy("name"), ordering="name")
    def name_link(self, run: TaskRun) -> str:
        return format_html('<a href="{}">{}</a>', run_url(run.pk), run.name)

    @admin.display(description=gettext_lazy("scheduled for"), ordering="scheduled_for")
    def planned_for(self, run: TaskRun) -> str:
        if run.slot_count == 1:
            return moment_span(run.scheduled_for)
        return format_html("{} ×{}", moment_span(run.scheduled_for), run.slot_count)

    @admin.display(description=gettext_lazy("started"), ordering="started_at")
    def began(self, run: TaskRun) -> str:
        """Only the time of day, where the date is that of the column before."""
        full = moment_text(run.started_at)
        same_day = full[:10] == moment_text(run.scheduled_for)[:10]
        shown = full[11:19] if same_day else full
        return format_html('<span class="mh-moment" title="{}">{}</span>', full, shown or "–")

    @admin.display(description=gettext_lazy("duration"))
    def took(self, run: TaskRun) -> str:
        if run.is_active and run.started_at is not None:
            elapsed = run.read_at - run.started_at  # type: ignore[attr-defined]
            return _("%(time)s so far") % {"time": duration_text(elapsed)}
        return duration_text(run.duration)

    @admin.display(description=gettext_lazy("late by"))
    def late(self, run: TaskRun) -> str:
        return duration_text(_lateness(run))

    @admin.display(description=gettext_lazy("reason"))
    def why(self, run: TaskRun) -> str:
        head: str = getattr(run, "exception_head", "")
        return head or (describe(run.reason, run.reason_params) if run.reason else "")

    # The page of a run --------------------------------------------------------------------------

    @admin.display(description=gettext_lazy("status"))
    def status_text(self, run: TaskRun) -> str:
        sentence = describe(run.reason, run.reason_params) if run.reason else ""
        return format_html("{} {}", status_badge(run.status), sentence)

    @admin.display(description=gettext_lazy("scheduled task"))
    def definition(self, run: TaskRun) -> str:
        task = ScheduledTask.objects.filter(pk=run.scheduled_task_id or 0).first()
        if task is None:
            why = _("Run without one.") if run.revision is None else _("It is deleted.")
            return format_html('{} <span class="mh-quiet">{}</span>', run.name, why)
        url = reverse("admin:scheduling_scheduledtask_change", args=[task.pk])
        return format_html('<a href="{}">{}</a>', url, run.name)

    @admin.display(description=gettext_lazy("its life"))
    def life(self, run: TaskRun) -> str:
        """Each step of the run, with the time that passed since the one before."""
        steps = [
            (_("scheduled for"), run.scheduled_for, ""),
            (_("last slot of %(n)d") % {"n": run.slot_count}, run.last_slot, ""),
            (_("planned"), run.planned_at, ""),
            (_("published"), run.published_at, ""),
            (_("started"), run.started_at, _after(_("late by %(time)s"), _lateness(run))),
            (_("finished"), run.finished_at, _after(_("after %(time)s"), run.duration)),
            (_("expires"), None if run.is_ended else run.expires_at, ""),
        ]
        rows = [[step, moment_text(moment), note] for step, moment, note in steps if moment]
        return table([], rows)

    @admin.display(description=gettext_lazy("exception"))
    def shown_exception(self, run: TaskRun) -> str:
        return text_block(run.exception)

    @admin.display(description=gettext_lazy("traceback"))
    def shown_traceback(self, run: TaskRun) -> str:
        return text_block(run.traceback)

    @admin.display(description=gettext_lazy("result"))
    def shown_result(self, run: TaskRun) -> str:
        return json_block(run.result)

    @admin.display(description=gettext_lazy("positional arguments"))
    def shown_args(self, run: TaskRun) -> str:
        return json_block(run.args)

    @admin.display(description=gettext_lazy("keyword arguments"))
    def shown_kwargs(self, run: TaskRun) -> str:
        return json_block(run.kwargs)

    @admin.display(description=gettext_lazy("rerun of"))
    def original(self, run: TaskRun) -> str:
        if run.rerun_of_id is None:
            return "–"
        return format_html('<a href="{}">{}</a>', run_url(run.rerun_of_id), run.rerun_of_id)

    # Cancel and rerun ---------------------------------------------------------------------------

    def buttons(self, request: HttpRequest, run: TaskRun) -> list[tuple[str, str]]:
        if run.is_ended and request.user.has_perm("dispatcher.rerun_taskrun"):
            return [("rerun", _("Run again"))]
        if not run.is_ended and request.user.has_perm("dispatcher.cancel_taskrun"):
            return [("cancel", _("Cancel"))]
        return []

    def get_urls(self) -> list[URLPattern]:
        return [
            self._button_url("cancel", self.cancel_view),
            self._button_url("rerun", self.rerun_view),
            *overview.urls(self.admin_site),
            *super().get_urls(),
        ]

    def _button_url(self, name: str, view: Callable[..., HttpResponse]) -> URLPattern:
        wrapped = self.admin_site.admin_view(require_POST(view))
        return path(f"<uuid:pk>/{name}/", wrapped, name=f"dispatcher_taskrun_{name}")

    def cancel_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        run = self._run_for(request, pk, "dispatcher.cancel_taskrun")
        if runs.cancel(run, by=request.user):
            messages.success(request, _("The run is cancelled."))
        else:
            messages.warning(request, _("The run had ended already."))
        return HttpResponseRedirect(run_url(run.pk))

    def rerun_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        run = self._run_for(request, pk, "dispatcher.rerun_taskrun")
        try:
            again = runs.rerun(run, by=request.user, via="admin")
        except ValidationError as error:
            messages.error(request, complaint(error))
            return HttpResponseRedirect(run_url(run.pk))
        messages.success(request, _("This is the new run."))
        return HttpResponseRedirect(run_url(again.pk))

    def _run_for(self, request: HttpRequest, pk: Any, permission: str) -> TaskRun:
        if not (self.has_view_permission(request) and request.user.has_perm(permission)):
            raise PermissionDenied
        run: TaskRun | None = self.get_object(request, str(pk))
        if run is None:
            raise Http404
        return run

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if obj is not None:
            context["buttons"] = [
                (reverse(f"admin:dispatcher_taskrun_{name}", args=[obj.pk]), label)
                for name, label in self.buttons(request, obj)
            ]
        return super().render_change_form(request, context, add, change, form_url, obj)


def _lateness(run: TaskRun) -> timedelta | None:
    """None also where a retry has moved `start_at` past the first start."""
    late = run.lateness
    return None if late is None or late < timedelta(0) else late


def _after(text: str, time: timedelta | None) -> str:
    return "" if time is None else text % {"time": duration_text(time)}
