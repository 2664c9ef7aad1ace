"""Misfire, the second decision: runs that were planned and could not be published in time.

The planner decides the slots that have no run yet. This decides those that have one, right before
it is published late: there was no broker, no dispatcher, or everything was paused. A run whose
message waits in a living queue is nobody's business here, nor is one that a gate has seen.

No row of a scheduled task is locked. Whoever plans, edits or decides at the same time meets the
locks of the runs, and a run that was missed here while its message was sent there is vetoed.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Case, OuterRef, Subquery, When
from django.db.models.functions import Coalesce

from dispatcher import signals
from dispatcher.models import Status, TaskRun, Trigger, bulk
from scheduling.database import DatabaseNow, free, retry_contention
from scheduling.models import ScheduledTask
from scheduling.schedules.policies import CATCH_UP_LIMIT, Misfire, Window, overtaken

logger = logging.getLogger(__name__)

#: Runs decided in one transaction, and the most that become one row.
DECIDED_AT_ONCE = 5000

#: The columns that the decision needs.
_RULE = ["misfire_policy", "misfire_grace_seconds", "next_run_at", "kind", "run_at", "timezone"]
_RULE += ["interval_seconds", "cron_expression", "starts_at", "ends_at", "created_at"]


class Decided(NamedTuple):
    """The runs that are still to be published, and how many slots are missed instead."""

    runs: list[TaskRun]
    missed: int


class Waiting(NamedTuple):
    """A run that has not started, as far as the decision needs it."""

    slot: datetime
    start_at: datetime
    pk: UUID


def decide_again(runs: Sequence[TaskRun], now: datetime) -> Decided:
    """Decide again, by the policy of their scheduled tasks, before these runs are published.

    With them are decided the other runs of the same tasks that wait to be published. Costs nothing
    when no run is past its start, one query when none is late.
    """
    started_late = [run for run in runs if _may_be_late(run, now)]
    if not started_late:
        return Decided(list(runs), 0)
    tasks = _with_a_late_run(started_late, now)
    if not tasks:
        return Decided(list(runs), 0)
    groups = [
        group
        for pk, waiting in _waiting(set(tasks), started_late, now).items()
        for group in _missed(tasks[pk], waiting, now)
    ]
    missed = sum(_miss(batch) for batch in _batches(groups))
    gone = {run.pk for group in groups for run in group}
    _catch_up(run.pk for run in started_late if run.pk not in gone and _is_late(run, tasks, now))
    return Decided([run for run in runs if run.pk not in gone], missed)


def _is_late(run: TaskRun, tasks: dict[int, ScheduledTask], now: datetime) -> bool:
    task = tasks.get(run.scheduled_task_id or 0)
    return task is not None and run.start_at < now - _grace(task)


def _grace(task: ScheduledTask) -> timedelta:
    return timedelta(seconds=task.misfire_grace_seconds)


def _catch_up(run_ids: Iterable[UUID]) -> None:
    """Late runs that run all the same were decided now, not when they were planned: by that the
    gate knows that they catch up, and lets them take turns instead of skipping one another."""
    rows = TaskRun.objects.untouched()
    with transaction.atomic(savepoint=False):
        ids = free(rows.filter(pk__in=list(run_ids)))
        rows.filter(pk__in=ids).update(planned_at=DatabaseNow())


def _may_be_late(run: TaskRun, now: datetime) -> bool:
    """A slot's run that no gate has seen and that should have started before now."""
    return (
        run.trigger == Trigger.SCHEDULE
        and run.scheduled_task_id is not None
        and run.slot is not None
        and run.attempt == 0
        and run.waits is None
        and not run.reason
        and run.start_at < now
    )


def _with_a_late_run(runs: Iterable[TaskRun], now: datetime) -> dict[int, ScheduledTask]:
    """The scheduled tasks of those that are late, with `keep_from` (see `overtaken`)."""
    oldest: dict[int, datetime] = {}
    for run in runs:
        assert run.scheduled_task_id is not None  # `_may_be_late` has looked
        oldest[run.scheduled_task_id] = min(
            run.start_at, oldest.get(run.scheduled_task_id, run.start_at)
        )
    slots = TaskRun.objects.filter(scheduled_task=OuterRef("pk"), slot__lte=now).order_by("-slot")
    newest = Subquery(slots.values(until=Coalesce("last_slot", "slot"))[:1])
    oldest_to_catch_up_on = Subquery(slots.values("slot")[CATCH_UP_LIMIT - 1 : CATCH_UP_LIMIT])
    keep_from = Case(When(misfire_policy="run_all", then=oldest_to_catch_up_on), default=newest)
    tasks = ScheduledTask.objects.filter(pk__in=oldest).order_by().only(*_RULE)
    return {
        task.pk: task
        for task in tasks.annotate(keep_from=keep_from)
        if oldest[task.pk] < now - _grace(task)
    }


