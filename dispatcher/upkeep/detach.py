"""Detach runs from deleted schedules: those that had more runs than one request detaches."""

import time
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery

from dispatcher.models import TaskRun
from scheduling.models import ScheduledTask

#: Runs detached by one statement.
DETACHED_AT_ONCE = 500


def detach_orphans(deadline: float | None = None) -> int:
    """Detach the runs whose schedule was deleted; returns how many. `deadline`: a reading of
    `time.monotonic()`; begin no further batch after it.

    One look into an index per schedule, not one per run: which schedule do the runs name next
    after this one? If that is none that exists, it was deleted.
    """
    following = Subquery(_named_after(OuterRef("pk"))[:1])
    schedules = ScheduledTask.objects.order_by().annotate(following=following)
    present, named = set(), set(_named_after(0)[:1])
    for scheduled_task_id, next_named in schedules.values_list("pk", "following"):
        present.add(scheduled_task_id)
        named.add(next_named)
    return sum(_detach_from(gone, deadline) for gone in named - present - {None})


def _named_after(scheduled_task_id: Any) -> "QuerySet[Any, Any]":
    """Ids of schedules that runs name, ascending, greater than the given one."""
    runs = TaskRun.objects.filter(scheduled_task__gt=scheduled_task_id).order_by("scheduled_task")
    return runs.values_list("scheduled_task", flat=True)


def _detach_from(gone: int | None, deadline: float | None) -> int:
    """Detach the runs of a deleted schedule, and of those deleted next to it."""
    detached = 0
    while gone is not None and not ScheduledTask.objects.filter(pk=gone).exists():
        rows = TaskRun.objects.filter(scheduled_task=gone).order_by()
        while pks := list(rows.values_list("pk", flat=True)[:DETACHED_AT_ONCE]):
            detached += TaskRun.objects.filter(pk__in=pks).detach()
            if deadline is not None and time.monotonic() > deadline:
                return detached
        gone = _named_after(gone).first()
    return detached
