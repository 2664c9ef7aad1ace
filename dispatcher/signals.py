"""What application code can listen to."""

import logging
from uuid import UUID

from django.dispatch import Signal

logger = logging.getLogger(__name__)

#: A run has ended. Sent as `send(sender=TaskRun, run=<TaskRun>)` where its end was recorded: in
#: the worker that ran it, or in the process that noticed.
run_finished = Signal()


def announce(run_id: UUID) -> None:
    """Send `run_finished`, if anybody listens. What a listener raises does not reach the run."""
    from dispatcher.models import TaskRun

    if not run_finished.has_listeners(TaskRun):
        return
    run = TaskRun.objects.filter(pk=run_id).first()
    if run is None:
        return
    for receiver, answer in run_finished.send_robust(sender=TaskRun, run=run):
        if isinstance(answer, Exception):
            logger.error("A receiver of run_finished failed: %r", receiver, exc_info=answer)
