"""Messages that kill the worker that takes them: a run that took two workers is not sent again.

What a dead worker had received is sent again, and what killed it is among that. It is found so:

1. Suspicion. A worker died: the runs whose messages it may have been taking are suspects
   (`took_workers` is 1, however many workers die so). Not what merely waited in its memory.
2. Care. The message of a suspect says so; one that the broker itself gives out again, as RabbitMQ
   does without asking us, is taken for one. Before a worker touches it, it notes whose message it
   takes (`Worker.taking`); afterwards, that it has. A message of an ended run, or of one that
   another worker is noted to take, is dropped: who judges that worker decides.
3. Verdict. The main process takes one message at a time. If it dies in between, it died of that
   one: `took_workers` goes up, and the publisher sends no run that has 2 (`publish.refusals`).

So deaths beside a run never add up against it; only one in the very moment that it is taken does,
a millisecond or two. Handing over to the pool belongs to it under prefork alone, which pickles the
message: other pools wait there for a free place, or run the function. Where nobody could judge
between two deliveries of RabbitMQ, the same message may take a third worker. Each step is one
conditional write, and may be left undone by a crash.
"""

import logging
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

from celery.exceptions import InvalidTaskError
from celery.utils.imports import symbol_by_name
from django.db import OperationalError, connection, transaction
from django.db.models import Exists
from kombu.exceptions import ContentDisallowed, DecodeError

from dispatcher.models import TaskRun, Worker
from dispatcher.models.status import ENDED
from dispatcher.publish.broker import BROKER_ERRORS
from dispatcher.publish.messages import SUSPECT
from dispatcher.worker import record
from dispatcher.worker.gate import DATABASE_ERRORS, WORKER_ID, again_if_stale, attempt_of, run_id_of
from scheduling.database import free, is_contention, own_connection

logger = logging.getLogger(__name__)

#: After this time every living worker has said that it holds a message, if it does.
SAID = timedelta(seconds=6)

#: The runs marked in one statement.
MARKED_AT_ONCE = 500

#: Seconds for which a database that was away is not asked again: messages are taken without care.
AWAY_SECONDS = 5.0

#: The run whose message this process is taking with care.
_taking: UUID | None = None
#: Until when the database counts as away, by the monotonic clock.
_away_until = 0.0


# Suspicion ----------------------------------------------------------------------------------------


def suspect(run_ids: Collection[UUID], due: datetime | None = None) -> None:
    """A worker died that may have been taking their messages; `due`: of those that start till then.

    It counts once, however often."""
    ids = list(run_ids)
    for at in range(0, len(ids), MARKED_AT_ONCE):
        rows = TaskRun.objects.filter(pk__in=ids[at : at + MARKED_AT_ONCE], took_workers=0)
        if due is not None:
            rows = rows.filter(start_at__lte=due)
        with transaction.atomic():  # one that somebody has locked is not waited for
            TaskRun.objects.filter(pk__in=free(rows.waiting())).took_worker()


def after_last_death(runs: list[TaskRun]) -> list[TaskRun]:
    """Runs that are to be sent again; those are suspects that were sent before a worker died."""
    last = Worker.objects.last_death() if runs else None
    if last is not None:
        sent = [run for run in runs if run.published_at and run.published_at <= last + SAID]
        suspect([run.pk for run in sent])
        for run in sent:
            run.took_workers = max(run.took_workers, 1)
    return runs


# Care ---------------------------------------------------------------------------------------------


def is_suspect(message: Any) -> bool:
    """Whether a message is to be taken with care."""
    again = (getattr(message, "delivery_info", None) or {}).get("redelivered")
    return bool(again or (getattr(message, "headers", None) or {}).get(SUSPECT))


def careful(strategy: Any) -> Any:
    """A strategy of Celery (what a worker does at receipt) that takes suspects with care."""
    start: Callable[..., Any] = symbol_by_name(strategy)

    def started(task: Any, app: Any, consumer: Any, **options: Any) -> Any:
        take = start(task, app, consumer, **options)

        def take_carefully(message: Any, *rest: Any, **more: Any) -> Any:
            run_id = run_id_of(dict(message.headers or {}))
            if run_id is None:
                return take(message, *rest, **more)
            with _refusing(run_id, consumer):
                if not is_suspect(message) or _is_away():
                    return take(message, *rest, **more)
                if not _may_take(run_id, attempt_of(message.headers)):
                    return _drop(message, run_id, consumer)
                with taking(run_id):
                    return take(message, *rest, **more)

        return take_carefully

    started.is_careful = True  # type: ignore[attr-defined]
    return started


