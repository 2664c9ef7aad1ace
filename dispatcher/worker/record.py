"""Record, in the worker: how an attempt ended, or that another one follows.

Only the holder of the claim's token records its end. An end that cannot be written is kept and
tried again while the process lives; after that the lease runs out and rescue says `lost`.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from dispatcher.models import RunAttempt, Status, TaskRun
from dispatcher.models.ends import End
from dispatcher.models.status import WAITING
from dispatcher.plan.new_runs import publish_time
from dispatcher.publish import publisher
from dispatcher.signals import announce as announce  # for those who record an end elsewhere
from dispatcher.worker import overlap, pause_failing
from dispatcher.worker.gate import DATABASE_ERRORS, again_if_stale
from dispatcher.worker.stored_values import clean_text
from scheduling.database import blames_row, database_now, own_connection
from scheduling.models.state import may_run
from scheduling.schedules.policies import RERUN_LIMIT, retry_delay

logger = logging.getLogger(__name__)

#: Seconds between two tries to write an end that could not be written.
KEPT_RETRY_SECONDS = 2.0


def succeed(run_id: UUID, token: UUID, end: End) -> bool:
    """Record a success: one query. A run that holds its schedule takes a second one."""
    return _storing(end, lambda storable: _succeed(run_id, token, storable))


def _succeed(run_id: UUID, token: UUID, end: End) -> bool:
    rows = TaskRun.objects.all()
    won = rows.end(run_id, token, end, holds=None) or _succeed_holding(run_id, token, end)
    if won:
        announce(run_id)
    return won


def _succeed_holding(run_id: UUID, token: UUID, end: End) -> bool:
    """The end of a run that holds its schedule; or one whose first answer was lost on the way,
    and nobody may have been woken."""
    rows = TaskRun.objects.filter(pk=run_id, token=token)
    held, schedule = rows.values_list("holds", "scheduled_task").first() or (None, None)
    won = rows.end(run_id, token, end) or rows.filter(status=end.status).exists()
    if won:
        overlap.wake(held or schedule)
    return won


def end_or_retry(run: TaskRun, end: End) -> bool:
    """End an attempt as failed or lost, or leave it for the next one by the schedule's rules."""
    now = database_now()
    delay = _next_attempt_delay(run, end)
    if delay is None:
        return _end(run, end) and _ended(run)
    start_at = now + delay
    # A worker refuses what it does not know on receipt, not at its time: sent ahead, the next
    # message would meet the same worker at once.
    waits = run.status in WAITING and start_at > now
    publish_at = start_at if waits else publish_time(start_at, now)
    if not TaskRun.objects.all().try_again(run, end, start_at, publish_at):
        return False
    if waits:
        return True
    next_try = list(TaskRun.objects.filter(pk=run.pk, status=Status.RETRYING))
    publisher.publish_or_leave(next_try, now)
    return True


def _end(run: TaskRun, end: End) -> bool:
    if run.token is not None and run.status not in WAITING:
        return TaskRun.objects.all().end(run.pk, run.token, end)
    waiting = TaskRun.objects.filter(pk=run.pk, attempt=run.attempt)
    return bool(waiting.close(end.status, end.reason, **(end.reason_params or {})))


def _ended(run: TaskRun) -> bool:
    """What follows an end for others; harmless to repeat."""
    overlap.wake(run.holds if run.status == Status.RUNNING else run.scheduled_task_id)
    announce(run.pk)
    pause_failing.pause_if_failing(run.scheduled_task if run.scheduled_task_id else None)
    return True


def _next_attempt_delay(run: TaskRun, end: End) -> timedelta | None:
    """How long until the next attempt; None when there is none."""
    task = run.scheduled_task if run.scheduled_task_id else None
    if task is None or (run.slot and not may_run(task.enabled, task.state_reason)):
        return None
    before = RunAttempt.objects.filter(run=run, status=end.status).count()
    if end.status == Status.LOST:
        return timedelta(0) if task.on_lost == "rerun" and before < RERUN_LIMIT else None
    if end.status == Status.FAILED and before < task.max_retries:
        return retry_delay(task.retry_delay_seconds, before + 1, backoff=task.retry_backoff)
    return None


def fail(run_id: UUID, token: UUID, end: End) -> bool:
    """Record that a claimed attempt failed or was lost; for the process that holds its token."""
    run = _with_task().filter(pk=run_id, token=token).first()
    if run is None:
        return False
    if run.status in (Status.RUNNING, Status.LOST):
        return _storing(end, lambda storable: end_or_retry(run, storable))
    # The answer to a first try was lost on the way, and with it what should have followed.
    return run.status == end.status and _ended(run)


