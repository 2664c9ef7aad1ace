"""`pause_after_failures`: a schedule whose runs fail in a row is paused, with the reason.

Counted from the runs, in a transaction of its own after the end of the last one is recorded: the
gate and the record never wait for the lock of a scheduled task.
"""

import logging

from django.db import DatabaseError, InterfaceError, transaction

from dispatcher.models import Failing, Status, TaskRun
from scheduling.database import brief_waits, free
from scheduling.models import ScheduledTask
from scheduling.trail import Via, acting

logger = logging.getLogger(__name__)

_COUNTED = (Status.SUCCEEDED, Status.FAILED, Status.LOST)


def pause_if_failing(task: ScheduledTask | None) -> bool:
    """Pause it if its last n runs since it was armed failed or were lost; whether it did.

    A database that is away is only logged, and a row that somebody has locked is left: rescue, or
    the next failure, counts anew.
    """
    if task is None or not task.pause_after_failures or not task.enabled:
        return False
    try:
        with brief_waits():
            return _failed_in_a_row(task, task.pause_after_failures) and _pause(task)
    except (DatabaseError, InterfaceError):
        logger.warning("The failures of %s could not be counted", task.name, exc_info=True)
        return False


def pause_failing() -> int:
    """Pause those that should be, and whose process died between that end and the pause."""
    failing = Failing.objects.now().values("scheduled_task")
    tasks = ScheduledTask.objects.filter(pk__in=failing, enabled=True)
    return sum(map(pause_if_failing, tasks.exclude(pause_after_failures=None)))


def _pause(task: ScheduledTask) -> bool:
    with transaction.atomic(), acting(Via.SCHEDULER, "pause_after_failures"):
        if not free(ScheduledTask.objects.filter(pk=task.pk)):
            return False
        return task.pause(params={"failures": task.pause_after_failures})


def _failed_in_a_row(task: ScheduledTask, n: int) -> bool:
    ended = TaskRun.objects.filter(
        scheduled_task=task.pk, status__in=_COUNTED, finished_at__gte=task.armed_at
    )
    last = list(ended.order_by("-pk").values_list("status", flat=True)[:n])
    return len(last) == n and Status.SUCCEEDED not in last
