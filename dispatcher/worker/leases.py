"""The worker's main process: its word that it lives, and the leases of the runs that are active in
it."""

import logging
import os
import threading
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

from celery import signals
from celery.worker import state
from celery.worker.request import Request
from django.db import connection

from dispatcher.models import TaskRun, Worker
from dispatcher.models.times import WORKER_LEASE
from dispatcher.worker import holding, record
from dispatcher.worker.celery_signals import MAIN_PID
from dispatcher.worker.gate import DATABASE_ERRORS, WORKER_ID, run_id_of
from scheduling.database import clock_offset, database_now, own_connection

logger = logging.getLogger(__name__)

#: Seconds between two words of a worker: its own lease of 10 s survives two that fail.
WORD_SECONDS = 3.0

#: Seconds that a worker waits for its first word before it takes messages.
FIRST_WORD_SECONDS = 5.0

#: Seconds between two renewals of its runs: their lease of 45 s survives three that fail.
RENEW_SECONDS = 10.0

#: How much longer than a lease a worker must have spoken before it judges the others.
PATIENCE = timedelta(seconds=2)

#: Seconds between two looks at whether this worker was told to stop.
LOOK_SECONDS = 0.2


# The worker's word --------------------------------------------------------------------------------


class Heart(threading.Thread):
    """Says every 3 s that this worker lives and what it holds, renews the leases of the runs that
    are active in it, and takes over what silent workers held."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(name="leases", daemon=True)
        self.worker = worker
        self.registered = False
        self.stopping = threading.Event()
        self.has_begun = threading.Event()
        self.leaving = False  # set by a signal handler, which must not wait for a lock
        self._knows = False  # that it is leaving
        self._renewed_at = -RENEW_SECONDS  # by the monotonic clock, as the next two
        self._spoke_at = 0.0
        self._steady_since = 0.0

    def run(self) -> None:
        while True:
            self.beat()
            if self._rest():
                return

    def _rest(self) -> bool:
        """Wait for the next word, or less if the worker is told to stop; True at its end."""
        rested = 0.0
        while not self.stopping.wait(LOOK_SECONDS):
            rested += LOOK_SECONDS
            if rested >= WORD_SECONDS or (self.leaving and not self._knows):
                return False
        return True

    def beat(self) -> None:
        try:
            with own_connection.used(keep=False):
                self._speak()
                if monotonic() - self._renewed_at >= RENEW_SECONDS:
                    self._renew_runs()
                if self._is_steady():
                    holding.take_over_from_silent(database_now())
        except Exception:
            self._steady_since = monotonic()
            logger.warning(
                "The leases could not be renewed; tried again in %d s",
                WORD_SECONDS,
                exc_info=True,
                extra={"action": "renewal_failed"},
            )
        finally:
            connection.close()  # never keep one across a fork of the pool
            self.has_begun.set()

    def _speak(self) -> None:
        """One bounded write. A worker that stops hands back what it holds, and holds nothing."""
        if self.leaving:
            self._knows = True  # and tries again at each word
            holding.hand_back(database_now())
        if not self.registered:
            self._register()
        held = b"" if self.leaving else holding.word()
        self.registered = Worker.objects.speak(self.worker.pk, held)
        now = monotonic()
        if now - self._spoke_at > WORKER_LEASE.total_seconds():
            self._steady_since = now  # the machine stood still, or the database was away
        self._spoke_at = now

    def _renew_runs(self) -> None:
        Worker.objects.filter(pk=self.worker.pk).update(clock_offset=clock_offset())
        active = active_run_ids()
        if active:
            TaskRun.objects.all().renew_leases(active, self.worker.pk)
        self._renewed_at = monotonic()

    def _is_steady(self) -> bool:
        """Whether others had a lease's time to speak: after an outage nobody is silent at once."""
        patience = (WORKER_LEASE + PATIENCE).total_seconds()
        return not self.leaving and monotonic() - self._steady_since >= patience

    def _register(self) -> None:
        now = database_now()
        self.worker.started_at = self.worker.seen_at = now
        self.worker.lease_until = now + WORKER_LEASE
        self.worker.save(force_insert=True)
        self.registered = True

    def stop(self) -> None:
        self.stopping.set()
        self.join(timeout=5)
        try:
            with own_connection.used(keep=False):
                Worker.objects.stop(self.worker.pk)
        except DATABASE_ERRORS:
            logger.info("The worker's end could not be noted; its lease will run out")
        finally:
            connection.close()


def active_run_ids() -> set[UUID]:
    """The runs whose messages are executing in this worker."""
    requests: list[Request] = holding.copy_of(state.active_requests)
    run_ids = (run_id_of(request.request_dict) for request in requests)
    return {run_id for run_id in run_ids if run_id is not None}


_heart: Heart | None = None


def connect() -> None:
    """Listen to the worker's start and end. Called once, when the app is installed."""
    signals.worker_ready.connect(on_ready, dispatch_uid="dispatcher.worker_ready")
    signals.worker_shutting_down.connect(on_told_to_stop, dispatch_uid="dispatcher.told_to_stop")
    signals.worker_shutdown.connect(on_shutdown, dispatch_uid="dispatcher.worker_shutdown")


def identify() -> None:
    """Give this process start an identity, before the pool starts: its children inherit it."""
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
    # A worker that dies of its first message must be known before, or nobody would notice.
    _heart.has_begun.wait(FIRST_WORD_SECONDS)


def on_told_to_stop(**signal: Any) -> None:
    """Note that the worker stops, and what it holds. A signal handler does no more."""
    if _heart is not None:
        holding.told_to_stop()
        _heart.leaving = True


def on_shutdown(sender: Any = None, **signal: Any) -> None:
    record.flush_kept()
    if _heart is not None:
        _heart.stop()
    own_connection.disable()
