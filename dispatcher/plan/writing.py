"""Write what was decided: a planner's rows move, and the runs of those that moved are inserted."""

import logging
from dataclasses import dataclass, field
from datetime import datetime

from django.db import DatabaseError

from dispatcher import signals
from dispatcher.models import Status, TaskRun, bulk
from dispatcher.plan.decisions import Decision
from scheduling.models import ScheduledTask

logger = logging.getLogger(__name__)


@dataclass
class Planned:
    """What one batch came to: the runs to publish, and counts for the tick."""

    runs: list[TaskRun] = field(default_factory=list)
    planned: int = 0
    missed: int = 0
    set_aside: int = 0
    #: Rows that it did not come to: their runs would have been too many for one transaction.
    left: list[int] = field(default_factory=list)

    def add(self, other: "Planned") -> None:
        self.runs += other.runs
        self.planned += other.planned
        self.missed += other.missed
        self.set_aside += other.set_aside
        self.left += other.left


def finish(rows: list[ScheduledTask], now: datetime) -> None:
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


def write(decisions: list[Decision], now: datetime) -> Planned:
    """Move each `next_run_at` by compare-and-set, and insert the runs of those that moved."""
    won = _move(decisions)
    _bring_back([d.row for d in won if d.row.state_reason], now)
    missed = [d.missed for d in won if d.missed is not None]
    runs = [run for d in won for run in d.runs]
    bulk.insert(missed + runs)
    for decision in won:
        decision.show_move()
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