def fail_by_message(run_id: UUID, attempt: int, retries: int, message_id: str, end: End) -> bool:
    """Record as `fail`, without the token, which the worker's main process does not know."""
    rows = _with_task().claimed_by_message(run_id, attempt, retries, message_id)
    run = rows.first()
    return _storing(end, lambda storable: end_or_retry(run, storable)) if run else False


def refuse(run_id: UUID, attempt: int, end: End) -> bool:
    """Record that a worker could not take the message: the attempt fails without having started."""
    rows = _with_task().waiting().filter(pk=run_id, attempt__in={attempt, max(attempt, 1)})
    run = rows.first()
    return end_or_retry(run, end) if run is not None else False


def retry_own(
    run_id: UUID, token: UUID, start_at: datetime, exception: str, log: str = "", **follows: Any
) -> bool:
    return TaskRun.objects.all().retry_own(run_id, token, start_at, exception, log, **follows)


def _storing(end: End, write: Callable[[End], bool]) -> bool:
    """Write an end; where the database does not take what belongs to it, without that, and say so:
    how a run ended counts for more than what it returned."""
    try:
        return write(end)
    except DATABASE_ERRORS as error:
        if not blames_row(error):
            raise
        logger.error(
            "What belongs to the end of a run cannot be stored; the end is, without it: %s",
            error,
            extra={"action": "end_reduced"},
        )
        return write(_reduced(end, error))


def _reduced(end: End, error: Exception) -> End:
    """The end with what is sure to be stored: no JSON and no text that somebody else made."""
    why = clean_text(f"{type(error).__name__}: {error}")[:500]
    result = None if end.result is None else {"not_stored": why}
    exception = f"Its exception could not be stored: {why}" if end.exception else ""
    return End(end.status, end.reason, end.reason_params, result, exception)


def _with_task() -> "TaskRun.objects.__class__":  # type: ignore[name-defined]
    return TaskRun.objects.prefetch_related("scheduled_task")  # joined, a spoilt row would fail it


# Ends that could not be written -------------------------------------------------------------------

_kept: deque[Callable[[], bool]] = deque()
_flush_lock = threading.Lock()
_keeper_lock = threading.Lock()
_keeper: threading.Thread | None = None


def write_or_keep(
    write: Callable[[], bool],
    *,
    eager: bool = False,
    keep: bool = True,
    what: str = "The end of a run",
) -> None:
    """Write an end; if the database is away, keep it and try again in the background.

    On the worker's own connection: `eager` and `keep` as `own_connection.used` has them. `what` it
    is called in the log.
    """
    try:
        with own_connection.used(eager=eager, keep=keep):
            again_if_stale(write)
    except DATABASE_ERRORS:
        logger.warning(
            "%s could not be written; it is kept and tried again",
            what,
            exc_info=True,
            extra={"action": "end_kept"},
        )
        _kept.append(write)
        _start_keeper()


def _start_keeper() -> None:
    global _keeper
    with _keeper_lock:
        if _keeper is None or not _keeper.is_alive():
            _keeper = threading.Thread(target=_write_kept, name="kept-ends", daemon=True)
            _keeper.start()


def _write_kept() -> None:
    while _kept:
        time.sleep(KEPT_RETRY_SECONDS)
        flush_kept()


def flush_kept() -> None:
    """Try to write what is kept, oldest first; stop when the database is still away."""
    with _flush_lock:
        try:
            with own_connection.used(keep=False):
                while _kept:
                    _write_first()
        except DATABASE_ERRORS as error:
            logger.info(
                "The end of a run still cannot be written: %s", error, extra={"action": "end_kept"}
            )
        finally:
            connection.close()


def _write_first() -> None:
    try:
        _kept[0]()
    except Exception as error:
        if isinstance(error, DATABASE_ERRORS) and not blames_row(error):
            raise
        # It can never be written, and must not keep the others from it.
        logger.exception("The end of a run is lost; its lease will run out")
    _kept.popleft()


def _forget_after_fork() -> None:
    """In a new pool child: what is kept is its parent's, which may have held the locks."""
    global _flush_lock, _keeper_lock, _keeper
    _kept.clear()
    _flush_lock, _keeper_lock, _keeper = threading.Lock(), threading.Lock(), None


os.register_at_fork(after_in_child=_forget_after_fork)
