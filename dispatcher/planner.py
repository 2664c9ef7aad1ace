"""Plan: decide which slots become runs and write them. Database only; the broker is not asked.

A slot is planned when its TaskRun is inserted and `next_run_at` moves past it in one transaction.
The unique constraint on (scheduled task, slot) is what makes it exactly once; row locks only save
two planners from doing the same work.
"""

import functools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import DatabaseError, connection, transaction
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Coalesce

from dispatcher.models import Status, TaskRun, Trigger, bulk
from dispatcher.models.verbs import HORIZON, PUBLISH_LEASE
from scheduling import registry
from scheduling.locking import locked, retry_contention
from scheduling.models import ScheduledTask
from scheduling.policies import Misfire, SlotPlan, plan_slots
from scheduling.schedules import ScheduleError, Span

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
    except DatabaseError:
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
        recorded = _recorded([row.pk for row in rows if row.next_run_at is None], now)
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
        with transaction.atomic():
            due = ScheduledTask.objects.due(now, now + HORIZON).filter(pk=pk)
            row = locked(due, skip=True).first()
            return plan_locked(row, now) if row is not None else Planned()
    except Exception as error:
        row = ScheduledTask.objects.filter(pk=pk).first()
        return Planned(set_aside=set_aside(row, error, now) if row is not None else 0)


def plan_locked(row: ScheduledTask, now: datetime) -> Planned:
    """Plan one row that the caller holds locked; slots that have a run already keep it."""
    if not row.enabled or (row.next_run_at is not None and row.next_run_at > now + HORIZON):
        return Planned()
    decision = decide(row, now)
    if decision is None:
        _finish([row], now)
        return Planned()
    decision.drop(_recorded_slots(row, decision))
    return _write([decision], now)


# Decide -------------------------------------------------------------------------------------------


@dataclass
class Decision:
    """A row, the slots that its planner found, and the runs that they become."""

    row: ScheduledTask
    plan: SlotPlan
    runs: list[TaskRun]
    missed: TaskRun | None

    def move(self) -> bulk.Move:
        row, plan = self.row, self.plan
        last = plan.runs[-1] if plan.runs else row.last_run_at
        return bulk.Move(row.pk, row.next_run_at, plan.next_run_at, last, plan.used)

    def drop(self, recorded: set[datetime]) -> None:
        self.runs = [run for run in self.runs if run.slot not in recorded]
        if self.missed is not None and self.missed.slot in recorded:
            self.missed = None


@dataclass
class Recorded:
    """The newest slot up to now that is accounted for, and those that were planned ahead."""

    until: datetime | None = None
    ahead: set[datetime] = field(default_factory=set)


def decide(row: ScheduledTask, now: datetime, recorded: Recorded | None = None) -> Decision | None:
    """What the row's slots up to the horizon become; None where it has no further slot.

    `recorded` is looked up if it is needed and not given. Raises `ScheduleError`, or whatever
    garbage in the row provokes.
    """
    window = row.window()
    first = row.next_run_at
    if first is None or not window.has_slot(first):
        first = _first_unplanned(row, recorded or _recorded([row.pk], now)[row.pk])
    if first is None:
        # A rule changed behind our back may leave a `next_run_at` that is no slot: it goes first.
        return Decision(row, SlotPlan((), None, 0, None), [], None) if row.next_run_at else None
    plan = plan_slots(
        window,
        first,
        now=now,
        horizon=max(now + HORIZON, now),
        misfire=Misfire(row.misfire_policy, timedelta(seconds=row.misfire_grace_seconds)),
        allowed=row.slots_left(),
    )
    runs = [_run_of(row, slot, now) for slot in plan.runs]
    missed = missed_run(row, plan.missed, now, "misfire") if plan.missed else None
    return Decision(row, plan, runs, missed)


def _first_unplanned(row: ScheduledTask, recorded: Recorded) -> datetime | None:
    """What `next_run_at` would say: the first slot since the row was armed that has no run."""
    slot = row.first_slot(max(row.armed_at, recorded.until or row.armed_at))
    while slot in recorded.ahead:
        slot = row.first_slot(slot)
    return slot


