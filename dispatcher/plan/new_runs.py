"""What becomes of a slot or a request, as a row that nobody has saved yet."""

from datetime import datetime, timedelta

from dispatcher.models import Status, TaskRun, Trigger
from dispatcher.models.times import HORIZON, PUBLISH_LEASE
from scheduling import registry
from scheduling.models import ScheduledTask
from scheduling.schedules import Span


def slot_run(row: ScheduledTask, slot: datetime, now: datetime) -> TaskRun:
    """The run of a slot that is to run; ended already where it was skipped by hand or expired."""
    run = new_run(row, Trigger.SCHEDULE, scheduled_for=slot, start_at=row.start_of(slot), now=now)
    run.slot = slot
    if slot.isoformat() in row.skip_slots:
        run.status, run.reason, run.publish_at = Status.SKIPPED, "skipped_by_hand", None
        run.finished_at = now
    elif run.expires_at is not None and run.expires_at <= now:
        run.status, run.reason, run.publish_at = Status.MISSED, "expired", None
        run.finished_at = now
    return run


def new_run(
    row: ScheduledTask, trigger: str, *, scheduled_for: datetime, start_at: datetime, now: datetime
) -> TaskRun:
    """A run with what travels from its definition, leased to its maker. Not saved."""
    own = expiry_of(row.expires_seconds or None, scheduled_for)
    return TaskRun(
        scheduled_task=row,
        name=row.name,
        task=row.task,
        trigger=trigger,
        scheduled_for=scheduled_for,
        start_at=start_at,
        publish_at=publish_time(start_at, now),
        expires_at=own or registry.own_expiry(row.task, scheduled_for),
        revision=row.revision,
        args=row.args,
        kwargs=row.kwargs,
        queue=row.queue or queue_of(row),
        priority=row.priority,
        time_limit=row.time_limit,
        soft_time_limit=row.soft_time_limit,
        planned_at=now,
        triggered_via="schedule",
    )


def expiry_of(expires: float | datetime | None, moment: datetime) -> datetime | None:
    """When a run of `moment` expires; `expires` is in seconds from it, or an instant itself."""
    if expires is None or isinstance(expires, datetime):
        return expires
    return moment + timedelta(seconds=expires)


def queue_of(row: ScheduledTask) -> str:
    """The queue that Celery's routing gives it; a route function of the host sees its arguments."""
    if registry.depends_on_arguments():
        return registry.queue_for(row.task, row.args, row.kwargs)
    return registry.queue_for(row.task)


def publish_time(start_at: datetime, now: datetime) -> datetime:
    """When to look at a run that its maker publishes: after the lease that the maker takes, or,
    for one beyond the horizon, when the horizon reaches it."""
    return now + PUBLISH_LEASE if start_at <= now + HORIZON else start_at - HORIZON


def missed_run(row: ScheduledTask, span: Span, now: datetime, reason: str) -> TaskRun:
    """One row for consecutive slots that do not run: the first, the last and their number."""
    run = new_run(row, Trigger.SCHEDULE, scheduled_for=span.first, start_at=span.first, now=now)
    run.slot, run.last_slot, run.slot_count = span.first, span.last, span.count
    run.status, run.reason = Status.MISSED, reason
    run.publish_at, run.finished_at = None, now
    return run
