"""What a change of a scheduled task does to its runs, inside the transaction of the change.

The row is locked, so no planner is at work on it. Runs that a worker claims meanwhile are started
and stay; every other one of the old definition is gone, renewed or cancelled when this commits.
"""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import transaction

from dispatcher import planner, publisher
from dispatcher.models import Status, TaskRun, Trigger
from dispatcher.models.verbs import TaskRunQuerySet
from scheduling import edits
from scheduling.locking import locked
from scheduling.models import ScheduledTask
from scheduling.schedules import ScheduleError
from scheduling.signals import Change

_INSTANT = timedelta(microseconds=1)

#: Runs detached in the request that deletes their schedule; the tick detaches the rest.
DETACH_LIMIT = 1000


def follow(change: Change, **signal: Any) -> None:
    """Receiver of `schedule_changed`."""
    runs: list[TaskRun] = []
    if change.old is not None:
        runs = _settle(change.old, change.new, change.now)
    if change.new is not None and change.new.enabled:
        runs += _plan(change.new, change.now)
    if change.new is None and change.old is not None:
        _detach(change.old)
    if runs:
        # Robust: the change is committed, and whatever publishing meets, rescue makes up for.
        transaction.on_commit(partial(publisher.publish_or_leave, runs, change.now), robust=True)


def _settle(old: ScheduledTask, new: ScheduledTask | None, now: datetime) -> list[TaskRun]:
    """Undo what was planned ahead by the old definition; return the owed runs made anew."""
    if old.enabled:
        _record_owed_slots(old, now)
    rows = TaskRun.objects.filter(scheduled_task=old.pk).of_schedule()
    unstarted = list(locked(rows.unstarted().order_by("pk")))
    ahead = [run for run in unstarted if run.scheduled_for > now]
    owed = [run for run in unstarted if run.scheduled_for <= now]
    _delete(rows, ahead)
    if new is not None:
        edits.give_back(new, len(ahead), now)
    if new is None or not new.enabled:
        _cancel(rows, "deleted" if new is None else "paused")
        return []
    return _renew(rows, owed, new, now)


def _record_owed_slots(old: ScheduledTask, now: datetime) -> None:
    """Slots up to now that the old rule had and nobody planned are missed, not forgotten."""
    if old.next_run_at is None or old.next_run_at > now:
        return
    try:
        span = old.window().span(old.next_run_at - _INSTANT, now)
    except ScheduleError:
        return  # it was set aside: no rule, no slot
    if span is not None:
        planner.missed_run(old, span, now, "edited").save(force_insert=True)


def _delete(rows: TaskRunQuerySet, runs: list[TaskRun]) -> None:
    """The messages of these find no row and are vetoed. A run claimed meanwhile stays."""
    rows.filter(pk__in=[run.pk for run in runs]).unstarted().delete()


def _cancel(rows: TaskRunQuerySet, reason: str) -> None:
    """What is owed and what waits for a retry does not start any more."""
    rows.waiting().close(Status.CANCELLED, reason)


def _renew(
    rows: TaskRunQuerySet, owed: list[TaskRun], new: ScheduledTask, now: datetime
) -> list[TaskRun]:
    """The same slots with the new definition. A new id, because the old message carries the old
    arguments and must find no row."""
    renewed = []
    for run in owed:
        if not rows.filter(pk=run.pk).unstarted().delete()[0]:
            continue
        fresh = planner.new_run(
            new, Trigger.SCHEDULE, scheduled_for=run.scheduled_for, start_at=run.start_at, now=now
        )
        fresh.slot = run.slot
        fresh.save(force_insert=True)
        renewed.append(fresh)
    return renewed


def _plan(new: ScheduledTask, now: datetime) -> list[TaskRun]:
    """What is due before the next tick is planned at once, not a minute later."""
    row = ScheduledTask.objects.get(pk=new.pk)
    if row.next_run_at is None:
        return []  # no further slot, or set aside; the tick says which
    try:
        with transaction.atomic():
            return planner.plan_locked(row, now).runs
    except Exception as error:
        planner.set_aside(row, error, now)
        return []


def _detach(old: ScheduledTask) -> None:
    newest = TaskRun.objects.filter(scheduled_task=old.pk).order_by("-pk")
    ids = list(newest.values_list("pk", flat=True)[:DETACH_LIMIT])
    TaskRun.objects.filter(pk__in=ids).detach()
