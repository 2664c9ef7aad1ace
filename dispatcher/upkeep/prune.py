"""Prune: retention, in small batches, so that no lock and no transaction grows with the table."""

import logging
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from dispatcher import conf
from dispatcher.models import Failing, RunAttempt, Status, TaskRun, Tick, Worker
from dispatcher.models.run import run_id_at
from dispatcher.upkeep.detach import detach_orphans
from scheduling.database import retry_contention
from scheduling.models import ScheduledTask

logger = logging.getLogger(__name__)

#: Runs deleted in one transaction.
DELETED_AT_ONCE = 500
#: Seconds that the hourly pass may take: over a table that was left to grow it goes on an hour
#: later, and the ticks in between are on time.
SECONDS = 20.0

_RETENTION = {
    Status.SUCCEEDED: conf.RUN_RETENTION_DAYS,
    Status.CANCELLED: conf.RUN_RETENTION_DAYS,
    Status.SKIPPED: conf.RUN_RETENTION_DAYS,
    Status.FAILED: conf.FAILURE_RETENTION_DAYS,
    Status.LOST: conf.FAILURE_RETENTION_DAYS,
    Status.MISSED: conf.FAILURE_RETENTION_DAYS,
}


def prune_hourly(now: datetime) -> int:
    """Prune in the first tick of an hour; returns how many rows are gone."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    if Tick.objects.ticks().filter(started_at__gte=hour, started_at__lt=now).exists():
        return 0
    return prune(now, seconds=SECONDS)


def prune(now: datetime, seconds: float | None = None) -> int:
    """Delete what is older than its retention; detach runs of deleted schedules. `seconds`: begin
    no further batch after them."""
    deadline = None if seconds is None else time.monotonic() + seconds
    deleted = _delete_passes(now)
    for ids in _in_time(_batches(now), deadline):
        deleted += _delete_runs(ids)
    detach_orphans(deadline)
    logger.info("Pruned %d rows", deleted, extra={"action": "pruned"})
    return deleted


def _in_time(batches: Iterator[list[uuid.UUID]], deadline: float | None) -> Iterator[Any]:
    for ids in batches:
        yield ids
        if deadline is not None and time.monotonic() > deadline:
            return


def is_behind(now: datetime) -> bool:
    """Whether there is a run that should have been pruned a day ago."""
    return any(rows.exists() for rows in _prunable(now - timedelta(days=1)))


def _batches(now: datetime) -> Iterator[list[uuid.UUID]]:
    for rows in _prunable(now):
        last = uuid.UUID(int=0)  # or each batch would pass over the deleted ones before it again
        while ids := list(
            rows.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:DELETED_AT_ONCE]
        ):
            yield ids
            last = ids[-1]


def _prunable(now: datetime) -> "Iterator[QuerySet[TaskRun, TaskRun]]":
    """Ended runs that are old enough and not needed, by status, which an index answers."""
    for status, days in _RETENTION.items():
        oldest = run_id_at(now - timedelta(days=days.value))
        old = TaskRun.objects.filter(status=status, pk__lt=oldest).order_by()
        yield old.filter(~Q(Exists(_definition(enabled=True))) | ~_is_needed(status, now))


def _definition(**conditions: Any) -> "QuerySet[ScheduledTask, ScheduledTask]":
    return ScheduledTask.objects.filter(pk=OuterRef("scheduled_task"), **conditions)


def _is_needed(status: str, now: datetime) -> Q:
    """What a schedule decides by, however rare it is: its newest slot, which says what is
    accounted for, and its newest success, which ends a series of failures."""
    others = TaskRun.objects.filter(scheduled_task=OuterRef("scheduled_task")).order_by()
    newer_slot = others.filter(slot__gt=OuterRef("slot"), slot__lte=now)
    needed = Q(slot__isnull=False) & ~Q(Exists(newer_slot))
    in_series = ~Q(Exists(others.filter(status=Status.SUCCEEDED, pk__gt=OuterRef("pk"))))
    if status == Status.SUCCEEDED:
        needed |= in_series
    elif status in (Status.FAILED, Status.LOST):
        counted = Q(Exists(_definition(pause_after_failures__isnull=False)))
        needed |= counted & in_series
    return needed


@retry_contention
def _delete_runs(ids: list[uuid.UUID]) -> int:
    _raw_delete(RunAttempt.objects.filter(run__in=ids))
    return _raw_delete(TaskRun.objects.filter(pk__in=ids))


def _delete_passes(now: datetime) -> int:
    before = now - timedelta(days=conf.TICK_RETENTION_DAYS.value)
    ticks = _raw_delete(Tick.objects.filter(started_at__lt=before))
    workers = Worker.objects.exclude(lease_until__gt=now).filter(seen_at__lt=before)
    orphans = Failing.objects.exclude(Exists(_definition()))
    return ticks + _raw_delete(workers) + _raw_delete(orphans)


def _raw_delete(rows: "QuerySet[Any]") -> int:
    """One DELETE; nothing hangs on these rows that Django would have to collect."""
    return int(rows._raw_delete(rows.db) or 0)
