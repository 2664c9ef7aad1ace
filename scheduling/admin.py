"""The admin of scheduled tasks: what should run and when. `dispatcher/admin.py` adds what became
of it, and the button that runs it."""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.defaultfilters import truncatechars
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST

from scheduling import masking, panels, wording
from scheduling.clock import DatabaseNow, database_now
from scheduling.forms import WALL_TIMES, ScheduledTaskForm, WallTimeField, WallTimeWidget
from scheduling.models import ScheduledTask, ScheduledTaskQuerySet, StateReason
from scheduling.preview import answer
from scheduling.stop import current_stop, is_everything_paused
from scheduling.trail import Via, acting
from scheduling.trail_admin import TrailAdmin

logger = logging.getLogger(__name__)

#: How many next runs the page of a scheduled task shows.
PREVIEW = 5


def badge(state: str, label: Any) -> str:
    """A state as a coloured word; the colours are in static/scheduling/admin.css."""
    return format_html('<span class="mh-badge mh-{}">{}</span>', state, label)


def json_block(value: Any) -> str:
    """JSON as people read it, with its secrets masked."""
    return format_html('<pre class="mh-block">{}</pre>', wording.json_text(masking.masked(value)))


def complaint(error: Exception) -> str:
    """What an error of one row says to the person who asked."""
    return " ".join(error.messages) if isinstance(error, ValidationError) else str(error)


class StateFilter(admin.SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "state"

    _QUESTIONS = {
        "active": Q(enabled=True) & ~Q(state_reason=StateReason.SET_ASIDE),
        "paused": Q(enabled=False) & ~Q(state_reason=StateReason.FINISHED),
        "finished": Q(enabled=False, state_reason=StateReason.FINISHED),
        "set_aside": Q(enabled=True, state_reason=StateReason.SET_ASIDE),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, wording.state_label(state)) for state in self._QUESTIONS]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        question = self._QUESTIONS.get(self.value() or "")
        return queryset if question is None else queryset.filter(question)


