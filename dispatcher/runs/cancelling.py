"""End a run before it ends by itself."""

import logging
from typing import Any

from dispatcher.models import Status, TaskRun
from dispatcher.worker import overlap, record
from scheduling.database import TRIES
from scheduling.database.after_commit import after_commit

logger = logging.getLogger(__name__)


def cancel(run: TaskRun, *, by: Any = None) -> bool:
    """End a run that has not ended: before its start, or by terminating its process.

    False when it had ended already. Only the prefork pool can end a running process; elsewhere
    the run ends as cancelled in the database, and its function runs to its end.
    """
    who = str(by or "")[:200]
    for _try in range(TRIES):  # it may start, or come between two attempts, while we look
        if _cancel_waiting(run, who) or _cancel_running(run, who):
            _cancelled(run)
            return True
        if TaskRun.objects.filter(pk=run.pk).ended().exists():
            return False
    return False


def _cancel_waiting(run: TaskRun, who: str) -> bool:
    if not TaskRun.objects.filter(pk=run.pk).close(Status.CANCELLED, "by_person", by=who):
        return False
    overlap.wake(run.scheduled_task_id)
    return True


def _cancel_running(run: TaskRun, who: str) -> bool:
    running = TaskRun.objects.filter(pk=run.pk, status=Status.RUNNING).first()
    if running is None or not TaskRun.objects.all().cancel_running(running, "by_person", by=who):
        return False
    overlap.wake(running.holds)
    after_commit(overlap.terminate, running)
    return True


def _cancelled(run: TaskRun) -> None:
    logger.info("Run %s was cancelled", run.pk, extra={"action": "cancelled", "run": str(run.pk)})
    after_commit(record.announce, run.pk)
