"""Ordinary Celery tasks, good and bad, as users write them.

Each execution appends one line to the file named by TEST_RECORD_FILE, so that a test can count
executions without asking the product.
"""

import json
import logging
import os
import signal
import sys
import time
from contextlib import suppress

from celery import Task, shared_task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.signals import task_prerun
from celery.utils.log import get_task_logger

from project.celery import app


def note(key: str, **more: object) -> None:
    """Appends {"key", "time", "pid", …} to the record; one write, so lines never mix."""
    path = os.environ.get("TEST_RECORD_FILE")
    if path:
        line = json.dumps({"key": key, "time": time.time(), "pid": os.getpid(), **more})
        with open(path, "a") as record:
            record.write(line + "\n")


@shared_task
def ok(x: object = None) -> object:
    """Returns its argument."""
    note("ok")
    return x


@shared_task
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    note("add")
    return a + b


@shared_task
def record(key: str) -> str:
    """Notes the execution under a key of the test's choice."""
    note(key)
    return key


@shared_task(bind=True)
def record_run(self: Task) -> None:
    """Notes the run that it is executed for."""
    note("record_run", run_id=getattr(self.request, "run_id", None))


@shared_task(bind=True)
def work(self: Task, seconds: float = 0) -> None:
    """Works for some seconds; notes the run, its attempt and its try at the start and the end."""
    request = self.request
    tried = {"run_id": request.run_id, "attempt": request.attempt, "retries": request.retries}
    note("work", **tried)
    time.sleep(seconds)
    note("work:end", **tried)


@shared_task
def sleep(seconds: float, key: str = "sleep") -> str:
    """Notes its start and its end, with a sleep between."""
    note(key)
    time.sleep(seconds)
    note(f"{key}:end")
    return key


@shared_task
def hold(path: str, key: str = "hold") -> str:
    """Notes its start, and its end once somebody has made the file `path`."""
    note(key)
    while not os.path.exists(path):
        time.sleep(0.05)
    note(f"{key}:end")
    return key


@shared_task
def fail(message: str = "it failed") -> None:
    """Raises ValueError."""
    note("fail")
    raise ValueError(message)


@shared_task
def fail_times(n: int, path: str) -> int:
    """Fails n times, then returns; the count is kept in the file `path`."""
    note("fail_times")
    with open(path, "a+") as counter:
        counter.seek(0)
        done = len(counter.read())
        if done < n:
            counter.write("x")
    if done < n:
        raise ValueError(f"failure {done + 1} of {n}")
    return done


@shared_task(time_limit=1)
def hard_limit(seconds: float = 30) -> None:
    """Is killed after one second."""
    note("hard_limit")
    time.sleep(seconds)


@shared_task(soft_time_limit=1)
def soft_limit(seconds: float = 30) -> None:
    """Gets SoftTimeLimitExceeded after one second and lets it pass."""
    note("soft_limit")
    time.sleep(seconds)


@shared_task(soft_time_limit=1)
def soft_limit_handled(seconds: float = 30) -> str:
    """Catches SoftTimeLimitExceeded and ends well."""
    note("soft_limit_handled")
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        return "tidied up"
    return "not reached"


@shared_task
def exit() -> None:
    """Calls sys.exit, as a script turned into a task may."""
    note("exit")
    sys.exit(3)


@shared_task
def kill_self() -> None:
    """SIGKILL to its own process, as the OOM killer sends."""
    note("kill_self")
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task
def kill_again() -> None:
    """The same, under a name of its own."""
    note("kill_again")
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task
def dies_when_handed_over(path: str) -> None:
    """An ordinary task, but the first process that is given it dies before it can begin."""
    note("dies_when_handed_over")


@task_prerun.connect
def _die_when_handed_over(sender: Task | None = None, args: tuple = (), **more: object) -> None:
    if sender is not None and sender.name == dies_when_handed_over.name:
        with suppress(FileExistsError), open(args[0], "x"):
            os.kill(os.getpid(), signal.SIGKILL)


@shared_task
def kill_worker() -> None:
    """SIGKILL to the worker's main process, then to its own: nobody is left to tell."""
    note("kill_worker")
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task
def exit_at_once() -> None:
    """Ends its process without any clean-up, as a crash in C code does."""
    note("exit_at_once")
    os._exit(7)


@shared_task
def out_of_memory() -> None:
    """Raises MemoryError, after which Celery ends the whole prefork worker."""
    note("out_of_memory")
    raise MemoryError


@shared_task
def ignore() -> None:
    """Raises Celery's Ignore."""
    note("ignore")
    raise Ignore


@shared_task
def reject() -> None:
    """Raises Celery's Reject."""
    note("reject")
    raise Reject("not for me", requeue=False)


