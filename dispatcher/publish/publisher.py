"""Publish: planned runs become messages. Broker only; no transaction is open meanwhile.

`publish_at` is outbox, lease and retry time in one column. A run is taken by moving it to the end
of a lease, sent, and marked. Who dies in between leaves a row whose lease runs out, and it is
sent again; the gate lets only one of two messages start.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from amqp.exceptions import RecoverableConnectionError
from celery import Celery
from django.db import OperationalError, transaction
from kombu import Producer

from dispatcher.models import TaskRun
from dispatcher.models.times import HORIZON, PUBLISH_LEASE
from dispatcher.models.verbs import TaskRunQuerySet
from dispatcher.publish import groups, in_process, messages, pool, refusals
from dispatcher.publish.broker import BROKER_ERRORS, POOL_TIMEOUT, is_of_one_queue
from scheduling.celery_app import celery_app, installed
from scheduling.database import (
    INTERRUPTIONS,
    blames_row,
    database_now,
    free,
    is_contention,
    locked,
    retry_contention,
)
from scheduling.registry.routing import RouteError

logger = logging.getLogger(__name__)

#: Messages in one round trip. An error in it costs at most this many sent twice.
SENT_AT_ONCE = 500


#: Why nothing is sent from a process in which nobody called `install`: Celery's current app may be
#: another one, with another broker, and what is sent there counts as published.
NO_APP = (
    "This process has no Celery app with dispatcher.install(app), and sends nothing: its runs wait "
    "in the database for the next tick of one that has. Import the app in the __init__.py of the "
    "project."
)


class BrokerAway(Exception):
    """The broker did not take the messages; the runs stay due and are published again."""


def publish(runs: Sequence[TaskRun], now: datetime, distance: timedelta | None = None) -> int:
    """Send runs that the caller has leased, mark them, and return how many.

    Runs that start beyond the horizon are left alone. `distance`: when rescue looks again (None:
    30 s after the start). Raises `BrokerAway` at the first error of the broker, and where this
    process has no app to send with: the rest of the batch is not tried, and every run not marked is
    due again when its lease ends.

    Under `task_always_eager` they run here instead; under Django's test runner they stay planned.
    """
    due = [run for run in runs if run.publish_at is not None and run.start_at <= now + HORIZON]
    due.sort(key=lambda run: run.start_at)
    if celery_app().conf.task_always_eager:
        return in_process.execute(celery_app(), due, now)
    if in_process.is_held_back():
        return 0
    if installed() is None:
        raise BrokerAway(NO_APP)
    batches = (due[start : start + SENT_AT_ONCE] for start in range(0, len(due), SENT_AT_ONCE))
    return sum(_publish_batch(batch, now, distance) for batch in batches)


def publish_or_leave(runs: Sequence[TaskRun], now: datetime) -> int:
    """Publish for a caller whose own work is done: a broker that is away is only logged."""
    try:
        return publish(runs, now)
    except BrokerAway as error:
        logger.warning("%s", error, extra={"action": "broker_away"})
        return 0


@retry_contention
def take(rows: TaskRunQuerySet, limit: int = SENT_AT_ONCE) -> list[TaskRun]:
    """Lease the first `limit` of the selected rows for publishing, oldest start first."""
    lease = database_now() + PUBLISH_LEASE
    with transaction.atomic():
        taken = list(locked(rows.order_by("start_at", "pk"), skip=True)[:limit])
        TaskRun.objects.filter(pk__in=[run.pk for run in taken]).take(lease)
    for run in taken:
        run.publish_at = lease
    return taken


# Send ---------------------------------------------------------------------------------------------


def _publish_batch(runs: list[TaskRun], now: datetime, distance: timedelta | None) -> int:
    sent: list[TaskRun] = []
    runs = [run for run in runs if not refusals.refuse_unsendable(run)]
    try:
        _send_again_if_stale(celery_app(), runs, now, sent)
    except BROKER_ERRORS as error:
        _mark(sent, distance)
        raise BrokerAway(
            f"The broker does not take messages ({type(error).__name__}: {str(error)[:200]}). "
            f"{len(runs) - len(sent)} or more runs wait in the database and are published again."
        ) from error
    return _mark(sent, distance)


def _send_again_if_stale(
    app: Celery, runs: list[TaskRun], now: datetime, sent: list[TaskRun]
) -> None:
    """Send; once more, on a fresh connection, where the pooled one had died since its last use."""
    try:
        _send(app, runs, now, sent)
    except BROKER_ERRORS as error:
        if sent or not _is_stale(error):
            raise
        _send(app, runs, now, sent)


def _is_stale(error: Exception) -> bool:
    """The other end closed the connection; a broker that is away refuses one, or is silent."""
    stale = (ConnectionResetError, BrokenPipeError, RecoverableConnectionError)
    return isinstance(error, stale) or isinstance(error.__cause__, stale)


def _send(app: Celery, runs: list[TaskRun], now: datetime, sent: list[TaskRun]) -> None:
    """Fill `sent` with what the broker has. What concerns one queue, or one run, ends or delays
    only that."""
    with pool.producers(app).acquire(block=True, timeout=POOL_TIMEOUT) as producer:
        producer.channel  # noqa: B018  # connects: what is raised until here is of the broker
        if messages.takes_batches(producer) and _send_together(app, producer, runs, now, sent):
            return
        for queue, waiting in groups.by_queue(runs).items():
            _send_to(app, producer, queue, waiting, now, sent)


def _send_together(
    app: Celery, producer: Producer, runs: list[TaskRun], now: datetime, sent: list[TaskRun]
) -> bool:
    """One round trip on Redis, all or nothing; whether it was taken. Where it was not, one queue
    or one run is to blame, and who sends one by one finds it."""
    try:
        queues = groups.bound_queues(app, producer, runs)
        with producer.batch(max_size=SENT_AT_ONCE):  # type: ignore[attr-defined]  # as below
            for run in runs:
                messages.send(app, producer, run, now, queues.get(run.queue))
    except BROKER_ERRORS as error:
        if not is_of_one_queue(error):
            raise
        return False
    except INTERRUPTIONS:
        raise
    except Exception:  # one run cannot be written as a message
        return False
    sent += runs
    return True


def _send_to(
    app: Celery,
    producer: Producer,
    queue: str,
    runs: list[TaskRun],
    now: datetime,
    sent: list[TaskRun],
) -> None:
    """Send the runs of one queue. Where the broker refuses Celery's declaration of it, and there is
    such a queue, without one; else they stay due."""
    for undeclared in (False, True):
        had = {run.pk for run in sent}
        left = [run for run in runs if run.pk not in had]
        try:
            known = groups.undeclared(app, producer, queue) if undeclared else None
            return _send_each(app, producer, left, now, sent, known)
        except BROKER_ERRORS as error:
            if not is_of_one_queue(error):
                raise
            refused = error
    refusals.leave(queue, left, refused)


def _send_each(
    app: Celery,
    producer: Producer,
    runs: list[TaskRun],
    now: datetime,
    sent: list[TaskRun],
    queue: Any | None = None,
) -> None:
    for run in runs:
        try:
            messages.send(app, producer, run, now, queue)
            sent.append(run)
        except (*BROKER_ERRORS, *INTERRUPTIONS):
            raise
        except Exception as error:
            if blames_row(error.__cause__ if isinstance(error, RouteError) else error):
                refusals.refuse(run, f"{type(error).__name__}: {error}")
            else:
                refusals.leave(run.queue, [run], error)


# Mark ---------------------------------------------------------------------------------------------


def _mark(runs: Iterable[TaskRun], distance: timedelta | None) -> int:
    return sum(
        _mark_group(ids, attempt, lease, distance)
        for (attempt, lease), ids in groups.by_lease(runs)
    )


def _mark_group(ids: list[UUID], attempt: int, lease: datetime, distance: timedelta | None) -> int:
    """Mark runs. Locked ones stay unmarked, and are sent a second time: the gate lets only
    one of two messages start."""
    try:
        return TaskRun.objects.mark_published(ids, attempt, lease, distance)
    except OperationalError as error:
        if not is_contention(error):
            raise
    unlocked = free(TaskRun.objects.filter(pk__in=ids))
    return TaskRun.objects.mark_published(unlocked, attempt, lease, distance)