def _waiting(
    tasks: Collection[int], runs: Iterable[TaskRun], now: datetime
) -> dict[int, list[Waiting]]:
    """By task, oldest slot first: those of the runs, and what else waits to be published.

    What another process has just taken to publish it is left to that one.
    """
    others = TaskRun.objects.untouched().filter(
        status=Status.PLANNED, scheduled_task__in=tasks, slot__lte=now, publish_at__lte=now
    )
    by_task: dict[Any, set[Waiting]] = defaultdict(set)
    columns: Any = others.values_list("scheduled_task", "slot", "start_at", "pk")
    for task, slot, start_at, pk in columns.order_by():
        by_task[task].add(Waiting(slot, start_at, pk))
    for run in runs:
        if run.scheduled_task_id in tasks and run.slot is not None:
            by_task[run.scheduled_task_id].add(Waiting(run.slot, run.start_at, run.pk))
    return {pk: sorted(waiting) for pk, waiting in by_task.items()}


def _missed(
    task: ScheduledTask, waiting: Sequence[Waiting], now: datetime
) -> Iterator[list[Waiting]]:
    """What does not run any more, in groups of consecutive slots."""
    keep_from: datetime | None = task.keep_from  # type: ignore[attr-defined]  # annotated
    rule = Misfire(task.misfire_policy, _grace(task))
    if rule.policy != "run_all" and task.next_run_at is not None and task.next_run_at <= now:
        keep_from = task.next_run_at  # not planned yet, and newer than all that are
    pairs = [(run.slot, run.start_at) for run in waiting]
    slots = set(overtaken(pairs, keep_from, now=now, misfire=rule))
    return _consecutive([run for run in waiting if run.slot in slots], _window(task))


def _window(task: ScheduledTask) -> Window | None:
    try:
        return task.window()
    except Exception:  # garbage: the planner sets it aside, and what it owes is decided one by one
        return None


def _consecutive(runs: Sequence[Waiting], window: Window | None) -> Iterator[list[Waiting]]:
    group: list[Waiting] = []
    for run in runs:
        if group and (window is None or window.next_after(group[-1].slot) != run.slot):
            yield group
            group = []
        group.append(run)
    if group:
        yield group


def _batches(groups: Iterable[list[Waiting]]) -> Iterator[list[list[Waiting]]]:
    """The groups, at most DECIDED_AT_ONCE runs together; a longer group is cut."""
    batch: list[list[Waiting]] = []
    size = 0
    for whole in groups:
        for start in range(0, len(whole), DECIDED_AT_ONCE):
            group = whole[start : start + DECIDED_AT_ONCE]
            if size + len(group) > DECIDED_AT_ONCE:
                yield batch
                batch, size = [], 0
            batch.append(group)
            size += len(group)
    if batch:
        yield batch


@retry_contention
def _miss(groups: Sequence[Sequence[Waiting]]) -> int:
    """End each group as one row. A run that a worker or another dispatcher had first, or that
    somebody has locked, is left out; what is missed on both sides of it is two rows."""
    ids = [run.pk for group in groups for run in group]
    with transaction.atomic():
        there = set(free(TaskRun.objects.untouched().filter(pk__in=ids)))
        spans = [span for group in groups for span in _without_the_gone(group, there)]
        bulk.miss(bulk.Missed([run.pk for run in span], span[-1].slot) for span in spans)
        signals.announce_on_commit([span[0].pk for span in spans])
    if there:
        logger.info(
            "%d slots could not be published in time and are missed",
            len(there),
            extra={"action": "misfire"},
        )
    return len(there)


def _without_the_gone(group: Sequence[Waiting], there: Collection[UUID]) -> Iterator[list[Waiting]]:
    span: list[Waiting] = []
    for run in group:
        if run.pk in there:
            span.append(run)
        elif span:
            yield span
            span = []
    if span:
        yield span
