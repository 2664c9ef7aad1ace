"""What application code can listen to."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction
from django.dispatch import Signal

from scheduling.database import locked, own_connection, retry_contention
from scheduling.database.after_commit import after_commit

if TYPE_CHECKING:
    from dispatcher.models import TaskRun
    from dispatcher.models.verbs import TaskRunQuerySet

logger = logging.getLogger(__name__)

#: Runs read at once to tell of their ends.
TOLD_AT_ONCE = 500

#: A run has ended. Sent as `send(sender=TaskRun, run=<TaskRun>)` where its end was recorded: in
#: the worker that ran it, or in the process that noticed.
run_finished = Signal()


def is_listened_to() -> bool:
    """Whether `run_finished` has a receiver: without one, its senders spare their queries."""
    from dispatcher.models import TaskRun

    return run_finished.has_listeners(TaskRun)


def announce(run_id: UUID) -> None:
    """Send `run_finished`, if anybody listens. What a listener raises does not reach the run."""
    announce_all([run_id])


def announce_all(run_ids: Sequence[UUID]) -> None:
    """Send `run_finished` for each of these runs, in the order of their ids, if anybody listens."""
    from dispatcher.models import TaskRun

    if not is_listened_to():
        return
    for start in range(0, len(run_ids), TOLD_AT_ONCE):
        some = run_ids[start : start + TOLD_AT_ONCE]
        for run in TaskRun.objects.filter(pk__in=some).order_by("pk"):
            _send(run)


def _send(run: "TaskRun") -> None:
    with own_connection.put_away():
        answers = run_finished.send_robust(sender=type(run), run=run)
    for receiver, answer in answers:
        if isinstance(answer, Exception):
            logger.error("A receiver of run_finished failed: %r", receiver, exc_info=answer)


def announce_on_commit(run_ids: Sequence[UUID]) -> None:
    """Announce the ends of runs once the transaction that ended them is committed."""
    if run_ids and is_listened_to():
        after_commit(announce_all, run_ids)


@retry_contention
def close(rows: "TaskRunQuerySet", status: str, reason: str, **params: Any) -> int:
    """Close runs by the verb `close`; on commit, send `run_finished` for each that it ended."""
    if not is_listened_to():
        return rows.close(status, reason, **params)
    with transaction.atomic():
        waiting = locked(rows.waiting().order_by("pk"))
        run_ids = list(waiting.values_list("pk", flat=True))
        closed = rows.filter(pk__in=run_ids).close(status, reason, **params)
        announce_on_commit(run_ids)
        return closed
