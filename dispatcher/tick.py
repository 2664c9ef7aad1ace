"""The minute: the only file that knows the order.

Any number of ticks may run at once; what one does, the others find done.
"""

import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from dispatcher.models import TaskRun, Tick
from dispatcher.models.times import HORIZON
from dispatcher.plan import misfire, planner
from dispatcher.publish import publisher
from dispatcher.upkeep import notices, prune, rescue
from scheduling.database import INTERRUPTIONS, blames_row, brief_waits, database_now, free
from scheduling.models import ScheduledTask
from scheduling.schedules.zones import tzdata_version
from scheduling.trail import Via, acting

logger = logging.getLogger(__name__)

#: A dispatcher whose clock is further than this from the database's does not tick (seconds).
CLOCK_TOLERANCE = 30.0
#: Planning again after this long spent publishing: new slots have come due (seconds).
PLAN_AGAIN_SECONDS = 30.0
#: Rounds of planning in one tick; the next tick does the rest.
MAX_ROUNDS = 10


class ClockError(Exception):
    """This machine's clock is wrong, so that every eta it computes would be."""


@dataclass
class Done:
    """What a tick came to so far, and whether the broker takes messages."""

    planned: int = 0
    published: int = 0
    missed: int = 0
    set_aside: int = 0
    error: str = ""

    def counts(self) -> dict[str, int | str]:
        return dict(vars(self))


def tick(now: datetime | None = None) -> Tick:
    """Plan and publish everything that is due up to the horizon; return its `Tick`.

    `now` fixes the time for one round (tests); else the database is asked, again each round.
    """
    started = now or database_now()
    check_clock(started if now is None else None)
    row = Tick.objects.create(
        started_at=started, dispatcher=socket.gethostname(), tzdata=tzdata_version()
    )
    done = Done()
    try:
        with brief_waits():
            _work(now, started, done)
    except Exception as error:
        # Not closed: for `/healthz` a tick that failed has not been.
        Tick.objects.filter(pk=row.pk).update(error=f"{type(error).__name__}: {error}"[:1000])
        raise
    row.close(**done.counts())
    row.refresh_from_db()
    _log(row)
    return row


def _work(now: datetime | None, started: datetime, done: Done) -> None:
    """Planning first: whatever stops the rest must not stop the slots."""
    ScheduledTask.objects.distrust()
    for moment in _rounds(now):
        if not _plan_and_publish(moment, done):
            break
    _publish_waiting(now, done)
    _resume(started)
    prune.prune_hourly(started)


def rescue_pass(now: datetime | None = None) -> Tick:
    """One rescue pass and its `Tick`, which later passes read to know of gaps."""
    started = now or database_now()
    row = Tick.objects.create(
        kind=Tick.Kind.RESCUE, started_at=started, dispatcher=socket.gethostname()
    )
    try:
        with brief_waits():
            rescued = rescue.rescue(started)
        row.close(published=rescued.published, lost=rescued.lost, missed=rescued.expired)
    finally:
        notices.notice(started)  # last: a mail server may be slow
    row.refresh_from_db()
    return row


def check_clock(database_time: datetime | None) -> None:
    """Refuse to tick on a clock that is off, as etas are read by the clocks of machines, and where
    times have no zone: the database's would seem hours off, and Celery's workers start in spite
    of the system check."""
    if not settings.USE_TZ:
        raise ImproperlyConfigured("USE_TZ is False: times have no zone. Set USE_TZ = True.")
    if database_time is None:
        return
    off = time.time() - database_time.timestamp()
    if abs(off) > CLOCK_TOLERANCE:
        raise ClockError(
            f"The clock of {socket.gethostname()} is {off:+.0f} s off the database's. "
            "Set it (NTP) and the next tick runs; until then another dispatcher must."
        )


def _rounds(now: datetime | None) -> Iterator[datetime]:
    if now is not None:
        yield now
        return
    for _round in range(MAX_ROUNDS):
        yield database_now()


def _resume(now: datetime) -> None:
    """Schedules that were paused until a time that has come."""
    for row in ScheduledTask.objects.resumable(now):
        with acting(Via.SCHEDULER, "paused_until"):
            try:
                _resume_one(row, now)
            except INTERRUPTIONS:
                raise
            except Exception as error:
                logger.exception("Scheduled task %s cannot be resumed", row.name)
                _forget_if_hopeless(row, error, now)


def _resume_one(row: ScheduledTask, now: datetime) -> None:
    """One that somebody has locked is left to the next tick."""
    with transaction.atomic():
        if free(ScheduledTask.objects.resumable(now).filter(pk=row.pk)):
            row.resume()


def _forget_if_hopeless(row: ScheduledTask, error: Exception, now: datetime) -> None:
    """A schedule that cannot be resumed stays paused; whatever else was in the way, the next tick
    tries again. Raises where the database is away."""
    if blames_row(error):
        ids = free(ScheduledTask.objects.resumable(now).filter(pk=row.pk))
        ScheduledTask.objects.filter(pk__in=ids).update(paused_until=None)


def _plan_and_publish(now: datetime, done: Done) -> bool:
    """One round over all that is due; whether it found anything."""
    has_planned = False
    for ids in planner.due_batches(now):
        for batch in planner.plan(ids, now):
            has_planned = has_planned or bool(batch.planned or batch.missed)
            done.planned += batch.planned
            done.missed += batch.missed
            done.set_aside += batch.set_aside
            _publish(batch.runs, now, done)
    return has_planned


def _publish(runs: list[TaskRun], now: datetime, done: Done) -> None:
    if done.error:
        return  # the broker is away: go on planning, they are due again when their lease ends
    try:
        done.published += publisher.publish(runs, now)
    except publisher.BrokerAway as error:
        done.error = str(error)
        logger.error("%s", error, extra={"action": "broker_away"})


def _publish_waiting(now: datetime | None, done: Done) -> None:
    """Runs that were committed and not published: by a process that died, without a broker, or
    because their time had not come."""
    planned_at = time.monotonic()
    while not done.error:
        moment = now or database_now()
        runs = publisher.take(TaskRun.objects.publishable(moment))
        if not runs:
            return
        decided = misfire.decide_again(runs, moment)
        done.missed += decided.missed
        _publish(decided.runs, moment, done)
        if time.monotonic() - planned_at > PLAN_AGAIN_SECONDS:
            _plan_and_publish(moment, done)
            planned_at = time.monotonic()


def _log(row: Tick) -> None:
    logger.info(
        "Tick: %d planned, %d published, %d missed, %d set aside, horizon %d s",
        row.planned,
        row.published,
        row.missed,
        row.set_aside,
        HORIZON.total_seconds(),
        extra={"action": "tick"},
    )
