"""What a change of a scheduled task does to its runs, inside the transaction of the change.

The row is locked, so no planner is at work on it. Runs that a worker claims meanwhile are started
and stay; every other one of the old definition is gone, renewed or cancelled when this commits.
"""

from datetime import datetime
from typing import Any

from django.db import transaction

from dispatcher import signals
from dispatcher.models import Status, TaskRun, Trigger, bulk
from dispatcher.models.status import UNSTARTED
from dispatcher.models.verbs import TaskRunQuerySet
from dispatcher.plan import decisions, misfire, new_runs, planner
from dispatcher.publish import publisher
from dispatcher.worker import overlap
from scheduling.database import blames_row, locked
from scheduling.database.after_commit import after_commit
from scheduling.models import ScheduledTask, spoilt_rows
from scheduling.models.state import may_run
from scheduling.schedules import ScheduleError, Span
from scheduling.schedules.policies import INSTANT
from scheduling.signals import Change
from scheduling.stop import current_stop

#: Runs detached in the request that deletes their schedule; the tick detaches the rest.
DETACH_LIMIT = 1000


def follow(change: Change, **signal: Any) -> None:
    """Receiver of `schedule_changed`. Keeps `change.new` what is stored."""
    old, new, now = change.old, change.new, change.now
    runs = _settle(old, new, now) if old is not None else []
    if new is None:
        if old is not None:
            _detach(old)
        return
    due = planner.is_due(new, now) and new.next_run_at is not None  # else the tick says why not
    if not (due or runs):
        return
    stopped = current_stop() is not None  # the tick after the stop plans and publishes
    if due and not (stopped and _is_free(change)):
        runs += _plan(new, now)
    if runs and not stopped:
        # Robust: the change is committed, and whatever publishing meets, rescue makes up for.
        after_commit(publisher.publish_or_leave, runs, now)


def _is_free(change: Change) -> bool:
    """Whether no slot to come has a run. One that has (cancelled before its slot, started early)
    must be planned past, or it would be met again when it is late."""
    rows = TaskRun.objects.filter(scheduled_task=change.new)
    return change.old is None or not rows.filter(slot__gt=change.now).exists()


def _settle(old: ScheduledTask, new: ScheduledTask | None, now: datetime) -> list[TaskRun]:
    """Undo what was planned ahead by the old definition; return the owed runs made anew."""
    owed = _miss_owed_slots(old, now) if old.enabled else 0
    rows = TaskRun.objects.filter(scheduled_task=old.pk).of_schedule()
    affected = list(locked((rows.waiting() | rows.filter(slot__gt=now)).order_by("pk")))
    ahead = [run for run in affected if run.scheduled_for > now]
    due = [run for run in affected if run.status in UNSTARTED and run.scheduled_for <= now]
    _delete(rows, ahead)
    if new is not None:
        # Also those that stay, started or cancelled: the new plan counts their slots again.
        _give_back(new, len(ahead) - owed, now)
    if new is None or not may_run(new.enabled, new.state_reason):
        if due or any(run.status == Status.RETRYING for run in affected):
            _cancel(rows, old, "deleted" if new is None else "paused")
        return []
    if new.unreadable:  # what they would run with is not known
        signals.close(rows.unstarted(), Status.MISSED, "edited")
        return []
    return _renew(rows, _owed(due, now), new, now)


def _give_back(new: ScheduledTask, slots: int, now: datetime) -> None:
    if columns := new.give_back(slots, now):
        ScheduledTask.objects.filter(pk=new.pk).keep(**columns)


def _owed(due: list[TaskRun], now: datetime) -> list[TaskRun]:
    """What is due and still to run: those that could not be published in time are decided anew."""
    unsent = [run for run in due if run.status == Status.PLANNED]
    sent = [run for run in due if run.status != Status.PLANNED]
    return sent + misfire.decide_again(unsent, now).runs


def _miss_owed_slots(old: ScheduledTask, now: datetime) -> int:
    """Slots up to now that the old rule had and nobody planned are missed, not forgotten; how
    many. A row that was set aside owes those of its rule, too, if it has one."""
    try:
        spoilt_rows.check_readable(old)
        span = _unplanned(old, now)
    except ScheduleError:
        return 0  # no rule, no slot
    if span is None:
        return 0
    missed = new_runs.missed_run(old, span, now, "edited")
    missed.save(force_insert=True)
    signals.announce_on_commit([missed.pk])
    return span.count


def _unplanned(old: ScheduledTask, now: datetime) -> Span | None:
    first = decisions.first_unplanned(old, now)
    if first is None or first > now:
        return None
    window, after, left = old.window(), first - INSTANT, old.slots_left()
    until = now if left is None else window.until_count(after, now, left)
    return window.span(after, until)


def _delete(rows: TaskRunQuerySet, runs: list[TaskRun]) -> None:
    """The messages of these find no row and are vetoed. A run claimed meanwhile stays."""
    undecided = rows.unstarted() | rows.filter(status=Status.SKIPPED, reason="skipped_by_hand")
    if runs:
        _delete_at_once(undecided.filter(pk__in=[run.pk for run in runs]))


def _delete_at_once(rows: TaskRunQuerySet) -> None:
    """Rows of ours do not refer to a run that never started; the project's might."""
    labels = {each.related_model._meta.app_label for each in TaskRun._meta.related_objects}
    if labels - {"dispatcher"}:
        rows.delete()
    else:
        rows._raw_delete(rows.db)


def _cancel(rows: TaskRunQuerySet, old: ScheduledTask, reason: str) -> None:
    """What is owed and what waits for a retry does not start any more."""
    if signals.close(rows, Status.CANCELLED, reason):
        overlap.wake(old.pk)  # what a person asked for may wait for one of them


def _renew(
    rows: TaskRunQuerySet, owed: list[TaskRun], new: ScheduledTask, now: datetime
) -> list[TaskRun]:
    """The same slots with the new definition. A new id, because the old message carries the old
    arguments and must find no row."""
    ids = [run.pk for run in owed]
    there = set(rows.filter(pk__in=ids).unstarted().values_list("pk", flat=True))
    if there:
        _delete_at_once(rows.filter(pk__in=there).unstarted())
    renewed = []
    for run in owed:
        if run.pk in there:
            fresh = new_runs.new_run(
                new,
                Trigger.SCHEDULE,
                scheduled_for=run.scheduled_for,
                start_at=run.start_at,
                now=now,
            )
            fresh.slot = run.slot
            renewed.append(fresh)
    bulk.insert(renewed)
    return renewed


def _plan(new: ScheduledTask, now: datetime) -> list[TaskRun]:
    """What is due before the next tick is planned at once, not a minute later."""
    try:
        with transaction.atomic():
            return planner.plan_locked(new, now).runs
    except Exception as error:
        if not blames_row(error):
            raise  # the whole edit is tried again, or refused
        planner.set_aside(new, error, now)
        new.refresh_from_db()
        return []


def _detach(old: ScheduledTask) -> None:
    newest = TaskRun.objects.filter(scheduled_task=old.pk).order_by("-pk")
    ids = list(newest.values_list("pk", flat=True)[:DETACH_LIMIT])
    TaskRun.objects.filter(pk__in=ids).detach()