class ScheduledTaskAdmin(TrailAdmin):
    form = ScheduledTaskForm
    formfield_overrides = {
        models.DateTimeField: {"form_class": WallTimeField, "widget": WallTimeWidget}
    }
    list_display: Any = (
        "name",
        "state",
        "task",
        "schedule",
        "next_run",
        "group",
        "owner",
    )
    list_filter: ClassVar[Any] = (StateFilter, "kind", "group", "misfire_policy", "overlap_policy")
    search_fields = ("name", "task", "description", "owner")
    search_help_text = gettext_lazy("Name, task, description or owner")
    ordering = ("name", "pk")
    empty_value_display = "–"
    show_full_result_count = False
    actions: Any = ("pause", "resume")
    readonly_fields: ClassVar[Any] = ("state_now", "next_runs", "preview")

    now_fields: ClassVar[tuple[str, ...]] = ("state_now", "next_runs")
    form_fieldsets: ClassVar[Any] = (
        (gettext_lazy("What runs"), {"fields": ("seen", "name", "task", "args", "kwargs")}),
        (
            gettext_lazy("When"),
            {
                "fields": (
                    "enabled",
                    "kind",
                    "cron_expression",
                    "interval_seconds",
                    "run_at",
                    "timezone",
                    "preview",
                    "starts_at",
                    "ends_at",
                    "max_runs",
                    "jitter_seconds",
                ),
            },
        ),
        (
            gettext_lazy("Late and overlapping runs"),
            {
                "fields": (
                    "misfire_policy",
                    "misfire_grace_seconds",
                    "expires_seconds",
                    "overlap_policy",
                ),
            },
        ),
        (
            gettext_lazy("When it fails"),
            {
                "fields": (
                    "max_retries",
                    "retry_delay_seconds",
                    "retry_backoff",
                    "on_lost",
                    "pause_after_failures",
                ),
            },
        ),
        (
            gettext_lazy("Limits and queue"),
            {"fields": ("time_limit", "soft_time_limit", "queue", "priority")},
        ),
        (gettext_lazy("About"), {"fields": ("description", "owner", "group")}),
    )

    class Media:
        css = {"all": ("scheduling/admin.css", "scheduling/form.css")}
        js = ("scheduling/combobox.js", "scheduling/form.js")

    # Reading ------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> Any:
        """Each row with the time at which it was read, one `now` for the page, and whether
        everything was paused then: no query more."""
        rows = super().get_queryset(request)
        return rows.annotate(read_at=DatabaseNow(), everything_paused=is_everything_paused())

    def get_fieldsets(self, request: HttpRequest, obj: ScheduledTask | None = None) -> Any:
        if obj is None:
            return self.form_fieldsets
        now = (gettext_lazy("Now"), {"fields": self.now_fields})
        if self.has_change_permission(request, obj):
            return (now, *self.form_fieldsets)
        return (now, *map(_for_reading, self.form_fieldsets))

    @admin.display(description=gettext_lazy("state"), ordering="state_reason")
    def state(self, task: ScheduledTask) -> str:
        state, reason = wording.state_of(task), wording.state_reason_text(task)
        shown = badge(state, wording.state_label(state))
        if state != StateReason.SET_ASIDE or not reason:
            return shown
        short = truncatechars(reason, 80)
        return format_html('{} <div class="mh-quiet" title="{}">{}</div>', shown, reason, short)

    @admin.display(description=gettext_lazy("schedule"), ordering="kind")
    def schedule(self, task: ScheduledTask) -> str:
        return format_html('<span class="mh-code">{}</span>', wording.schedule_text(task))

    @admin.display(description=gettext_lazy("next run"))
    def next_run(self, task: ScheduledTask) -> str:
        slots, problem = _upcoming(task, 1)
        if not slots:
            return format_html('<span class="mh-quiet" title="{}">–</span>', problem)
        return format_html(
            '<span class="mh-moment" title="{}, {}">{}</span>',
            task.timezone,
            wording.moment_text(slots[0], "UTC"),
            wording.moment_text(slots[0], task.timezone),
        )

    @admin.display(description=gettext_lazy("state"))
    def state_now(self, task: ScheduledTask) -> str:
        state = wording.state_of(task)
        facts = [wording.state_reason_text(task)]
        if task.state_reason_at is not None and (task.state_reason or task.state_reason_by):
            at = wording.moment_text(task.state_reason_at, task.timezone)
            facts.append(_("Since %(time)s.") % {"time": at})
        if task.state_reason_by:
            facts.append(_("By %(who)s.") % {"who": task.state_reason_by})
        if task.paused_until is not None:
            until = wording.moment_text(task.paused_until, task.timezone)
            facts.append(_("It resumes at %(time)s.") % {"time": until})
        shown = badge(state, wording.state_label(state))
        return format_html("{} {}", shown, " ".join(filter(None, facts)))

    @admin.display(description=gettext_lazy("next runs"))
    def next_runs(self, task: ScheduledTask) -> str:
        """The next slots on the clock of the task and in UTC, and the start where it is later."""
        slots, problem = _upcoming(task, PREVIEW)
        if not slots:
            return format_html('<span class="mh-quiet">{}</span>', problem or _("None."))
        heads = [task.timezone] + ([] if task.timezone == "UTC" else ["UTC"])
        rows = [[wording.moment_text(slot, name) for name in heads] for slot in slots]
        if task.jitter_seconds:
            heads.append(_("starts"))
            for row, slot in zip(rows, slots, strict=True):
                row.append(wording.moment_text(task.start_of(slot), task.timezone))
        return table(heads, rows)

    # Read-only twins of fields: on the clock of the task, and with secrets masked -----------------

    @admin.display(description=gettext_lazy("positional arguments"))
    def shown_args(self, task: ScheduledTask) -> str:
        return json_block(task.args)

    @admin.display(description=gettext_lazy("keyword arguments"))
    def shown_kwargs(self, task: ScheduledTask) -> str:
        return json_block(task.kwargs)

    @admin.display(description=gettext_lazy("run at"))
    def shown_run_at(self, task: ScheduledTask) -> str:
        return wording.moment_text(task.run_at, task.timezone)

    @admin.display(description=gettext_lazy("starts at"))
    def shown_starts_at(self, task: ScheduledTask) -> str:
        return wording.moment_text(task.starts_at, task.timezone)

    @admin.display(description=gettext_lazy("ends at"))
    def shown_ends_at(self, task: ScheduledTask) -> str:
        return wording.moment_text(task.ends_at, task.timezone)

    # Writing ------------------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write only what the person changed: the tick and other people share the row."""
        if change:
            obj.save(update_fields=form.written_columns())
        else:
            obj.save()
        self._advise(request, obj)

    def _advise(self, request: HttpRequest, obj: ScheduledTask) -> None:
        """An unknown task is allowed: this process need not know what the workers know."""
        if advice := panels.task_advice(obj.task):
            messages.warning(request, advice)

    # The form while it is filled in ---------------------------------------------------------------

    @admin.display(description=gettext_lazy("preview"))
    def preview(self, task: ScheduledTask) -> str:
        """Where the form shows what it would do; without JavaScript, what is stored does."""
        stored = task is not None and task.pk is not None
        kept = (
            panels.runs_panel(task, getattr(task, "read_at", None) or database_now())
            if stored
            else panels.empty_runs_panel()
        )
        name = "preview" if stored else "preview_new"
        url = reverse(f"admin:scheduling_scheduledtask_{name}", args=[task.pk] if stored else [])
        context = {"panel": kept, "url": url, "is_new": not stored}
        return render_to_string("scheduling/panels/preview.html", context)

    def preview_view(self, request: HttpRequest, pk: int | None = None) -> HttpResponse:
        """What saving the posted form would say; for those who may save it. Saves nothing."""
        task = None if pk is None else self.get_object(request, str(pk))
        if pk is not None and task is None:
            raise Http404
        if not self._may_save(request, task):
            raise PermissionDenied
        fields = flatten_fieldsets(self.get_fieldsets(request, task))
        form_class = self.get_form(request, task, change=task is not None, fields=fields)
        form = form_class(request.POST, instance=task)
        return JsonResponse(answer(form, database_now()))

    def _may_save(self, request: HttpRequest, task: ScheduledTask | None) -> bool:
        if task is None:
            return self.has_add_permission(request)
        return self.has_change_permission(request, task)

    # Pause and resume, for many from the list and for one from its page ---------------------------

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("scheduling.pause_scheduledtask")

    @admin.action(description=gettext_lazy("Pause"), permissions=["pause"])
    def pause(self, request: HttpRequest, queryset: ScheduledTaskQuerySet) -> None:
        done = self.each(request, queryset, lambda task: self.pause_one(request, task))
        text = ngettext("%(n)d scheduled task paused.", "%(n)d scheduled tasks paused.", done)
        messages.success(request, text % {"n": done})

    @admin.action(description=gettext_lazy("Resume"), permissions=["pause"])
    def resume(self, request: HttpRequest, queryset: ScheduledTaskQuerySet) -> None:
        done = self.each(request, queryset, lambda task: self.resume_one(request, task))
        text = ngettext("%(n)d scheduled task resumed.", "%(n)d scheduled tasks resumed.", done)
        messages.success(request, text % {"n": done})

    def pause_one(self, request: HttpRequest, task: ScheduledTask) -> bool:
        return task.pause(by=request.user) and self._log_enabled(request, task)

    def resume_one(self, request: HttpRequest, task: ScheduledTask) -> bool:
        return task.resume(by=request.user) and self._log_enabled(request, task)

    def _log_enabled(self, request: HttpRequest, task: ScheduledTask) -> bool:
        self.log_change(request, task, [{"changed": {"fields": ["enabled"]}}])
        return True

    def each(
        self,
        request: HttpRequest,
        rows: ScheduledTaskQuerySet,
        verb: Callable[[ScheduledTask], object],
    ) -> int:
        """Do it to each; how many it was done to. An error is told by name; the others go on."""
        return sum(self.attempt(request, task, verb) for task in rows)

    def attempt(
        self, request: HttpRequest, task: ScheduledTask, verb: Callable[[ScheduledTask], object]
    ) -> bool:
        try:
            return bool(verb(task))
        except Exception as error:
            if not isinstance(error, ValidationError):
                logger.exception("An action on scheduled task %s failed", task.name)
            texts = {"name": task.name, "problem": complaint(error)}
            messages.error(request, _("“%(name)s”: %(problem)s") % texts)
            return False

    def buttons(self, request: HttpRequest, task: ScheduledTask) -> list[tuple[str, str]]:
        """What one may do to the task on its page: (name of the view, label)."""
        if not self.has_pause_permission(request):
            return []
        if task.enabled:
            return [("pause", _("Pause"))]
        return [("resume", _("Resume"))]

    def get_urls(self) -> list[URLPattern]:
        return [
            self.button_url("pause", self.pause_view),
            self.button_url("resume", self.resume_view),
            self.button_url("preview", self.preview_view),
            path(
                "preview/",
                self.admin_site.admin_view(require_POST(self.preview_view)),
                name="scheduling_scheduledtask_preview_new",
            ),
            *super().get_urls(),
        ]

    def button_url(self, name: str, view: Callable[..., HttpResponse]) -> URLPattern:
        def in_their_name(request: HttpRequest, pk: int) -> HttpResponse:
            with acting(Via.ADMIN, request.user):
                return view(request, pk)

        wrapped = self.admin_site.admin_view(require_POST(in_their_name))
        return path(f"<int:pk>/{name}/", wrapped, name=f"scheduling_scheduledtask_{name}")

    def pause_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        task = self.task_for(request, pk, self.has_pause_permission(request))
        if self.attempt(request, task, lambda task: self.pause_one(request, task)):
            messages.success(request, _("“%(name)s” is paused.") % {"name": task.name})
        return self.back_to(task)

    def resume_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        task = self.task_for(request, pk, self.has_pause_permission(request))
        if self.attempt(request, task, lambda task: self.resume_one(request, task)):
            messages.success(request, _("“%(name)s” is resumed.") % {"name": task.name})
        return self.back_to(task)

    def task_for(self, request: HttpRequest, pk: int, allowed: bool) -> ScheduledTask:
        """The task that a button is about, for somebody who may see it and press the button."""
        if not (allowed and self.has_view_permission(request)):
            raise PermissionDenied
        task: ScheduledTask | None = self.get_object(request, str(pk))
        if task is None:
            raise Http404
        return task

    def back_to(self, task: ScheduledTask) -> HttpResponse:
        return HttpResponseRedirect(
            reverse("admin:scheduling_scheduledtask_change", args=[task.pk])
        )

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
                (reverse(f"admin:scheduling_scheduledtask_{name}", args=[obj.pk]), label)
                for name, label in self.buttons(request, obj)
            ]
        return super().render_change_form(request, context, add, change, form_url, obj)


