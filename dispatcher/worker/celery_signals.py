"""Celery's signals, each turned into one call of `record`.

They fire in the process that ran the task (prefork: the pool child), where the request carries
the claim's token; in the worker's main process it does not, and they do nothing: there
`worker.RunRequest` speaks. Celery swallows and logs what a receiver raises.
"""

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import billiard.common
from billiard.einfo import ExceptionInfo
from celery import current_task, signals
from celery.exceptions import SoftTimeLimitExceeded
from celery.worker import state
from django.db import connection
from kombu.exceptions import DecodeError

from dispatcher.models import Status
from dispatcher.models.ends import End
from dispatcher.publish import broker
from dispatcher.worker import connections, next_try, record, run_log
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


def see_publishes_last() -> None:
    """Move `on_publish` behind the receivers that others have connected meanwhile: what they do to
    the headers of a run's next try is mended."""
    signals.before_task_publish.disconnect(on_publish, dispatch_uid="dispatcher.publish")
    signals.before_task_publish.connect(on_publish, dispatch_uid="dispatcher.publish")


def on_prerun(task: Any = None, **signal: Any) -> None:
    """Clean the connections: what the task before left open is no business of this one."""
    if not getattr(task.request, "is_eager", False):
        connections.look_after()


def on_success(sender: Any = None, result: Any = None, **signal: Any) -> None:
    request = sender.request
    if not _next_try_follows(request, ""):
        _end(request, record.succeed, End(Status.SUCCEEDED, result=storable(result)))


def _end(request: Any, how: Callable[[UUID, UUID, End], bool], end: End) -> None:
    run_id, token = run_id_of(request), getattr(request, "run_token", None)
    if run_id is not None and token is not None:
        logged = replace(end, log=run_log.take())
        _write(request, lambda: how(run_id, token, logged))


def _next_try_follows(request: Any, exception: str, reason: str = "own_retry") -> bool:
    """The run has sent its next try: how this one ended is not the end. Also where the function
    went on after `self.retry(throw=False)`."""
    run_id, token = run_id_of(request), getattr(request, "run_token", None)
    if run_id is None or token is None or not hasattr(request, "own_retry_at"):
        return False
    start_at, log = _start_of_retry(request.own_retry_at), run_log.take()
    follows = {"reason": reason, "next_try": getattr(request, "next_try", None)}
    _write(request, lambda: record.retry_own(run_id, token, start_at, exception, log, **follows))
    return True


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
    if not _next_try_follows(sender.request, describe_exception(exception)):
        _end(sender.request, record.fail, _failure(exception, str(einfo or "")))


def _failure(error: BaseException, trace: str) -> End:
    soft = isinstance(error, SoftTimeLimitExceeded)
    return End(
        Status.FAILED,
        reason="time_limit" if soft else "exception",
        reason_params={"soft": True} if soft else {},
        exception=describe_exception(error),
        traceback=storable_text(trace, keep_end=True),
    )


def on_publish(headers: dict[str, Any] | None = None, body: Any = None, **signal: Any) -> None:
    """See a message that is about to be sent. If it is the next try of the run that executes here,
    it keeps its name, and its time is kept: when the broker does not take it, Celery tells of a
    Reject and not when."""
    request: Any = getattr(current_task, "request", None)
    if headers and getattr(request, "run_token", None) is not None:
        next_try.see(request, headers, body)


def on_retry(sender: Any = None, request: Any = None, reason: Any = None, **signal: Any) -> None:
    """Record that the task called `self.retry`: its next try has been sent by Celery."""
    if getattr(request, "run_token", None) is not None:
        request.own_retry_at = getattr(reason, "when", None)
        _next_try_follows(request, storable_text(str(reason)))


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
    """Record the ends that no other signal tells: Ignore, Reject, and what is no Exception."""
    if state == "IGNORED":
        _ignored(sender.request, retval)
    elif state == "REJECTED":
        _rejected(sender.request, retval)
    elif state is None:
        _broken_off(sender.request, sys.exc_info()[1])
    if getattr(sender.request, "run_token", None) is not None:
        run_log.take()  # whatever became of the end: the next run of this process has its own


def _ignored(request: Any, ignore: Any) -> None:
    if _next_try_follows(request, "", "replaced"):
        return
    # A canvas has many messages, and the id of this one: its result is to be found there.
    replaced = str(ignore) == "Replaced by new task"
    params = {"id": str(request.id)} if replaced else {}
    reason = "replaced" if replaced else "ignored"
    _end(request, record.succeed, End(Status.SUCCEEDED, reason=reason, reason_params=params))


def _broken_off(request: Any, error: BaseException | None) -> None:
    """The tracer itself was left by what is no Exception. Whoever is told to end has not failed."""
    if error is None or _ends_process(error) or _is_stopping():
        if not _in_pool_child():  # threads and solo have no main process that would notice
            _end(request, record.fail, End(Status.LOST, reason="exited"))
    else:
        trace = "".join(traceback.format_exception(error))
        _end(request, record.fail, _limit_of_greenlet(request, error) or _failure(error, trace))


def _limit_of_greenlet(request: Any, error: BaseException) -> End | None:
    """The hard limit under gevent, which raises it in the task; Celery takes any such error for it,
    too."""
    hard = (getattr(request, "timelimit", None) or [None])[0]
    if hard is None or type(error).__module__ != "gevent.timeout":
        return None
    params = {"soft": False, "seconds": hard}
    return End(Status.FAILED, reason="time_limit", reason_params=params)


def _ends_process(error: BaseException) -> bool:
    return isinstance(error, SystemExit) or type(error).__name__ == "GreenletExit"


def _is_stopping() -> bool:
    told = state.should_stop is not None or state.should_terminate is not None
    return told or bool(_child_was_told())


#: Whether a pool child was sent the signal to end; from billiard 4.3 on.
_child_was_told = getattr(billiard.common, "terminate_handler_fired", bool)


def _rejected(request: Any, reject: Any) -> None:
    """By the task itself, or by `self.retry` where the broker did not take the next message."""
    why = getattr(reject, "reason", None)
    if isinstance(why, broker.BROKER_ERRORS) and _next_try_follows(
        request, describe_exception(why)
    ):
        return
    text = describe_exception(reject) if isinstance(reject, BaseException) else ""
    _end(request, record.fail, End(Status.FAILED, reason="rejected", exception=text))


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
    see_publishes_last()


def on_child_exit(**signal: Any) -> None:
    record.flush_kept()