@contextmanager
def _refusing(run_id: UUID, consumer: Any) -> Iterator[None]:
    """An error at the receipt of a run's message would end the worker, and the next one: the
    message is refused instead. Celery's own refusals pass, and what the environment did: the
    errors of the broker and the database, and a thread that the system does not give."""
    try:
        yield
    except (InvalidTaskError, ContentDisallowed, DecodeError, MemoryError):
        raise
    except BROKER_ERRORS + DATABASE_ERRORS + tuple(consumer.connection_errors):
        raise
    except Exception as error:
        if isinstance(error, RuntimeError) and not isinstance(error, RecursionError):
            raise
        logger.exception("The message of run %s could not be taken", run_id)
        raise InvalidTaskError(f"{type(error).__name__} at its receipt") from error


def _drop(message: Any, run_id: UUID, consumer: Any) -> None:
    logger.warning(
        "A message of run %s is dropped: it has ended, or another worker takes it",
        run_id,
        extra={"action": "suspect_dropped", "run": str(run_id)},
    )
    message.ack_log_error(logger, consumer.connection_errors)


def _may_take(run_id: UUID, attempt: int) -> bool:
    others = Worker.objects.filter(taking=run_id).exclude(pk=_me())
    same = {attempt} if attempt > 1 else {0, 1}
    run = TaskRun.objects.filter(pk=run_id, attempt__in=same)
    try:
        with _main_process():
            startable = run.exclude(status__in=ENDED).exclude(Exists(others))
            return again_if_stale(lambda: startable.exists())
    except DATABASE_ERRORS:
        _note_outage()
        return True  # without care, as any message; the gate knows


@contextmanager
def taking(run_id: UUID) -> Iterator[None]:
    """Note, until the end of the block, whose message this process takes."""
    global _taking
    if _taking == run_id or _is_away():  # received, and handed to the pool at once
        yield
        return
    _taking = run_id
    _note(run_id)
    try:
        yield
    finally:
        taken(run_id)


def taken(run_id: UUID) -> None:
    """Note that the message is taken, if it is the one that this process was taking."""
    global _taking
    if _taking != run_id:
        return
    _taking = None
    # A note that stays would speak against the run when this worker dies of something else.
    try:
        record.write_or_keep(lambda: Worker.objects.has_taken(_me(), run_id), what="A note")
    finally:
        connection.close()


def _note(run_id: UUID) -> None:
    try:
        with _main_process():
            again_if_stale(lambda: Worker.objects.takes(_me(), run_id))
    except DATABASE_ERRORS:
        _note_outage()
        logger.warning("A suspect message is taken without care: the database is away")


def _note_outage() -> None:
    """The event loop must not ask for each message a database that does not answer."""
    global _away_until
    _away_until = monotonic() + AWAY_SECONDS


def _is_away() -> bool:
    return monotonic() < _away_until


@contextmanager
def _main_process() -> Iterator[None]:
    """Work on the worker's own connection, and leave none of Django's for the next pool child."""
    try:
        with own_connection.used():
            yield
    finally:
        connection.close()


def _me() -> UUID:
    return UUID(os.environ[WORKER_ID])


# Verdict ------------------------------------------------------------------------------------------


def judge(worker: Worker) -> list[UUID]:
    """The run whose message a silent worker was taking when it died, counted against it once, by
    whoever judges first; nothing where there is none, or where a lock is in the way."""
    run_id = worker.taking
    try:
        return [run_id] if run_id is not None and _count(worker, run_id) else []
    except OperationalError as error:
        if not is_contention(error):
            raise
        return []  # the note is still there for the next who looks


def _count(worker: Worker, run_id: UUID) -> bool:
    with transaction.atomic():
        silent = Worker.objects.silent().filter(pk=worker.pk)
        counted = silent.has_taken(worker.pk, run_id) and bool(
            TaskRun.objects.filter(pk=run_id).took_worker()
        )
    if counted:
        logger.error(
            "Worker %s died while it took the message of run %s",
            worker.hostname,
            run_id,
            extra={"action": "took_worker", "run": str(run_id)},
        )
    return counted
