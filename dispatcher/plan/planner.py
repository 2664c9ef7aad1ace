"""Plan: decide which slots become runs and write them. Database only; the broker is not asked.

A slot is planned when its TaskRun is inserted and `next_run_at` moves past it in one transaction.
The unique constraint on (scheduled task, slot) is what makes it exactly once; row locks only save
two planners from doing the same work.
"""

import functools
import logging
from collections.abc import Callable, Iterator
from datetime import datetime

from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)

from dispatcher.models.times import HORIZON
from dispatcher.plan.decisions import Decision, decide, known_slots_of
from dispatcher.plan.new_runs import queue_of
from dispatcher.plan.writing import Planned, finish, write
from scheduling import registry
from scheduling.database import (
    INTERRUPTIONS,
    blames_row,
    is_contention,
    is_outage,
    locked,
    retry_contention,
)
from scheduling.models import ScheduledTask
from scheduling.schedules import ScheduleError

logger = logging.getLogger(__name__)

#: Rows locked and planned in one transaction. SQLite has one writer: others must get their turn.
PLANNED_AT_ONCE = 500 if connection.vendor == "sqlite" else 1000
#: Runs after which a transaction takes no further row; one row may make a thousand, catching up.
RUNS = 5000
#: Rows that may fail, one by one, by no fault of theirs before the batch is given up.
PATIENCE = 3
#: Ids read ahead; bounds the memory of a tick however many rows are due.
CHUNK = 20_000

_LEFT = {"action": "left_to_next_tick"}


def due_batches(now: datetime) -> Iterator[list[int]]:
    """Ids of the due rows, ascending, a batch at a time."""
    last = 0
    while True:
        due = ScheduledTask.objects.due(now, now + HORIZON).filter(pk__gt=last).order_by("pk")
        chunk = list(due.values_list("pk", flat=True)[:CHUNK])
        for start in range(0, len(chunk), PLANNED_AT_ONCE):
            yield chunk[start : start + PLANNED_AT_ONCE]
        if len(chunk) < CHUNK:
            return
        last = chunk[-1]


def plan(ids: list[int], now: datetime) -> Iterator[Planned]:
    """Plan the rows, in transactions of at most so many rows *and* runs: what a transaction holds
    locked and in memory does not grow with what an outage has left to catch up on."""
    size = len(ids)
    while ids:
        part, rest = ids[:size], ids[size:]
        done = plan_batch(part, now)
        yield done
        reached = len(part) - len(done.left)
        size = max(1, reached) if done.left else size * 2
        ids = done.left + rest


def plan_batch(ids: list[int], now: datetime) -> Planned:
    """Plan those of the rows that are still due, up to `RUNS` runs. A batch that fails is redone
    row by row."""
    try:
        return _plan_rows(ids, now)
    except INTERRUPTIONS:
        raise
    except Exception:  # of the database, or of one row's values on their way to it
        logger.warning(
            "A batch of %d schedules could not be planned at once; row by row instead",
            len(ids),
            exc_info=True,
            extra={"action": "batch_redone"},
        )
    return _plan_one_by_one(ids, now)


def _plan_one_by_one(ids: list[int], now: datetime) -> Planned:
    """Plan the rows of a batch that failed, each by itself. Those that fail through no fault of
    theirs are left to the next tick; when it happens again and again, that is raised."""
    result, failed = Planned(), 0
    for number, pk in enumerate(ids):
        if len(result.runs) >= RUNS:
            result.left = ids[number:]
            break
        try:
            result.add(_plan_alone(pk, now))
        except (DatabaseError, InterfaceError, OSError) as error:
            failed += 1
            if failed >= PATIENCE or _is_away(error):
                raise
            logger.exception("Scheduled task %s is left to the next tick", pk, extra=_LEFT)
    return result


@retry_contention
def _plan_rows(ids: list[int], now: datetime) -> Planned:
    with transaction.atomic():
        due = ScheduledTask.objects.due(now, now + HORIZON).filter(pk__in=ids).order_by("pk")
        rows = list(locked(due, skip=True))
        known_slots = known_slots_of([row.pk for row in rows if row.next_run_at is None], now)
        result = Planned()
        decisions: list[Decision] = []
        exhausted: list[ScheduledTask] = []
        queue_for, runs = _routing(), 0
        for number, row in enumerate(rows):
            if runs >= RUNS:
                result.left = [row.pk for row in rows[number:]]
                break
            try:
                row.queue = row.queue or queue_for(row)
                decision = decide(row, now, known_slots.get(row.pk))
            except Exception as error:  # whatever is wrong with one row must not stop the others
                if not blames_row(error):
                    raise
                result.set_aside += set_aside(row, error, now)
            else:
                decisions.append(decision) if decision else exhausted.append(row)
                runs += len(decision.runs) if decision else 0
        finish(exhausted, now)
        result.add(write(decisions, now))
        return result


def _routing() -> Callable[[ScheduledTask], str]:
    """The queue by row; by task, asked once in this batch, where no arguments decide it."""
    if registry.depends_on_arguments():
        return queue_of
    of_task = functools.cache(registry.queue_for)
    return lambda row: of_task(row.task)


def _plan_alone(pk: int, now: datetime) -> Planned:
    """Plan one row of a batch that failed; one that is to blame itself is set aside."""
    try:
        return _plan_one(pk, now)
    except Exception as error:
        if isinstance(error, OperationalError) and is_contention(error):
            return Planned()  # another writer was in the way: the next tick plans it
        if not blames_row(error):
            raise
        row = ScheduledTask.objects.filter(pk=pk).first()
        return Planned(set_aside=set_aside(row, error, now) if row is not None else 0)


@retry_contention
def _plan_one(pk: int, now: datetime) -> Planned:
    with transaction.atomic():
        due = ScheduledTask.objects.due(now, now + HORIZON).filter(pk=pk)
        row = locked(due, skip=True).first()
        return plan_locked(row, now) if row is not None else Planned()


def _is_away(error: Exception) -> bool:
    """Whether the database is away, or was: no other row would fare better."""
    gone = connection.connection is None or not connection.is_usable()
    return gone or (isinstance(error, (OperationalError, InterfaceError)) and is_outage(error))


def plan_locked(row: ScheduledTask, now: datetime) -> Planned:
    """Plan one row that the caller holds locked; slots that have a run already keep it. The row
    is then what is stored."""
    if not is_due(row, now):
        return Planned()
    decision = decide(row, now)
    if decision is None:
        finish([row], now)
        row.refresh_from_db()
        return Planned()
    decision.drop_slots_with_runs()
    return write([decision], now)


def is_due(row: ScheduledTask, now: datetime) -> bool:
    """Whether it has a slot up to the horizon that is not planned, or may have one."""
    return bool(row.enabled) and (row.next_run_at is None or row.next_run_at <= now + HORIZON)


def set_aside(row: ScheduledTask, error: Exception, now: datetime) -> int:
    """Put a row that cannot be planned out of the way, with the reason for the reader."""
    code = error.code if isinstance(error, ScheduleError) else type(error).__name__
    logger.error(
        "Scheduled task %s is set aside: %s",
        row.name,
        error,
        exc_info=not isinstance(error, ScheduleError),
        extra={"action": "set_aside", "scheduled_task": row.pk},
    )
    return ScheduledTask.objects.filter(pk=row.pk).set_aside(code, str(error), now)
