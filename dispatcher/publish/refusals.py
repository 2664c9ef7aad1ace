"""What is not sent: a run that can never be a message ends, and a queue that the broker refuses
delays its own runs and no others."""

import logging
from collections.abc import Sequence

from dispatcher import signals
from dispatcher.models import Status, TaskRun
from scheduling import registry

logger = logging.getLogger(__name__)


#: A run whose messages took so many workers with them is not sent again.
WORKERS = 2


def refuse_unsendable(run: TaskRun) -> bool:
    """End a run that would harm others on its way to a worker; whether it did."""
    if run.took_workers >= WORKERS:
        _refuse_killer(run)
        return True
    queue = registry.queue_problem(run.queue, run.task)
    problem = queue or registry.argument_problem(run.args, run.kwargs)
    if problem is not None:
        refuse(run, problem.sentence)
    return problem is not None


def refuse(run: TaskRun, message: str) -> None:
    """End a run that can never be a message, with the reason."""
    logger.error(
        "Run %s of %s cannot be published: %s",
        run.pk,
        run.name,
        message,
        extra={"action": "not_publishable", "run": str(run.pk)},
    )
    rows = TaskRun.objects.filter(pk=run.pk)
    signals.close(rows, Status.FAILED, "not_publishable", message=message[:500])


def _refuse_killer(run: TaskRun) -> None:
    """End a run whose worker died each time that it took its message."""
    logger.error(
        "Run %s of %s is not sent again: %d workers died when they took its message",
        run.pk,
        run.name,
        run.took_workers,
        extra={"action": "took_workers", "run": str(run.pk)},
    )
    rows = TaskRun.objects.filter(pk=run.pk)
    signals.close(rows, Status.FAILED, "took_workers", workers=run.took_workers)


def leave(queue: str, runs: Sequence[TaskRun], error: Exception) -> None:
    """Leave the runs as they are: they are due again when their lease ends."""
    logger.error(
        "The broker refuses the queue %s, and %d runs wait in the database: %s",
        queue,
        len(runs),
        str(error)[:300],
        extra={"action": "queue_refused", "queue": queue},
    )
