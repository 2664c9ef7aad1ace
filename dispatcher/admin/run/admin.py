"""The admin of runs: what happened, and why."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from dispatcher.admin import overview
from dispatcher.admin.kit.found_rows import FoundChangeList, FoundPaginator
from dispatcher.admin.kit.html import json_block, moment_span, run_url, status_badge, text_block
from dispatcher.admin.kit.list_filters import TaskFilter
from dispatcher.admin.kit.read_only import LARGE, CappedPaginator
from dispatcher.admin.run import page as run_page
from dispatcher.admin.run.buttons import RunButtons
from dispatcher.admin.run.search import named
from dispatcher.models import Status, TaskRun
from dispatcher.models.run import run_id_at
from dispatcher.reasons import describe
from scheduling.database import DatabaseNow, database_now
from scheduling.models import ScheduledTask
from scheduling.words import duration_text, moment_text

#: How often the page of a run that goes on asks for news (seconds).
REFRESH_SECONDS = 3


class RunChangeList(FoundChangeList):
    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        return listed(super().get_queryset(request, exclude_parameters))


def listed(runs: Any) -> Any:
    """With what the list shows of them."""
    return runs.defer(*LARGE).annotate(exception_head=Left("exception", 120))


class SinceFilter(admin.SimpleListFilter):
    title = pgettext_lazy("when it was", "planned")
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
        # Ids grow with the time at which a run was planned, and have an index.
        return queryset.filter(pk__gte=run_id_at(database_now() - length))


_ORIGIN = ("trigger", "triggered_by", "triggered_via", "rerun_of", "revision")
_PLACE = (
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
_SHOWN_AS = {"rerun_of": "original"}


def _known(run: TaskRun, names: tuple[str, ...]) -> tuple[str, ...]:
    """The fields that say something; `rerun_of` as a link, also where that run is gone."""
    filled = (name for name in names if run.serializable_value(name) not in (None, ""))
    return tuple(_SHOWN_AS.get(name, name) for name in filled)


@admin.register(TaskRun)
class TaskRunAdmin(RunButtons):
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

    class Media:
        css = {"all": ("dispatcher/admin.css", "dispatcher/pages.css")}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return RunChangeList

    def get_paginator(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        """A part of a name is looked for in all runs: once."""
        if SEARCH_VAR in request.GET:
            return FoundPaginator(listed(self.get_queryset(request)), *args, **options)
        return super().get_paginator(request, *args, **options)

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
        search = super().get_search_results
        if not search_term:
            return search(request, queryset, search_term)
        return named(queryset, lambda rows: search(request, rows, search_term)[0]), False

    def get_fieldsets(self, request: HttpRequest, obj: TaskRun | None = None) -> Any:
        if obj is None:
            return ()
        wrong = tuple(f"shown_{name}" for name in ("exception", "traceback") if getattr(obj, name))
        started = obj.started_at is not None and obj.status != Status.RETRYING
        return (
            (None, {"fields": ("status_text", "definition", "life")}),
            *([(_("What went wrong"), {"fields": wrong})] if wrong else []),
            *(
                [(_("What it returned"), {"fields": ("shown_result",)})]
                if obj.result is not None
                else []
            ),
            *([(_("What it logged"), {"fields": ("shown_log",)})] if started or obj.log else []),
            *([(_("Attempts"), {"fields": ("shown_attempts",)})] if obj.attempt > 1 else []),
            (
                _("What it ran"),
                {"fields": ("task", "shown_args", "shown_kwargs")},
            ),
            (_("Where it came from"), {"fields": _known(obj, _ORIGIN)}),
            (_("Where it went"), {"fields": _known(obj, _PLACE)}),
        )

    # Columns ------------------------------------------------------------------------------------

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def status_now(self, run: TaskRun) -> str:
        return status_badge(run.status)

    @admin.display(description=gettext_lazy("name"), ordering="name")
    def name_link(self, run: TaskRun) -> str:
        link = format_html('<a href="{}">{}</a>', run_url(run.pk), run.name)
        why = self.why(run)  # where its column has no room
        return format_html('{}<span class="mh-task mh-why">{}</span>', link, why) if why else link

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
        return duration_text(run_page.lateness(run))

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
        return run_page.life(run, run_page.attempts_of(run), run.read_at)  # type: ignore[attr-defined]

    @admin.display(description=gettext_lazy("attempts"))
    def shown_attempts(self, run: TaskRun) -> str:
        return run_page.attempt_list(run, run_page.attempts_of(run))

    @admin.display(description=gettext_lazy("log"))
    def shown_log(self, run: TaskRun) -> str:
        return run_page.log_text(run)

    @admin.display(description=gettext_lazy("exception"))
    def shown_exception(self, run: TaskRun) -> str:
        return text_block(run.exception)

    @admin.display(description=gettext_lazy("traceback"))
    def shown_traceback(self, run: TaskRun) -> str:
        return run_page.traceback_block(run.traceback)

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

    def get_urls(self) -> list[URLPattern]:
        return [*overview.urls(self.admin_site), *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        if (run := context.get("original")) is not None:
            context["links"] = self.links(request, run)
            context["neighbours"] = run_page.neighbours(run)
            context["live"] = None if run.is_ended else REFRESH_SECONDS
        return super().render_change_form(request, context, *args, **options)
