"""Tasks and receivers that come in the way of the worker's own."""

import asyncio
import os
import signal
import time
import uuid
from typing import Any

from celery import Task, chain, current_task, shared_task, signals
from celery.exceptions import Ignore
from celery.worker.request import Request

from tests.integration.tasks_app.tasks import note, record


class OwnError(BaseException):
    """Of a library that does not want to be caught."""


@signals.before_task_publish.connect
def trace(headers: dict[str, Any], body: Any, **signal: Any) -> None:
    """As a tracer does that keeps headers of its own within the headers, and thereby loses ours."""
    if current_task and "traced" in str(body[0]):
        headers.pop("run_id", None)
        headers.pop("attempt", None)
        headers["headers"] = {"trace": "1"}


@shared_task(bind=True, max_retries=5)
def retries(self: Task, how: str, n: int = 2, tried: int = 0) -> int:
    """Calls `self.retry` n times in its own way, each time with other arguments."""
    note(f"retries {how}", tried=tried, run_id=self.request.get("run_id"))
    if tried >= n:
        return tried
    options = {"headers": {"headers": {"mine": "1"}, "x": "y"}, "options": {"shadow": "other"}}
    chosen = {how: options[how]} if how == "headers" else options.get(how, {})
    retry = self.retry(
        kwargs={"n": n, "tried": tried + 1}, countdown=0.1, throw=how != "throw", **chosen
    )
    assert retry
    return -1


@shared_task(bind=True)
def retry_later(self: Task, tried: int = 0) -> int:
    """Its next try, with other arguments, is an hour away."""
    note("retry_later_hostile", tried=tried)
    if not tried:
        raise self.retry(kwargs={"tried": 7}, countdown=3600, queue="other")
    return tried


@shared_task(bind=True)
def replaces(self: Task, how: str, key: str) -> None:
    """Puts another task, or a canvas, in its place."""
    note(key)
    canvas = {
        "task": record.si(f"{key}:end"),
        "chain": chain(record.si(f"{key}:1"), record.si(f"{key}:end")),
    }[how]
    raise self.replace(canvas)


@shared_task(bind=True)
def gives_headers_away(self: Task, key: str) -> None:
    """Sends another task with the headers of its own message."""
    record.apply_async([key], headers=self.request.headers)


ERRORS = {
    "CancelledError": asyncio.CancelledError,
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "MemoryError": MemoryError,
    "OwnError": OwnError,
}


@shared_task
def raises(name: str) -> None:
    """Raises what is no Exception, and a MemoryError."""
    note(name)
    raise ERRORS[name]("no use")


@shared_task
def dies_once(path: str, key: str) -> str:
    """Is killed the first time."""
    note(key)
    if not os.path.exists(path):
        open(path, "w").close()
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    return key


def _dying(late: bool, requeue: bool) -> Any:
    name = f"dies_late_{late}_requeue_{requeue}"
    options = {"acks_late": late, "reject_on_worker_lost": requeue}
    return shared_task(name=name, **options)(dies_once.run)


DYING = {(late, again): _dying(late, again) for late in (False, True) for again in (False, True)}


@shared_task
def ignores() -> None:
    """Asks for its end to be ignored, with a reason of its own."""
    raise Ignore(str(uuid.UUID(int=0)))


# Messages that kill the main process of their worker ----------------------------------------------


class DiesWhenHanded(Request):
    """A request that dies when it is handed to the pool, as one does that cannot be pickled."""

    def revoked(self) -> bool:
        os.kill(os.getpid(), signal.SIGKILL)
        return False


@shared_task
def kills_at_receipt() -> None:
    """Never starts: the worker that receives its message dies."""


@shared_task(Request=DiesWhenHanded)
def kills_when_handed() -> None:
    """Never starts: the worker that hands its message to the pool dies."""


@signals.task_received.connect
def die_at_receipt(request: Any, **more: Any) -> None:
    if request.name == kills_at_receipt.name:
        os.kill(os.getpid(), signal.SIGKILL)


# Messages whose receipt raises --------------------------------------------------------------------


class RaisesAtReceipt(Request):
    """A request of the project's own, with a mistake in it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        raise AttributeError("hunter2")


class RaisesWhenHanded(Request):
    """The same, when it is handed to the pool."""

    def revoked(self) -> bool:
        raise RecursionError("hunter2")


@shared_task(Request=RaisesAtReceipt)
def receipt_fails() -> None:
    """Never starts."""


@shared_task(Request=RaisesWhenHanded)
def cannot_be_handed() -> None:
    """Never starts."""
