"""Rescue, every 20 s: runs whose worker is gone, runs that expired, runs that were published and
not started. Everything here repairs; nothing here is needed on a good day."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import OperationalError
from django.db.models import Q, Subquery

from dispatcher import signals
from dispatcher.models import Status, TaskRun, Tick, Worker
from dispatcher.models.ends import End
from dispatcher.models.times import PUBLISH_LEASE, RESCUE_CEILING, UNSTARTED_GRACE
from dispatcher.models.verbs import TaskRunQuerySet
from dispatcher.plan import misfire
from dispatcher.publish import publisher
from dispatcher.publish.broker import messages_ready
from dispatcher.worker import pause_failing, record, suspects
from dispatcher.worker.gate import DATABASE_ERRORS
from scheduling.database import INTERRUPTIONS, database_now, free, is_contention
from scheduling.models import ScheduledTask

logger = logging.getLogger(__name__)

#: The most runs published again, and the most judged lost, in one pass.
LIMIT = 1000


@dataclass
class Rescued:
    published: int = 0
    lost: int = 0
    expired: int = 0


def rescue(now: datetime | None = None) -> Rescued:
    """One pass. `now`: the database's time (read here when not given)."""
    now = now or database_now()
    errors: list[Exception] = []

    def repaired(step: Callable[[], int]) -> int:
        try:
            return step()
        except INTERRUPTIONS:
            raise
        except Exception as error:  # what stops one step must not stop the others
            errors.append(error)
            return 0

    result = Rescued(
        lost=repaired(lambda: lose(now)),
        expired=repaired(expire),
        published=repaired(lambda: publish_again(now)),
    )
    repaired(pause_failing.pause_failing)
    if errors:
        raise errors[0]
    return result


def lose(now: datetime) -> int:
    """Runs whose lease ran out end as lost, or are run again under `on_lost=rerun`."""
    if not Tick.objects.leases_can_be_judged(now):
        return 0
    ids = free(TaskRun.objects.lost(), LIMIT)
    lost = TaskRun.objects.lost().filter(pk__in=ids).prefetch_related("scheduled_task")
    return sum(_lose(run) for run in lost.order_by("pk"))


def _lose(run: TaskRun) -> bool:
    try:
        return record.end_or_retry(run, _lost_end(run))
    except (*DATABASE_ERRORS, *INTERRUPTIONS) as error:
        if not (isinstance(error, OperationalError) and is_contention(error)):
            raise
        logger.warning("Run %s is lost, and locked by somebody; the next pass ends it", run.pk)
        return False
    except Exception:  # whatever is wrong with one run must not keep the others
        logger.exception("Run %s is lost, and that could not be recorded", run.pk)
        return False


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
    return sum(_expire(ids) for ids in _batches_of_free(TaskRun.objects.expired()))


def _expire(ids: list[UUID]) -> int:
    return signals.close(TaskRun.objects.expired().filter(pk__in=ids), Status.MISSED, "expired")


def _batches_of_free(rows: TaskRunQuerySet) -> Iterator[list[UUID]]:
    """Ids of rows that nobody has locked, `LIMIT` at a time."""
    while ids := free(rows, LIMIT):
        yield ids
        rows = rows.filter(pk__gt=ids[-1])


def publish_again(now: datetime) -> int:
    """Publish what waits longer than its queue explains, oldest first.

    Per queue at most (unanswered - messages ready in the broker): a backlog is not a loss, and
    publishing it again would only make it longer. The queue that misses the fewest comes first,
    so that a great loss in one does not keep the others waiting.
    """
    left, published = LIMIT, 0
    unanswered = _not_in_a_worker(TaskRun.objects.unanswered(now))
    for rows, missing in _missing(_first_in_line(unanswered), now):
        taken = suspects.after_last_death(publisher.take(rows, min(missing, left)))
        published, left = published + _publish_again(taken, now), left - len(taken)
        if left <= 0:
            break
    return published


def _not_in_a_worker(unanswered: TaskRunQuerySet) -> TaskRunQuerySet:
    """Runs whose message no living worker holds: one that does starts them when it can."""
    held = list(Worker.objects.held_by_living())
    late: list[UUID] = []
    for at in range(0, len(held), LIMIT):
        late += unanswered.filter(pk__in=held[at : at + LIMIT]).values_list("pk", flat=True)
    return unanswered.exclude(pk__in=late) if late else unanswered


def _first_in_line(unanswered: TaskRunQuerySet) -> TaskRunQuerySet:
    """Runs that have none before them in their turn: the end of that one publishes them."""
    turns = Q(reason="takes_turns")
    waiting = unanswered.filter(turns, scheduled_task__isnull=False).order_by()
    schedules = set(waiting.values_list("scheduled_task", flat=True))
    one_by_one = ScheduledTask.objects.filter(pk__in=schedules).exclude(overlap_policy="allow")
    ids = list(one_by_one.values_list("pk", flat=True)[:LIMIT])
    heads = [TaskRun.objects.taking_turns(pk).values_list("pk", flat=True)[:1] for pk in ids]
    first = [pk for head in heads for pk in head]
    return unanswered.exclude(turns & Q(scheduled_task__in=ids) & ~Q(pk__in=first))


def _missing(unanswered: TaskRunQuerySet, now: datetime) -> list[tuple[TaskRunQuerySet, int]]:
    """Overdue runs by queue, of which so many have no message; the fewest first."""
    found: list[tuple[TaskRunQuerySet, int]] = []
    overdue = unanswered.filter(publish_at__lte=now)
    for queue in sorted(set(overdue.order_by().values_list("queue", flat=True))):
        ready = messages_ready(queue)  # before the count: what is started in between needs none
        if ready is None:
            return []
        rows = overdue.filter(queue=queue)
        missing = unanswered.filter(queue=queue).count() - ready
        if missing <= 0:  # unless the messages that wait there are not theirs
            rows = _overtaken(rows, queue)
            missing = rows.count()
        if missing > 0:
            found.append((rows, missing))
    return sorted(found, key=lambda pair: pair[1])


def _overtaken(rows: TaskRunQuerySet, queue: str) -> TaskRunQuerySet:
    """Those after which a message was sent that a worker has had: a queue is first in, first out,
    so theirs does not wait there. Each priority is a queue of its own."""
    gone = Q(pk=None)
    for priority in set(rows.order_by().values_list("priority", flat=True)):
        same = Q(queue=queue, priority=priority)
        oldest = rows.filter(same).order_by("pk").values("pk")[:1]  # so that history is not read
        later = TaskRun.objects.filter(same, pk__gt=Subquery(oldest)).started_at_first_sending()
        seen = later.order_by("-pk").values_list("published_at", "start_at").first()
        if seen is not None and seen[0] is not None:
            before = {"published_at__lt": seen[0] - PUBLISH_LEASE, "start_at__lt": seen[1]}
            gone |= Q(same, **before)
    return rows.filter(gone)


def _publish_again(runs: list[TaskRun], now: datetime) -> int:
    groups: dict[timedelta, list[TaskRun]] = defaultdict(list)
    for run in misfire.decide_again(runs, now).runs:
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
