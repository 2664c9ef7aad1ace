"""Run slots of the past that have no succeeded run."""

from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from dispatcher.models import Status, TaskRun, Trigger
from dispatcher.runs.asked_for import refusal, run_of, start_runs
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.schedules.policies import INSTANT

#: The most runs that one backfill makes.
BACKFILL_LIMIT = 10_000


def backfill(
    scheduled_task: ScheduledTask,
    start: datetime,
    end: datetime,
    *,
    by: Any = None,
    via: str = "code",
) -> list[TaskRun]:
    """Run the slots in [start, end), aware datetimes, that have no succeeded run, oldest first.

    Raises `ValidationError` as `backfill_slots`.
    """
    now = database_now()
    slots = backfill_slots(scheduled_task, start, end)
    runs = [run_of(scheduled_task, Trigger.BACKFILL, slot, now, by, via) for slot in slots]
    return start_runs(runs, now)


def backfill_slots(scheduled_task: ScheduledTask, start: datetime, end: datetime) -> list[datetime]:
    """The slots (UTC) that `backfill` would run. Raises `ValidationError` if the range is wrong."""
    if timezone.is_naive(start) or timezone.is_naive(end):
        raise refusal("start", _("Give dates and times with their time zone."), "naive")
    if end <= start:
        raise refusal("end", _("The end must be after the start."), "ends_before_start")
    window = scheduled_task.window()
    span = window.span(start - INSTANT, end - INSTANT)
    if span is not None and span.count > BACKFILL_LIMIT:
        message = _("That is %(count)d runs; at most %(limit)d can be made at once.")
        params = {"count": span.count, "limit": BACKFILL_LIMIT}
        raise refusal("end", message % params, "too_many_runs")
    done = scheduled_task.runs.filter(
        status=Status.SUCCEEDED, scheduled_for__gte=start, scheduled_for__lt=end
    )
    succeeded = set(done.values_list("scheduled_for", flat=True))
    return [s for s in window.between(start - INSTANT, end - INSTANT) if s not in succeeded]
