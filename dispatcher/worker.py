"""The worker's main process: its word that it lives, ends that a pool child cannot tell, and a
consumer that survives a broker restart."""

import logging
import os
import threading
from typing import Any
from uuid import UUID, uuid4

from billiard.exceptions import WorkerLostError
from celery import signals
from celery.exceptions import Ignore, Reject, Retry
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from django.db import connection

from dispatcher import overlap, record
from dispatcher.gate import DATABASE_ERRORS, WORKER_ID, attempt_of, run_id_of
from dispatcher.models import Status, TaskRun, Worker
from dispatcher.models.process import LEASE
from dispatcher.models.verbs import End
from dispatcher.receivers import MAIN_PID
from dispatcher.results import describe_exception
from dispatcher.signals import announce
from scheduling.clock import clock_offset, database_now

logger = logging.getLogger(__name__)

#: Seconds between two renewals: a lease of 45 s survives three that fail.
RENEW_SECONDS = 10.0


class ResilientConsumer(Consumer):
    """A consumer that reconnects where kombu's Redis transport fails to close its connection.

    With messages held for their eta, closing after a Redis restart raises AttributeError, which
    Celery takes for its own bug and exits. The connection is gone either way.
    """

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        try:
            super().on_connection_error_after_connected(exc)
        except AttributeError:
            logger.warning(
                "The broker connection could not be closed cleanly; connecting again",
                exc_info=True,
                extra={"action": "broker_reconnect"},
            )
            self.connection = None


class RunRequest(Request):
    """Sees what happens to a pool child: killed, out of time, terminated. Rare events only; it
    runs in the event loop."""

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
        attempt, retries = attempt_of(self.request_dict), self.request_dict.get("retries") or 0
        self._in_main_process(
            lambda: record.fail_by_message(run_id, attempt, retries, self.id, end)
        )

    def _in_main_process(self, write: Any) -> None:
        """Write, and leave no database connection open that the next pool child would inherit."""
        try:
            record.write_or_keep(write)
        finally:
            connection.close()


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


# The worker's word --------------------------------------------------------------------------------


class Heart(threading.Thread):
    """Renews the leases of this worker and of the runs that are active in it."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(name="leases", daemon=True)
        self.worker = worker
        self.registered = False
        self.stopping = threading.Event()

    def run(self) -> None:
        while True:
            self.beat()
            if self.stopping.wait(RENEW_SECONDS):
                return

    def beat(self) -> None:
        try:
            if not self.registered:
                self._register()
            self.registered = Worker.objects.renew(self.worker.pk, clock_offset())
            active = active_run_ids()
            if active:
                TaskRun.objects.all().renew_leases(active, self.worker.pk)
        except Exception:
            logger.warning(
                "The leases could not be renewed; tried again in %d s",
                RENEW_SECONDS,
                exc_info=True,
                extra={"action": "renewal_failed"},
            )
        finally:
            connection.close()  # never keep one across a fork of the pool

    def _register(self) -> None:
        now = database_now()
        self.worker.started_at = self.worker.seen_at = now
        self.worker.lease_until = now + LEASE
        self.worker.save(force_insert=True)
        self.registered = True

    def stop(self) -> None:
        self.stopping.set()
        self.join(timeout=5)
        try:
            Worker.objects.stop(self.worker.pk)
        except DATABASE_ERRORS:
            logger.info("The worker's end could not be noted; its lease will run out")
        finally:
            connection.close()


def active_run_ids() -> set[UUID]:
    """The runs whose messages are executing in this worker."""
    found = (run_id_of(request.request_dict) for request in _active_requests())
    return {run_id for run_id in found if run_id is not None}


def _active_requests() -> list[Request]:
    """A copy of a set that another thread changes: a copy that met a change is made again."""
    while True:
        try:
            return list(state.active_requests)
        except RuntimeError:  # "Set changed size during iteration"
            continue


_heart: Heart | None = None


def connect() -> None:
    """Listen to the worker's start and end. Called once, when the app is installed."""
    signals.worker_ready.connect(on_ready, dispatch_uid="dispatcher.worker_ready")
    signals.worker_shutdown.connect(on_shutdown, dispatch_uid="dispatcher.worker_shutdown")


def identify() -> None:
    """Before the pool starts: an identity for this process start, inherited by its children."""
    os.environ[WORKER_ID] = str(uuid4())
    os.environ[MAIN_PID] = str(os.getpid())


def on_ready(sender: Any = None, **signal: Any) -> None:
    global _heart
    controller = sender.controller
    _heart = Heart(
        Worker(
            id=UUID(os.environ[WORKER_ID]),
            hostname=controller.hostname,
            pid=os.getpid(),
            pool=getattr(controller.pool_cls, "__module__", "").rpartition(".")[2],
            concurrency=controller.concurrency,
            queues=sorted(controller.app.amqp.queues.consume_from),
            tasks=sorted(t for t in controller.app.tasks if not t.startswith("celery.")),
        )
    )
    _heart.start()


def on_shutdown(sender: Any = None, **signal: Any) -> None:
    record.flush_kept()
    if _heart is not None:
        _heart.stop()
