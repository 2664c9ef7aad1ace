"""Plan: decide which slots become runs and write them. Database only; the broker is not asked.

A slot is planned when its TaskRun is inserted and `next_run_at` moves past it in one transaction.
The unique constraint on (scheduled task, slot) is what makes it exactly once; row locks only save
two planners from doing the same work.
"""

import functools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)

from dispatcher import signals
from dispatcher.models import Status, TaskRun, bulk
from dispatcher.models.times import HORIZON
from dispatcher.plan.decisions import Decision, decide, recorded_of
from scheduling import registry
from scheduling.database import is_contention, is_outage, locked, retry_contention
from scheduling.models import ScheduledTask
from scheduling.schedules import ScheduleError

logger = logging.getLogger(__name__)

#: Rows locked and planned in one transaction. SQLite has one writer: others must get their turn.
BATCH = 500 if connection.vendor == "sqlite" else 1000
#: Ids read ahead; bounds the memory of a tick however many rows are due.
CHUNK = 20_000


@dataclass
class Planned:
    """What one batch came to: the runs to publish, and counts for the tick."""

    runs: list[TaskRun] = field(default_factory=list)
    planned: int = 0
    missed: int = 0
    set_aside: int = 0

    def add(self, other: "Planned") -> None:
        self.runs += other.runs
        self.planned += other.planned
        self.missed += other.missed
        self.set_aside += other.set_aside


def due_batches(now: datetime) -> Iterator[list[int]]:
    """Ids of the due rows, ascending, a batch at a time."""
    last = 0
    while True:
        due = ScheduledTask.objects.due(now, now + HORIZON).filter(pk__gt=last).order_by("pk")
        chunk = list(due.values_list("pk", flat=True)[:CHUNK])
        for start in range(0, len(chunk), BATCH):
            yield chunk[start : start + BATCH]
        if len(chunk) < CHUNK:
            return
        last = chunk[-1]


def plan_batch(ids: list[int], now: datetime) -> Planned:
    """Plan those of the rows that are still due. A batch that fails is redone row by row."""
    try:
        return _plan_rows(ids, now)
    except Exception:  # of the database, or of one row's values on their way to it
        logger.warning(
            "A batch of %d schedules could not be planned at once; row by row instead",
            len(ids),
            exc_info=True,
            extra={"action": "batch_redone"},
        )
    result = Planned()
    for pk in ids:
        result.add(_plan_alone(pk, now))
    return result


@retry_contention
def _plan_rows(ids: list[int], now: datetime) -> Planned:
    with transaction.atomic():
        due = ScheduledTask.objects.due(now, now + HORIZON).filter(pk__in=ids).order_by("pk")
        rows = list(locked(due, skip=True))
        recorded = recorded_of([row.pk for row in rows if row.next_run_at is None], now)
        result = Planned()
        decisions: list[Decision] = []
        exhausted: list[ScheduledTask] = []
        queue_for = functools.cache(registry.queue_for)  # for this batch: a route may change
        for row in rows:
            try:
                row.queue = row.queue or queue_for(row.task)
                decision = decide(row, now, recorded.get(row.pk))
            except Exception as error:  # whatever is wrong with one row must not stop the others
                result.set_aside += set_aside(row, error, now)
            else:
                decisions.append(decision) if decision else exhausted.append(row)
        _finish(exhausted, now)
        result.add(_write(decisions, now))
        return result


def _plan_alone(pk: int, now: datetime) -> Planned:
    """Plan one row of a batch that failed; a row that fails by itself is set aside."""
    try:
        return _plan_one(pk, now)
    except Exception as error:
        if isinstance(error, OperationalError | InterfaceError) and _is_not_its_fault(error):
            return Planned()
        row = ScheduledTask.objects.filter(pk=pk).first()
        return Planned(set_aside=set_aside(row, error, now) if row is not None else 0)


@retry_contention
def _plan_one(pk: int, now: datetime) -> Planned:
    with transaction.atomic():
        due = ScheduledTask.objects.due(now, now + HORIZON).filter(pk=pk)
        row = locked(due, skip=True).first()
        return plan_locked(row, now) if row is not None else Planned()


def _is_not_its_fault(error: OperationalError | InterfaceError) -> bool:
    """Whether another writer was in the way: the next tick plans the row. Raises the error where
    the database is away, or was."""
    if is_outage(error) or connection.connection is None or not connection.is_usable():
        raise error
    return isinstance(error, OperationalError) and is_contention(error)


def plan_locked(row: ScheduledTask, now: datetime) -> Planned:
    """Plan one row that the caller holds locked; slots that have a run already keep it."""
    if not row.enabled or (row.next_run_at is not None and row.next_run_at > now + HORIZON):
        return Planned()
    decision = decide(row, now)
    if decision is None:
        _finish([row], now)
        return Planned()
    decision.drop_recorded()
    return _write([decision], now)


# Write --------------------------------------------------------------------------------------------


def _finish(rows: list[ScheduledTask], now: datetime) -> None:
    """Disable schedules without a further slot, but not before their last planned one has come."""
    if not rows:
        return
    ahead = TaskRun.objects.filter(scheduled_task__in=rows, slot__gt=now)
    waiting = set(ahead.values_list("scheduled_task", flat=True))
    over = [row for row in rows if row.pk not in waiting]
    ScheduledTask.objects.filter(pk__in=[row.pk for row in over]).finish(now)
    for row in over:
        logger.info(
            "Scheduled task %s has no further slot: finished",
            row.name,
            extra={"action": "finished", "scheduled_task": row.pk},
        )


def _write(decisions: list[Decision], now: datetime) -> Planned:
    """Move each `next_run_at` by compare-and-set, and insert the runs of those that moved."""
    won = _move(decisions)
    _bring_back([d.row for d in won if d.row.state_reason], now)
    missed = [d.missed for d in won if d.missed is not None]
    runs = [run for d in won for run in d.runs]
    bulk.insert(missed + runs)
    publishable = [run for run in runs if run.status == Status.PLANNED]
    if missed or len(publishable) < len(runs):
        ended = [run.pk for run in missed + runs if run.status != Status.PLANNED]
        signals.announce_on_commit(ended)
    return Planned(
        runs=publishable,
        planned=len(runs),
        missed=sum(run.slot_count for run in missed),
    )


def _bring_back(rows: list[ScheduledTask], now: datetime) -> None:
    """Rows that were set aside and could be planned again: the move has cleared their state."""
    if rows:
        ScheduledTask.objects.filter(pk__in=[row.pk for row in rows]).bring_back(now)


def _move(decisions: list[Decision]) -> list[Decision]:
    """Those that moved. The rows are locked, so it is all of them; where a database has no row
    locks and another planner was first, they are tried one by one."""
    moved = bulk.move([decision.move() for decision in decisions])
    if moved == len(decisions):
        return decisions
    if len(decisions) == 1:
        return []
    raise DatabaseError("another planner moved some of these rows")


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