@shared_task
def not_json() -> object:
    """Returns what JSON cannot hold."""
    note("not_json")
    return {1, 2j}


@shared_task
def big_result(n: int) -> str:
    """Returns n characters."""
    note("big_result")
    return "x" * n


@shared_task
def dirty_result() -> dict[str, object]:
    """Returns what PostgreSQL refuses: NUL, a lone surrogate, NaN."""
    note("dirty_result")
    return {"nul": "a\x00b", "surrogate": "a\ud800b", "nan": float("nan")}


@shared_task
def dirty_failure() -> None:
    """Raises an exception whose text has NUL and a lone surrogate."""
    note("dirty_failure")
    raise ValueError("a\x00b\ud800c")


class Unpicklable(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)
        self.second = second


@shared_task
def unpicklable_failure() -> None:
    """Raises an exception that cannot cross to the worker's main process as it is."""
    note("unpicklable_failure")
    raise Unpicklable("one", "two")


@shared_task(bind=True, max_retries=None)
def self_retry(self: Task, n: int, countdown: float = 1) -> int:
    """Calls self.retry n times, then returns the number of tries."""
    note("self_retry", retries=self.request.retries)
    if self.request.retries < n:
        raise self.retry(countdown=countdown)
    return int(self.request.retries)


@shared_task(bind=True, max_retries=None)
def retry_later(self: Task, n: int, seconds: float) -> int:
    """As self_retry, but works for some seconds before it asks for the retry."""
    note("retry_later", retries=self.request.retries)
    if self.request.retries < n:
        time.sleep(seconds)
        raise self.retry(countdown=1)
    return int(self.request.retries)


@shared_task(autoretry_for=(ValueError,), max_retries=1, default_retry_delay=1)
def auto_retry() -> None:
    """Fails, with one automatic retry."""
    note("auto_retry")
    raise ValueError("again")


@shared_task(bind=True)
def bound(self: Task, x: int = 1) -> dict[str, object]:
    """Returns what it can see of its request."""
    headers = self.request.headers or {}
    note("bound", run_id=headers.get("run_id"), attempt=headers.get("attempt"))
    return {"id": self.request.id, "x": x}


@app.task
def app_task(x: int = 1) -> int:
    """A task of the app's own decorator."""
    note("app_task")
    return x


@app.task(bind=True)
def bound_app_task(self: Task, x: int = 1) -> int:
    """The same, bound."""
    note("bound_app_task")
    return x


@shared_task
def database_session() -> int | None:
    """Returns the database's id of the connection that user code gets."""
    from django.db import connection

    ask = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT connection_id()"}
    with connection.cursor() as cursor:
        cursor.execute(ask.get(connection.vendor, "SELECT NULL"))
        session: int | None = cursor.fetchone()[0]
    note("database_session", session=session)
    return session


class RudeTask(Task):
    """A base class that overrides every hook and never calls super()."""

    def before_start(self, task_id: str, args: tuple, kwargs: dict) -> None:
        note("rude:before_start")

    def on_success(self, retval: object, task_id: str, args: tuple, kwargs: dict) -> None:
        note("rude:on_success")

    def on_failure(
        self, exc: Exception, task_id: str, args: tuple, kwargs: dict, einfo: object
    ) -> None:
        note("rude:on_failure")

    def after_return(self, *args: object) -> None:
        note("rude:after_return")


@shared_task(base=RudeTask)
def rude(message: str = "") -> str:
    """A task with a rude base class; raises if there is a message."""
    note("rude")
    if message:
        raise ValueError(message)
    return "rude"


@shared_task(acks_late=True)
def acks_late(seconds: float = 0) -> str:
    """Acknowledged after it ran, so a dead worker's message comes back."""
    note("acks_late")
    time.sleep(seconds)
    return "done"


@shared_task(acks_late=True, reject_on_worker_lost=True)
def requeued_kill_self() -> None:
    """As kill_self, and Celery requeues the message each time."""
    note("requeued_kill_self")
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(bind=True)
def talk(
    self: Task, tries: int = 1, own: bool = False, password: str = "", end: str = "done"
) -> str:
    """Logs in every way that people do; fails, or asks for another try, until the last one."""
    number = (self.request.retries if own else max(self.request.attempt, 1) - 1) + 1
    logging.getLogger("shop.orders").info("try %d, password %s", number, password)
    logging.getLogger("shop.orders").debug("not at this level")
    get_task_logger("shop.mail").warning("by the task's logger")
    print("printed")
    if number < tries:
        raise self.retry(countdown=0.1) if own else ValueError(f"try {number}")
    if end == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return end


# Autodiscovery knows this module only.
from tests.integration.tasks_app import careless as careless  # noqa: E402
from tests.integration.tasks_app import hostile as hostile  # noqa: E402
