"""Prune: retention, in small batches, so that no lock and no transaction grows with the table."""

import logging
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery

from dispatcher import conf
from dispatcher.models import RunAttempt, Status, TaskRun, Tick, Worker
from dispatcher.models.run import run_id_at
from scheduling.models import ScheduledTask

logger = logging.getLogger(__name__)

BATCH = 500
#: The most batches of one hourly pass: a first pass over an old table goes on an hour later.
MAX_BATCHES = 200

_KEPT_LONGER = (Status.FAILED, Status.LOST, Status.MISSED)


def prune_hourly(now: datetime) -> int:
    """Prune in the first tick of an hour; returns how many rows are gone."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    if Tick.objects.ticks().filter(started_at__gte=hour, started_at__lt=now).exists():
        return 0
    return prune(now, max_batches=MAX_BATCHES)


def prune(now: datetime, max_batches: int | None = None) -> int:
    """Delete what is older than its retention; detach runs of deleted schedules."""
    deleted = 0
    for batch, ids in enumerate(_batches(now)):
        if max_batches is not None and batch >= max_batches:
            break
        deleted += _delete_runs(ids)
    deleted += _delete_passes(now)
    detach_orphans()
    logger.info("Pruned %d rows", deleted, extra={"action": "pruned"})
    return deleted


def _batches(now: datetime) -> Iterator[list[uuid.UUID]]:
    for rows in (
        _older(now, conf.RUN_RETENTION_DAYS.value).ended().exclude(status__in=_KEPT_LONGER),
        _older(now, conf.FAILURE_RETENTION_DAYS.value).filter(status__in=_KEPT_LONGER),
    ):
        last = uuid.UUID(int=0)  # or each batch would pass over the kept ones before it again
        while ids := list(
            rows.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]
        ):
            yield ids
            last = ids[-1]


def _older(now: datetime, days: int) -> Any:
    return TaskRun.objects.filter(pk__lt=run_id_at(now - timedelta(days=days)))


def _delete_runs(ids: list[uuid.UUID]) -> int:
    attempts = RunAttempt.objects.filter(run__in=ids)
    _raw_delete(attempts)
    return _raw_delete(TaskRun.objects.filter(pk__in=ids))


def _delete_passes(now: datetime) -> int:
    before = now - timedelta(days=conf.TICK_RETENTION_DAYS.value)
    ticks = _raw_delete(Tick.objects.filter(started_at__lt=before))
    workers = Worker.objects.exclude(lease_until__gt=now).filter(seen_at__lt=before)
    return ticks + _raw_delete(workers)


def _raw_delete(rows: "QuerySet[Any]") -> int:
    """One DELETE; nothing hangs on these rows that Django would have to collect."""
    return int(rows._raw_delete(rows.db) or 0)


def detach_orphans() -> int:
    """Runs whose schedule was deleted while it had more of them than one request detaches.

    One look into an index per schedule, not one per run: which schedule do the runs name next
    after this one? If that is none that exists, it was deleted.
    """
    following = Subquery(_named_after(OuterRef("pk"))[:1])
    schedules = ScheduledTask.objects.order_by().annotate(following=following)
    present, named = set(), set(_named_after(0)[:1])
    for scheduled_task_id, next_named in schedules.values_list("pk", "following"):
        present.add(scheduled_task_id)
        named.add(next_named)
    return sum(_detach_from(gone) for gone in named - present - {None})


def _named_after(scheduled_task_id: Any) -> "QuerySet[Any, Any]":
    """Ids of schedules that runs name, ascending, greater than the given one."""
    runs = TaskRun.objects.filter(scheduled_task__gt=scheduled_task_id).order_by("scheduled_task")
    return runs.values_list("scheduled_task", flat=True)


def _detach_from(gone: int | None) -> int:
    """Detach the runs of a deleted schedule, and of those deleted next to it."""
    detached = 0
    while gone is not None and not ScheduledTask.objects.filter(pk=gone).exists():
        rows = TaskRun.objects.filter(scheduled_task=gone).order_by()
        while pks := list(rows.values_list("pk", flat=True)[:BATCH]):
            detached += TaskRun.objects.filter(pk__in=pks).detach()
        gone = _named_after(gone).first()
    return detached
