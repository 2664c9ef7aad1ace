"""Celery's signals, each turned into one call of `record`.

They fire in the process that ran the task (prefork: the pool child), where the request carries
the claim's token; in the worker's main process it does not, and they do nothing: there
`worker.RunRequest` speaks. Celery swallows and logs what a receiver raises.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import current_task, signals
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection
from kombu.exceptions import DecodeError

from dispatcher.models import Status
from dispatcher.models.verbs import End
from dispatcher.publish import broker
from dispatcher.worker import connections, record, run_log
from dispatcher.worker.gate import WORKER_ID, attempt_of, run_id_of
from dispatcher.worker.stored_values import describe_exception, storable, storable_text
from scheduling.database import own_connection

#: The worker's main process, where the pool is one of threads or none. Set by `worker`.
MAIN_PID = WORKER_ID + "_PID"


def connect() -> None:
    """Listen. Called once, when the app is installed."""
    signals.task_prerun.connect(on_prerun, dispatch_uid="dispatcher.prerun")
    signals.task_success.connect(on_success, dispatch_uid="dispatcher.success")
    signals.task_failure.connect(on_failure, dispatch_uid="dispatcher.failure")
    signals.before_task_publish.connect(on_publish, dispatch_uid="dispatcher.publish")
    signals.task_retry.connect(on_retry, dispatch_uid="dispatcher.retry")
    signals.task_postrun.connect(on_postrun, dispatch_uid="dispatcher.postrun")
    signals.task_unknown.connect(on_unknown, dispatch_uid="dispatcher.unknown")
    signals.task_rejected.connect(on_rejected, dispatch_uid="dispatcher.rejected")
    signals.worker_process_init.connect(on_child_start, dispatch_uid="dispatcher.child_start")
    signals.worker_process_shutdown.connect(on_child_exit, dispatch_uid="dispatcher.child_exit")


def on_prerun(task: Any = None, **signal: Any) -> None:
    """What the task before this one left open is no business of this one."""
    if not getattr(task.request, "is_eager", False):
        connections.look_after()


def on_success(sender: Any = None, result: Any = None, **signal: Any) -> None:
    _succeeded(sender.request, End(Status.SUCCEEDED, result=storable(result)))


def _succeeded(request: Any, end: End) -> None:
    run_id, token = run_id_of(request), getattr(request, "run_token", None)
    if run_id is not None and token is not None:
        logged = replace(end, log=run_log.take())
        _write(request, lambda: record.succeed(run_id, token, logged))


def _failed(request: Any, end: End) -> None:
    run_id, token = run_id_of(request), getattr(request, "run_token", None)
    if run_id is not None and token is not None:
        logged = replace(end, log=run_log.take())
        _write(request, lambda: record.fail(run_id, token, logged))


def _write(request: Any, write: Callable[[], bool]) -> None:
    record.write_or_keep(write, eager=bool(getattr(request, "is_eager", False)))


def on_failure(
    sender: Any = None,
    exception: BaseException | None = None,
    einfo: ExceptionInfo | None = None,
    **signal: Any,
) -> None:
    if getattr(sender.request, "run_token", None) is None or exception is None:
        return
    soft = isinstance(exception, SoftTimeLimitExceeded)
    end = End(
        Status.FAILED,
        reason="time_limit" if soft else "exception",
        reason_params={"soft": True} if soft else {},
        exception=describe_exception(exception),
        traceback=storable_text(str(einfo or ""), keep_end=True),
    )
    _failed(sender.request, end)


def on_publish(headers: dict[str, Any] | None = None, **signal: Any) -> None:
    """A message is about to be sent. If it is the next try of the run that is executing here,
    keep its time: when the broker does not take it, Celery tells of a Reject and not when."""
    if not headers or headers.get("run_id") is None:
        return
    request: Any = getattr(current_task, "request", None)
    if getattr(request, "run_token", None) is not None and request.run_id == headers["run_id"]:
        request.own_retry_at = headers.get("eta")


def on_retry(sender: Any = None, request: Any = None, reason: Any = None, **signal: Any) -> None:
    """`self.retry`: the task's own next try has been sent by Celery."""
    run_id, token = run_id_of(request), getattr(request, "run_token", None)
    if run_id is None or token is None:
        return
    start_at = _start_of_retry(getattr(reason, "when", None))
    text, log = storable_text(str(reason)), run_log.take()
    _write(request, lambda: record.retry_own(run_id, token, start_at, text, log))


def _start_of_retry(when: Any) -> datetime:
    now = datetime.now(UTC)
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    if isinstance(when, datetime):
        return when if when.tzinfo else when.replace(tzinfo=UTC)
    return now + timedelta(seconds=when) if isinstance(when, (int, float)) else now


def on_postrun(
    sender: Any = None, state: str | None = None, retval: Any = None, **signal: Any
) -> None:
    """Ends that no other signal tells: Ignore, Reject and SystemExit."""
    if state == "IGNORED":
        _succeeded(sender.request, End(Status.SUCCEEDED, reason="ignored"))
    elif state == "REJECTED":
        _rejected(sender.request, retval)
    elif state is None and not _in_pool_child():
        # Threads and solo have no main process that would notice.
        _failed(sender.request, End(Status.LOST, reason="exited"))
    if getattr(sender.request, "run_token", None) is not None:
        run_log.take()  # whatever became of the end: the next run of this process has its own


def _rejected(request: Any, reject: Any) -> None:
    """By the task itself, or by `self.retry` where the broker did not take the next message."""
    why = getattr(reject, "reason", None)
    if isinstance(why, broker.BROKER_ERRORS) and hasattr(request, "own_retry_at"):
        run_id, token = run_id_of(request), request.run_token
        if run_id is not None:
            start_at = _start_of_retry(request.own_retry_at)
            text, log = describe_exception(why), run_log.take()
            _write(request, lambda: record.retry_own(run_id, token, start_at, text, log))
        return
    text = describe_exception(reject) if isinstance(reject, BaseException) else ""
    _failed(request, End(Status.FAILED, reason="rejected", exception=text))


def _in_pool_child() -> bool:
    return os.environ.get(MAIN_PID) != str(os.getpid())


def on_unknown(sender: Any = None, name: str = "", message: Any = None, **signal: Any) -> None:
    _refuse(message, "not_registered", task=str(name)[:255])


def on_rejected(sender: Any = None, message: Any = None, exc: Any = None, **signal: Any) -> None:
    # What cannot be decoded says so with the arguments, secrets and all.
    error = type(exc).__name__ if isinstance(exc, DecodeError) else repr(exc)
    _refuse(message, "message_rejected", error=storable_text(error)[:500])


def _refuse(message: Any, reason: str, **params: Any) -> None:
    """Fail the attempt that a message is for. In the worker's main process: leave no connection
    open that the next pool child would inherit."""
    headers = dict(getattr(message, "headers", None) or {})
    run_id, attempt = run_id_of(headers), attempt_of(headers)
    if run_id is None:
        return

    end = End(Status.FAILED, reason, params)
    try:
        record.write_or_keep(lambda: record.refuse(run_id, attempt, end), keep=False)
    finally:
        connection.close()


def on_child_start(**signal: Any) -> None:
    own_connection.enable()  # a child that was spawned inherits nothing


def on_child_exit(**signal: Any) -> None:
    record.flush_kept()
