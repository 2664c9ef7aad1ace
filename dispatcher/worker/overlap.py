"""Overlap: a run is about to start while another one of its scheduled task holds.

Two unique columns decide it on every database: `holds`, taken by the claim itself, and `waits`.
"""

import logging
from datetime import timedelta
from uuid import UUID

from django.db import IntegrityError

from dispatcher.models import Status, TaskRun, Trigger
from dispatcher.models.claim import Claim
from dispatcher.publish import broker, pool, publisher
from dispatcher.signals import announce
from scheduling.celery_app import installed
from scheduling.database import TRIES, database_now, savepoint
from scheduling.database.after_commit import after_commit
from scheduling.models import ScheduledTask

logger = logging.getLogger(__name__)


def follow_policy(claim: Claim) -> bool:
    """What the policy makes of a claim that met a holder; True if it starts after all."""
    run = TaskRun.objects.prefetch_related("scheduled_task").filter(pk=claim.run_id).first()
    if run is None or run.scheduled_task is None:
        return False
    if _takes_turns(run, run.scheduled_task):
        return _take_turn(run, claim)
    match run.scheduled_task.overlap_policy:
        case "queue_one":
            return _wait(run, claim)
        case "cancel_previous":
            return _replace(run, claim)
        case _:
            return _skip(run)


def _takes_turns(run: TaskRun, task: ScheduledTask) -> bool:
    """Backfill and catch-up were asked for slot by slot: they wait, and are never skipped."""
    if run.trigger == Trigger.BACKFILL:
        return True
    grace = timedelta(seconds=task.misfire_grace_seconds)
    return run.slot is not None and run.planned_at > run.slot + grace


def _take_turn(run: TaskRun, claim: Claim) -> bool:
    """Wait with the others, then try once more: the holder may have ended before it could see."""
    TaskRun.objects.filter(pk=run.pk).wait_turn()
    return _claim_again(claim)


def _skip(run: TaskRun) -> bool:
    holder = (
        TaskRun.objects.filter(holds=run.scheduled_task_id).values_list("pk", flat=True).first()
    )
    rows = TaskRun.objects.filter(pk=run.pk)
    if rows.close(Status.SKIPPED, "overlap", running=str(holder or "")):
        announce(run.pk)
    return False


def _wait(run: TaskRun, claim: Claim) -> bool:
    """Wait, then try once more: the holder may have ended before it could see the waiter."""
    assert run.scheduled_task_id is not None  # `follow_policy` has looked
    try:
        with savepoint():
            TaskRun.objects.all().wait(run.pk, run.scheduled_task_id)
    except IntegrityError:
        return _skip(run)
    return _claim_again(claim)


def _replace(run: TaskRun, claim: Claim) -> bool:
    """End the holder, in the row first, so that it can record nothing more; then its process."""
    for _try in range(TRIES):  # another run, or an attempt of this one, may take hold meanwhile
        holder = TaskRun.objects.filter(holds=run.scheduled_task_id).first()
        if holder is not None:
            _cancel(holder, by=str(run.pk))
        if _claim_again(claim):
            return True
    return False


def _cancel(holder: TaskRun, by: str) -> None:
    if TaskRun.objects.all().cancel_running(holder, "cancel_previous", by=by):
        terminate(holder)
        announce(holder.pk)
    elif TaskRun.objects.filter(pk=holder.pk, holds=holder.holds).close(
        Status.CANCELLED, "cancel_previous", by=by
    ):  # it was between two attempts
        announce(holder.pk)


def _claim_again(claim: Claim) -> bool:
    try:
        with savepoint():
            return TaskRun.objects.claim(claim)
    except IntegrityError:
        return False


def terminate(run: TaskRun) -> None:
    """Ask the worker to end the process of a run. A worker that cannot be asked is only logged:
    the row says what holds."""
    app = installed()
    if app is None:
        return _not_terminated(run, publisher.NO_APP)
    try:
        with pool.connection(app) as connection:  # one that does not try again for ever
            app.control.revoke(run.message_id, terminate=True, connection=connection)
    except broker.BROKER_ERRORS as error:
        _not_terminated(run, error)


def _not_terminated(run: TaskRun, why: object) -> None:
    logger.warning(
        "Run %s is cancelled, but its process could not be ended: %s",
        run.pk,
        why,
        extra={"action": "terminate_failed", "run": str(run.pk)},
    )


def wake(scheduled_task_id: int | None) -> None:
    """Publish the run that waits for the one that just ended, when this commits."""
    if scheduled_task_id is None:
        return
    waiter = TaskRun.objects.not_stopped().filter(waits=scheduled_task_id).first()
    waiter = waiter or TaskRun.objects.not_stopped().taking_turns(scheduled_task_id).first()
    if waiter is not None:
        after_commit(_publish, waiter.pk)


def _publish(run_id: UUID) -> None:
    runs = publisher.take(TaskRun.objects.waiting().filter(pk=run_id))
    publisher.publish_or_leave(runs, database_now())
