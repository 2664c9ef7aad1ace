"""The worker's main process: its word that it lives, and the leases of the runs that are active in
it."""

import logging
import os
import threading
from typing import Any
from uuid import UUID, uuid4

from celery import signals
from celery.worker import state
from celery.worker.request import Request
from django.db import connection

from dispatcher.models import TaskRun, Worker
from dispatcher.models.times import LEASE
from dispatcher.worker import record
from dispatcher.worker.celery_signals import MAIN_PID
from dispatcher.worker.gate import DATABASE_ERRORS, WORKER_ID, run_id_of
from scheduling.database import clock_offset, database_now

logger = logging.getLogger(__name__)

#: Seconds between two renewals: a lease of 45 s survives three that fail.
RENEW_SECONDS = 10.0


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
