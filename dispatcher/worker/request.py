"""Ends that a pool child cannot tell: the main process tells them."""

import logging
from contextlib import nullcontext
from pickle import PicklingError
from typing import TYPE_CHECKING, Any
from uuid import UUID

from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.exceptions import Ignore, InvalidTaskError, Reject, Retry, TaskRevokedError
from celery.worker import state
from celery.worker.request import Request
from django.db import connection

from dispatcher.models import Status, TaskRun
from dispatcher.models.ends import End
from dispatcher.signals import announce
from dispatcher.worker import holding, overlap, record, suspects
from dispatcher.worker.gate import attempt_of, run_id_of, tries_of
from dispatcher.worker.stored_values import describe_exception
from scheduling import registry

if TYPE_CHECKING:
    _Request = Request
else:
    _Request = object


logger = logging.getLogger(__name__)


class OutOfMemory(Exception):
    """A run's MemoryError, which it has recorded. By its own name Celery ends the worker for it,
    and with it the other runs."""


class SeesEnds(_Request):
    """Mixed into a class of requests: sees what happens to a pool child that executes a run:
    killed, out of time, terminated. Rare events only; it runs in the event loop."""

    def __init__(self, message: Any, **options: Any) -> None:
        """Refuse at receipt what would kill the pool child that gets it, and the next one, and so
        on: RabbitMQ delivers a message of a dead worker again without asking us.

        Celery answers `InvalidTaskError` with a rejected message and `task_rejected`.
        """
        super().__init__(message, **options)
        said = self.request_dict
        self.is_suspect = suspects.is_suspect(message)
        if run_id_of(said) is not None:
            problem = registry.argument_problem(said["args"], said["kwargs"])
            if problem is not None:
                raise InvalidTaskError(problem.sentence)
            holding.received(self)

    def __init_subclass__(cls, **options: Any) -> None:
        """Celery makes a class of each task, with an `on_success` that takes a tuple. Threads and
        solo give it the bare error of what is no Exception; then the run's place in the pool would
        never be free again."""
        super().__init_subclass__(**options)
        if "on_success" in vars(cls):
            cls.on_success = _telling_errors(cls.on_success)  # type: ignore[method-assign]
        if "execute_using_pool" in vars(cls):
            cls.execute_using_pool = _careful(cls.execute_using_pool)  # type: ignore[method-assign]

    def on_timeout(self, soft: bool, timeout: float) -> None:
        super().on_timeout(soft, timeout)
        if not soft:
            params = {"soft": False, "seconds": timeout}
            self._fail(End(Status.FAILED, reason="time_limit", reason_params=params))

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if not isinstance(error, (Retry, Ignore, Reject)) and _process_is_gone(error):
            self._fail(_lost_end(error))
        if isinstance(error, MemoryError) and run_id_of(self.request_dict) is not None:
            exc_info.exception = OutOfMemory(str(error))
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        super()._announce_revoked(  # type: ignore[misc]  # private, so not in the stubs
            reason, terminated, signum, expired
        )
        run_id = run_id_of(self.request_dict)
        if run_id is not None:
            attempt = attempt_of(self.request_dict)
            self._in_main_process(lambda: _close_revoked(run_id, attempt, self.id))

    def _fail(self, end: End) -> None:
        run_id = run_id_of(self.request_dict)
        if run_id is None:
            return
        attempt, retries = attempt_of(self.request_dict), tries_of(self.request_dict)
        self._in_main_process(
            lambda: record.fail_by_message(run_id, attempt, retries, self.id, end)
        )

    def refuse(self, why: str) -> None:
        """End an attempt that this worker cannot start, and be done with its message."""
        run_id, attempt = run_id_of(self.request_dict), attempt_of(self.request_dict)
        end = End(Status.FAILED, "message_rejected", {"error": why})
        if run_id is not None:
            self._in_main_process(lambda: record.refuse(run_id, attempt, end))
        state.task_ready(self)
        self.reject(requeue=False)

    def _in_main_process(self, write: Any) -> None:
        """Write, and leave no database connection open that the next pool child would inherit."""
        try:
            record.write_or_keep(write, keep=False)
        finally:
            connection.close()


class RunRequest(SeesEnds, Request):
    """Celery's own request, which sees them."""


#: What pickling raises, and a mistake in a class of requests of the project's. Not what the
#: environment does: no thread, no pipe, no memory.
_UNPICKLABLE = (PicklingError, AttributeError, TypeError, ValueError, LookupError, RecursionError)


def _telling_errors(on_success: Any) -> Any:
    def told(self: Any, outcome: Any, **options: Any) -> Any:
        if isinstance(outcome, ExceptionInfo):
            return self.on_failure(outcome, return_ok=True)
        return on_success(self, outcome, **options)

    return told


def _careful(execute: Any) -> Any:
    """Hand a suspect to the pool with care; and a run that cannot be handed to it, as one cannot
    that does not pickle, ends, and not the worker."""

    def handed(self: Any, pool: Any, **options: Any) -> Any:
        run_id = run_id_of(self.request_dict)
        if run_id is None:
            return execute(self, pool, **options)
        is_pickled = getattr(pool, "uses_semaphore", False)  # prefork
        if not is_pickled:
            suspects.taken(run_id)
        try:
            with suspects.taking(run_id) if self.is_suspect and is_pickled else nullcontext():
                return execute(self, pool, **options)
        except _UNPICKLABLE as error:
            logger.exception("Run %s could not be handed to the pool", run_id)
            self.refuse(f"{type(error).__name__} when it was handed to the pool")
            raise TaskRevokedError(self.id) from error  # its place in the pool is free again

    return handed


def _process_is_gone(error: Any) -> bool:
    return isinstance(error, (WorkerLostError, SystemExit)) or type(error).__name__ == "Terminated"


def _lost_end(error: BaseException) -> End:
    reason = "exited" if isinstance(error, SystemExit) else "process_gone"
    return End(Status.LOST, reason=reason, exception=describe_exception(error))


def _close_revoked(run_id: UUID, attempt: int, message_id: str) -> bool:
    """Somebody revoked the message by Celery's own means: not a later attempt than it was for."""
    run = TaskRun.objects.filter(pk=run_id).first()
    if run is None:
        return False
    waiting = TaskRun.objects.filter(pk=run_id, attempt__in={attempt, max(attempt, 1)})
    closed = waiting.close(Status.CANCELLED, "revoked")
    if not closed and run.message_id == message_id:
        closed = TaskRun.objects.all().cancel_running(run, "revoked")
    if closed:
        overlap.wake(run.holds)
        announce(run_id)
    return bool(closed)
