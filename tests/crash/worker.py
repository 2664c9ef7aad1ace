"""What a worker does with a message, and the trouble that it may meet.

A run that is held is done in two halves, with other processes at work in between; any other goes
through Celery's own tracer, as in a child of the pool.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from celery.app import app_or_default
from celery.app.task import Context
from celery.app.trace import trace_task
from django.db import OperationalError, connection

from dispatcher.models import Status
from dispatcher.models.ends import End
from dispatcher.worker import celery_signals, gate, record
from dispatcher.worker.gate import Vetoed
from tests.crash import broker, tasks
from tests.crash.broker import Message


def execute(message: Message, trouble: str) -> None:
    app = app_or_default()
    task = app.tasks[message.headers["task"]]
    request = message.request()
    with _met(trouble):
        trace_task(task, message.headers["id"], message.args, message.kwargs, request, app=app)


def start(message: Message, trouble: str) -> Context | None:
    """Up to the middle of the function; None where it is not called."""
    request = Context(message.request())
    try:
        with broker.away() if trouble == "no broker" else nullcontext():
            gate.enter(request)
    except Vetoed:
        return None
    tasks.note_call(request, message.args[0])
    return request


def end(request: Context, trouble: str) -> None:
    """From there to the end, which may not be known to the process itself, or not be written."""
    if trouble == "process gone":
        lost = End(Status.LOST, reason="process_gone")
        run_id, attempt = gate.run_id_of(request), gate.attempt_of(request)
        record.fail_by_message(run_id, attempt, request.retries or 0, request.id, lost)
        return
    with _met(trouble) if trouble == "no database" else nullcontext():
        celery_signals.on_success(sender=SimpleNamespace(request=request), result="done")
    if trouble == "no database":
        record.flush_kept()


def refuse(message: Message) -> None:
    """The worker does not know the task."""
    celery_signals.on_unknown(name="who.knows", message=SimpleNamespace(headers=message.headers))


def _met(trouble: str) -> Any:
    if trouble == "no database":
        return _database_away()
    return broker.away() if trouble == "no broker" else nullcontext()


@contextmanager
def _database_away() -> Iterator[None]:
    """Every statement fails. What is kept for later is written by nobody meanwhile."""

    def refused(*statement: Any) -> None:
        raise OperationalError("the database is away")

    with patch.object(record, "_start_keeper"), connection.execute_wrapper(refused):
        yield
