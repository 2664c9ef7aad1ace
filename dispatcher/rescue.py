"""Rescue, every 20 s: runs that were published and not started, runs whose worker is gone, runs
whose wake-up was lost. Everything here repairs; nothing here is needed on a good day."""

import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from amqp.exceptions import ChannelError
from celery.app import app_or_default
from django.db.models import Count
from kombu import Connection

from dispatcher import overlap, publisher, record
from dispatcher.models import Status, TaskRun, Tick
from dispatcher.models.verbs import RESCUE_CEILING, UNSTARTED_GRACE, End
from scheduling.clock import database_now

logger = logging.getLogger(__name__)

#: The most runs published again in one pass.
LIMIT = 1000


@dataclass
class Rescued:
    published: int = 0
    lost: int = 0
    expired: int = 0


def rescue(now: datetime | None = None) -> Rescued:
    """One pass. `now`: the database's time (read here when not given)."""
    now = now or database_now()
    result = Rescued(lost=lose(now), expired=expire())
    wake_waiters()
    result.published = publish_again(now)
    return result


def lose(now: datetime) -> int:
    """Runs whose lease ran out end as lost, or are run again under `on_lost=rerun`."""
    if not Tick.objects.leases_can_be_judged(now):
        return 0
    lost = TaskRun.objects.lost().select_related("scheduled_task").order_by("pk")[:LIMIT]
    return sum(record.end_or_retry(run, _lost_end(run)) for run in lost)


def _lost_end(run: TaskRun) -> End:
    logger.warning(
        "Run %s of %s is lost: worker %s no longer renews its lease",
        run.pk,
        run.name,
        run.worker,
        extra={"action": "lost", "run": str(run.pk)},
    )
    return End(Status.LOST, "lease_ran_out", {"worker": run.worker, "pid": run.pid})


def expire() -> int:
    """Unstarted runs past `expires_at` are missed; the gate would not start them any more."""
    return TaskRun.objects.expired().close(Status.MISSED, "expired")


def wake_waiters() -> None:
    """Waiters (`queue_one`) whose holder is gone: the process that ended it may have died."""
    waiting = TaskRun.objects.unstarted().exclude(waits=None).values_list("waits", flat=True)
    wanted = {pk for pk in waiting[:LIMIT] if pk is not None}
    held = set(TaskRun.objects.filter(holds__in=wanted).values_list("holds", flat=True))
    for scheduled_task_id in sorted(wanted - held):
        overlap.wake(scheduled_task_id)


def publish_again(now: datetime) -> int:
    """Publish what waits longer than its queue explains, oldest first.

    Per queue at most (overdue - messages ready in the broker): a backlog is not a loss, and
    publishing it again would only make it longer.
    """
    left, published = LIMIT, 0
    overdue = TaskRun.objects.overdue(now)
    counts = overdue.order_by().values_list("queue").annotate(Count("pk"))
    for queue, count in counts:
        ready = messages_ready(queue)
        if ready is None:
            return published
        rows = overdue.filter(queue=queue)
        missing = min(count - ready, left)
        if missing > 0:
            sent = _publish_again(publisher.take(rows, missing), now)
            published, left = published + sent, left - missing
    return published


def messages_ready(queue: str) -> int | None:
    """How many messages wait in the queue; 0 where it does not exist, None without a broker."""
    app = app_or_default()
    name = queue or app.conf.task_default_queue
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
            return ready_in(connection, name)
    except connection_errors() as error:
        logger.warning("The broker could not be asked: %s", error, extra={"action": "broker_away"})
        return None


def ready_in(connection: Connection, queue: str) -> int:
    """How many messages wait in the queue, by an open connection; 0 where it does not exist."""
    try:
        with connection.channel() as channel:  # of its own: a refusal closes it
            declared = channel.queue_declare(queue, passive=True)  # type: ignore[attr-defined]
            return int(declared.message_count)
    except ChannelError:
        return 0


def connection_errors() -> tuple[type[Exception], ...]:
    app = app_or_default()
    return (*publisher.BROKER_ERRORS, *app.connection_for_write().connection_errors)


def _publish_again(runs: list[TaskRun], now: datetime) -> int:
    groups: dict[timedelta, list[TaskRun]] = defaultdict(list)
    for run in runs:
        groups[_distance(now - run.start_at)].append(run)
    try:
        return sum(publisher.publish(group, now, distance) for distance, group in groups.items())
    except publisher.BrokerAway as error:
        logger.warning("%s", error, extra={"action": "broker_away"})
        return 0


def _distance(overdue: timedelta) -> timedelta:
    """The next look, twice as far away each time: 30 s, 60 s, ... 15 minutes."""
    distance = UNSTARTED_GRACE
    while distance < overdue and distance < RESCUE_CEILING:
        distance *= 2
    return min(distance, RESCUE_CEILING)
