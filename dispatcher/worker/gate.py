"""The gate, in the worker: a claim before the user's function, or a veto.

It sits in `before_start` of every task, put there by `installation`, because that is the one place
that every pool and every task class passes and where an exception keeps the function from being
called. A message without our header costs an attribute lookup and nothing else.
"""

import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID, uuid4

from celery.exceptions import Ignore
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, connection

from dispatcher.models import Status, TaskRun
from dispatcher.models.claim import Claim
from dispatcher.signals import announce
from dispatcher.worker import overlap, run_log
from scheduling.database import TRIES, is_contention, own_connection, savepoint

logger = logging.getLogger(__name__)

R = TypeVar("R")

#: What a database that is away raises. An InterfaceError is no DatabaseError.
DATABASE_ERRORS = (DatabaseError, InterfaceError)

#: Set by the worker's main process at its start; pool children inherit it.
WORKER_ID = "MINUTEHAND_WORKER_ID"


class Vetoed(Ignore):
    """This message must not start its run: the function is not called, the message is done."""


def run_id_of(request: Any) -> UUID | None:
    """The run that the message is for; None when it is none of ours.

    Only one with both of our headers is: `run_id` alone is a name that others use, too.
    """
    value, attempt = _header(request, "run_id"), _header(request, "attempt")
    try:
        return UUID(value) if isinstance(value, str) and _is_number(attempt) else None
    except ValueError:
        return None


def attempt_of(request: Any) -> int:
    value = _header(request, "attempt")
    return int(value) if _is_number(value) else 0


def tries_of(request: Any) -> int:
    """How many messages of the same attempt came before: Celery's count of retries, and of what
    was replaced."""
    value = _header(request, "tries")
    return int(value) if _is_number(value) else _header(request, "retries") or 0


def _header(request: Any, name: str) -> Any:
    return request.get(name) if isinstance(request, dict) else getattr(request, name, None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def enter(request: Any) -> None:
    """Claim the attempt that the message is for, or raise `Vetoed`."""
    run_id = run_id_of(request)
    if run_id is None or getattr(request, "run_token", None) is not None:
        return
    claim = _claim_of(request, run_id)
    try:
        with own_connection.used(eager=bool(getattr(request, "is_eager", False))):
            won = again_if_stale(lambda: _claim(claim))
            if won:
                request.run_token = claim.token
            else:
                _close_expired(claim.run_id)
    except DATABASE_ERRORS as error:
        # Not claimed, so not started: the row is as it was and rescue publishes it again.
        raise _veto(claim, f"the database is away ({error})") from error
    if not won:
        raise _veto(claim, "it is a duplicate, or was cancelled, edited, or has ended")
    run_log.begin(request.args, request.kwargs)


def _claim_of(request: Any, run_id: UUID) -> Claim:
    worker_id = os.environ.get(WORKER_ID)
    return Claim(
        run_id=run_id,
        attempt=attempt_of(request),
        retries=tries_of(request),
        token=uuid4(),  # before the first try, so that a claim whose answer was lost is ours
        worker=request.hostname or "",
        worker_uuid=UUID(worker_id) if worker_id else None,
        pid=os.getpid(),
        message_id=request.id,
    )


def _claim(claim: Claim) -> bool:
    try:
        with savepoint():
            return TaskRun.objects.claim(claim)
    except IntegrityError:
        return overlap.follow_policy(claim)


def again_if_stale(action: Callable[[], R]) -> R:
    """Run a conditional write, again on a fresh connection if this one had died. The write's
    condition makes a repetition harmless. Where another writer was in the way, the verb itself
    has tried again."""
    for attempt in range(1, TRIES + 1):
        try:
            return action()
        except (InterfaceError, OperationalError) as error:
            contended = isinstance(error, OperationalError) and is_contention(error)
            if contended or attempt == TRIES:
                raise
            if not connection.in_atomic_block:
                connection.close()
    raise AssertionError("unreachable")


def _close_expired(run_id: UUID) -> None:
    try:
        if TaskRun.objects.expired().filter(pk=run_id).close(Status.MISSED, "expired"):
            announce(run_id)
    except DATABASE_ERRORS:
        logger.warning("An expired run could not be marked; rescue will", exc_info=True)


def _veto(claim: Claim, why: str) -> Vetoed:
    logger.info(
        "Run %s is not started from message %s: %s",
        claim.run_id,
        claim.message_id,
        why,
        extra={"action": "vetoed", "run": str(claim.run_id)},
    )
    return Vetoed(why)
