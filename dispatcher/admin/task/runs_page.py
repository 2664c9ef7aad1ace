"""The page of a scheduled task's runs: how it has been doing, and when it runs next.

Everything is drawn from its newest SAMPLE runs, read by the index (scheduled task, id): a schedule
that runs every five seconds has half a million of them in a month.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from dispatcher.admin.kit.html import badge, status_link
from dispatcher.admin.run.life import lateness
from dispatcher.admin.task import links
from dispatcher.admin.task.run_plots import outcomes, plot
from dispatcher.admin.task.skipping import slots_skipped_by_hand
from dispatcher.models import Status, TaskRun
from dispatcher.models.run import LARGE
from dispatcher.reasons import describe
from dispatcher.watch.figures import OUTCOMES
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import current_stop
from scheduling.words import (
    duration_text,
    moment_text,
    schedule_words,
    state_label,
    state_note,
    state_of,
    upcoming_or_problem,
)

if TYPE_CHECKING:
    from dispatcher.admin.task.admin import ScheduledTaskAdmin

#: How many of its runs the plots are of, how many are listed, and how many slots to come.
SAMPLE, LISTED, COMING = 500, 20, 10
#: The columns of a run that the plots are made of.
READ = (
    "status",
    "attempt",
    "retries",
    "scheduled_for",
    "start_at",
    "started_at",
    "finished_at",
    "scheduled_task",
)


def page(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask
) -> HttpResponse:
    state = state_of(task)
    shown = {
        **model_admin.admin_site.each_context(request),
        "title": task.name,
        "subtitle": None,
        "opts": model_admin.opts,
        "original": task,
        "links": links.of_task(model_admin, request, task, but="runs"),
        "buttons": links.buttons(model_admin, request, task),
        "state": badge(state, state_label(state)),
        "state_note": state_note(task),
        "schedule": schedule_words(task),
        **_context(task, database_now()),
    }
    return TemplateResponse(request, "admin/dispatcher/scheduledtask/runs.html", shown)


def _context(task: ScheduledTask, now: datetime) -> dict[str, Any]:
    newest = list(task.runs.only(*READ).order_by("-pk")[:SAMPLE])[::-1]
    ended = [run for run in newest if run.is_ended]
    return {
        "since": moment_text(newest[0].scheduled_for, task.timezone) if newest else "",
        "sample": len(newest),
        "is_all": len(newest) < SAMPLE,
        "legend": _legend(ended),
        "success": _success(ended),
        "outcome_labels": [status.label for status in OUTCOMES],
        "outcomes": outcomes(ended, task.timezone),
        "plots": [
            drawn
            for drawn in (
                plot(_("Duration"), ended, lambda run: run.duration, task.timezone),
                plot(_("Late by"), newest, lateness, task.timezone),
            )
            if drawn is not None
        ],
        "listed": _listed(task),
        **_coming(task, now),
    }


def _legend(runs: Sequence[TaskRun]) -> list[tuple[str, Any, int]]:
    counts = Counter(run.status for run in runs)
    return [(s.value, s.label, counts[s]) for s in OUTCOMES if counts[s]]


def _success(runs: Sequence[TaskRun]) -> str:
    """The share that succeeded, of those that came to an end by their own work."""
    worked = [run.status for run in runs if run.started_at is not None]
    if not worked:
        return ""
    return f"{100 * worked.count(Status.SUCCEEDED) / len(worked):.4g} %"


# Lists --------------------------------------------------------------------------------------------


def _listed(task: ScheduledTask) -> list[dict[str, Any]]:
    rows = task.runs.defer(*LARGE).annotate(said=Left("exception", 120)).order_by("-pk")[:LISTED]
    return [
        {
            "badge": status_link(run.status, run.pk),
            "time": moment_text(run.scheduled_for, task.timezone),
            "slots": run.slot_count,
            "took": duration_text(run.duration),
            "late": duration_text(lateness(run)),
            "trigger": run.get_trigger_display(),
            "said": run.said  # type: ignore[attr-defined]
            or (describe(run.reason, run.reason_params) if run.reason else ""),
        }
        for run in rows
    ]


def _coming(task: ScheduledTask, now: datetime) -> dict[str, Any]:
    slots, problem = upcoming_or_problem(task, COMING, now, current_stop() is not None)
    zones = [task.timezone] + ([] if task.timezone == "UTC" else ["UTC"])
    return {
        "zones": zones,
        "coming": [[moment_text(slot, name) for name in zones] for slot in slots],
        "no_slots": problem,
        "skipped": [moment_text(slot, task.timezone) for slot in slots_skipped_by_hand(task, now)],
    }
