"""The page of a run: what it shows, in groups. Each field is a function of the run."""

from typing import Any

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dispatcher.admin.kit.html import json_block, run_url, status_badge, text_block
from dispatcher.admin.run.attempts import attempt_list, attempts_of
from dispatcher.admin.run.life import life as life_of
from dispatcher.admin.run.texts import log_text, traceback_block
from dispatcher.models import Status, TaskRun, Trigger
from dispatcher.reasons import describe
from scheduling.models import ScheduledTask
from scheduling.trail import Via


@admin.display(description=gettext_lazy("status"))
def status_text(run: TaskRun) -> str:
    sentence = describe(run.reason, run.reason_params) if run.reason else ""
    return format_html("{} {}", status_badge(run.status), sentence)


@admin.display(description=gettext_lazy("scheduled task"))
def definition(run: TaskRun) -> str:
    task = ScheduledTask.objects.filter(pk=run.scheduled_task_id or 0).first()
    if task is None:
        why = _("Run without one.") if run.revision is None else _("It is deleted.")
        return format_html('{} <span class="mh-quiet">{}</span>', run.name, why)
    url = reverse("admin:scheduling_scheduledtask_change", args=[task.pk])
    return format_html('<a href="{}">{}</a>', url, run.name)


@admin.display(description=gettext_lazy("its life"))
def life(run: TaskRun) -> str:
    """Each step of the run, with the time that passed since the one before."""
    return life_of(run, attempts_of(run), run.read_at)  # type: ignore[attr-defined]


@admin.display(description=gettext_lazy("attempts"))
def shown_attempts(run: TaskRun) -> str:
    return attempt_list(run, attempts_of(run))


@admin.display(description=gettext_lazy("log"))
def shown_log(run: TaskRun) -> str:
    return log_text(run)


@admin.display(description=gettext_lazy("exception"))
def shown_exception(run: TaskRun) -> str:
    return text_block(run.exception)


@admin.display(description=gettext_lazy("traceback"))
def shown_traceback(run: TaskRun) -> str:
    return traceback_block(run.traceback)


@admin.display(description=gettext_lazy("result"))
def shown_result(run: TaskRun) -> str:
    return json_block(run.result)


@admin.display(description=gettext_lazy("positional arguments"))
def shown_args(run: TaskRun) -> str:
    return json_block(run.args)


@admin.display(description=gettext_lazy("keyword arguments"))
def shown_kwargs(run: TaskRun) -> str:
    return json_block(run.kwargs)


@admin.display(description=gettext_lazy("rerun of"))
def original(run: TaskRun) -> str:
    if run.rerun_of_id is None:
        return "–"
    return format_html('<a href="{}">{}</a>', run_url(run.rerun_of_id), run.rerun_of_id)


@admin.display(description=gettext_lazy("triggered via"))
def way(run: TaskRun) -> str:
    """The label of `triggered_via`; what application code calls itself stays as it is."""
    return str(
        {**dict(Via.choices), **dict(Trigger.choices)}.get(run.triggered_via, run.triggered_via)
    )


# The groups ---------------------------------------------------------------------------------------

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
_SHOWN_AS: dict[str, Any] = {"rerun_of": original, "triggered_via": way}


def _known(run: TaskRun, names: tuple[str, ...]) -> tuple[Any, ...]:
    """The fields that say something; `rerun_of` as a link, also where that run is gone."""
    filled = (name for name in names if run.serializable_value(name) not in (None, ""))
    return tuple(_SHOWN_AS.get(name, name) for name in filled)


def fieldsets_of(run: TaskRun) -> Any:
    """The groups that say something of this run."""
    wrong = tuple(
        shown
        for text, shown in ((run.exception, shown_exception), (run.traceback, shown_traceback))
        if text
    )
    has_started = run.started_at is not None and run.status != Status.RETRYING
    groups = (
        (True, None, (status_text, definition, life)),
        (bool(wrong), _("What went wrong"), wrong),
        (run.result is not None, _("What it returned"), (shown_result,)),
        (has_started or bool(run.log), _("What it logged"), (shown_log,)),
        (run.attempt > 1, _("Attempts"), (shown_attempts,)),
        (True, _("What it ran"), ("task", shown_args, shown_kwargs)),
        (True, _("Where it came from"), _known(run, _ORIGIN)),
        (True, _("Where it went"), _known(run, _PLACE)),
    )
    return tuple((title, {"fields": fields}) for is_shown, title, fields in groups if is_shown)