def _recorded(ids: list[int], now: datetime) -> dict[int, Recorded]:
    """By row: two queries that each look at the end of the rows' histories only."""
    if not ids:
        return {}
    newest = TaskRun.objects.filter(scheduled_task=OuterRef("pk"), slot__lte=now).order_by("-slot")
    until = Subquery(newest.values(until=Coalesce("last_slot", "slot"))[:1])
    rows = ScheduledTask.objects.filter(pk__in=ids).order_by().annotate(until=until)
    recorded = {pk: Recorded(moment) for pk, moment in rows.values_list("pk", "until")}
    ahead = TaskRun.objects.filter(scheduled_task__in=ids, slot__gt=now).order_by()
    for pk, slot in ahead.values_list("scheduled_task", "slot"):
        recorded[pk].ahead.add(slot)  # type: ignore[arg-type]  # never NULL: it is > now
    return recorded


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


def _recorded_slots(row: ScheduledTask, decision: Decision) -> set[datetime]:
    slots = [run.slot for run in decision.runs]
    if decision.missed is not None:
        slots.append(decision.missed.slot)
    return {slot for slot in row.runs.filter(slot__in=slots).values_list("slot", flat=True) if slot}


# Runs ---------------------------------------------------------------------------------------------


def _run_of(row: ScheduledTask, slot: datetime, now: datetime) -> TaskRun:
    run = new_run(row, Trigger.SCHEDULE, scheduled_for=slot, start_at=row.start_of(slot), now=now)
    run.slot = slot
    if slot.isoformat() in row.skip_slots:
        run.status, run.reason, run.publish_at = Status.SKIPPED, "skipped_by_hand", None
        run.finished_at = now
    elif run.expires_at is not None and run.expires_at <= now:
        run.status, run.reason, run.publish_at = Status.MISSED, "expired", None
        run.finished_at = now
    return run


def new_run(
    row: ScheduledTask, trigger: str, *, scheduled_for: datetime, start_at: datetime, now: datetime
) -> TaskRun:
    """A run with what travels from its definition, leased to its maker. Not saved."""
    expires = timedelta(seconds=row.expires_seconds) if row.expires_seconds else None
    return TaskRun(
        scheduled_task=row,
        name=row.name,
        task=row.task,
        trigger=trigger,
        scheduled_for=scheduled_for,
        start_at=start_at,
        publish_at=publish_time(start_at, now),
        expires_at=scheduled_for + expires if expires else None,
        revision=row.revision,
        args=row.args,
        kwargs=row.kwargs,
        queue=row.queue or registry.queue_for(row.task),
        priority=row.priority,
        time_limit=row.time_limit,
        soft_time_limit=row.soft_time_limit,
        planned_at=now,
        triggered_via="schedule",
    )


def publish_time(start_at: datetime, now: datetime) -> datetime:
    """When to look at a run that its maker publishes: after the lease that the maker takes, or,
    for one beyond the horizon, when the horizon reaches it."""
    return now + PUBLISH_LEASE if start_at <= now + HORIZON else start_at - HORIZON


def missed_run(row: ScheduledTask, span: Span, now: datetime, reason: str) -> TaskRun:
    """One row for consecutive slots that do not run: the first, the last and their number."""
    run = new_run(row, Trigger.SCHEDULE, scheduled_for=span.first, start_at=span.first, now=now)
    run.slot, run.last_slot, run.slot_count = span.first, span.last, span.count
    run.status, run.reason = Status.MISSED, reason
    run.publish_at, run.finished_at = None, now
    return run


# Write --------------------------------------------------------------------------------------------


def _write(decisions: list[Decision], now: datetime) -> Planned:
    """Move each `next_run_at` by compare-and-set, and insert the runs of those that moved."""
    won = _move(decisions)
    missed = [d.missed for d in won if d.missed is not None]
    runs = [run for d in won for run in d.runs]
    bulk.insert(missed + runs)
    return Planned(
        runs=[run for run in runs if run.status == Status.PLANNED],
        planned=len(runs),
        missed=sum(run.slot_count for run in missed),
    )


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