admin.site.register(ScheduledTask, ScheduledTaskAdmin)


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A small table of plain or safe texts; without heads it has none."""
    head = format_html_join("", "<th>{}</th>", ((text,) for text in heads))
    return format_html(
        '<table class="mh-table">{}<tbody>{}</tbody></table>',
        format_html("<thead><tr>{}</tr></thead>", head) if heads else "",
        format_html_join("", "<tr>{}</tr>", ((_cells(row),) for row in rows)),
    )


def _cells(row: list[str]) -> str:
    return format_html_join("", "<td>{}</td>", ((cell,) for cell in row))


def _for_reading(fieldset: Any) -> Any:
    """The fieldset with the read-only twins in place of fields that would show too much."""
    title, options = fieldset
    twins = {*WALL_TIMES, "args", "kwargs"}
    hidden = ("seen", "preview")
    shown = (name for name in options["fields"] if name not in hidden)
    fields = tuple(f"shown_{name}" if name in twins else name for name in shown)
    return title, {**options, "fields": fields}


def _upcoming(task: ScheduledTask, n: int) -> tuple[list[datetime], str]:
    """The next slots, or why there are none, by what the page's own query has read."""
    now = getattr(task, "read_at", None) or database_now()
    paused = getattr(task, "everything_paused", None)
    return wording.upcoming_or_problem(
        task, n, now, current_stop() is not None if paused is None else bool(paused)
    )
