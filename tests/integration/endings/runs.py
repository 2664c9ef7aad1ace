"""Runs in a real worker: made, waited for, and told of again; and workers to be killed."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest

from dispatcher import run_task
from dispatcher.models import Status, TaskRun, Tick
from dispatcher.tick import rescue_pass
from project.celery import app
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.integration.harness import Process, Stack

ALL_POOLS = ("prefork", "threads", "solo")


def _on(*pools: str) -> Any:
    """A decorator: on these pools, each of which has its day every second round."""
    each = pytest.mark.parametrize("pool", pools, indirect=True, scope="module")
    return lambda test: pytest.mark.sampled(2 * len(pools))(each(test))


on_prefork = _on("prefork")
on_threads = _on("threads")
on_every_pool = _on(*ALL_POOLS)


#: Pool children of the worker that serves all tests of a file.
CHILDREN = 3


def definition(task: Any, *args: Any, **options: Any) -> ScheduledTask:
    """A scheduled task whose own slot is an hour away; the tests run it by hand."""
    at = datetime.now(UTC) + timedelta(hours=1)
    name = options.pop("name", f"job {uuid.uuid4()}")
    return ScheduledTask.objects.create_one_time(name, task, at, args=args, **options)


def fresh(run: TaskRun) -> TaskRun:
    return TaskRun.objects.get(pk=run.pk)


def end_of(stack: Stack, run: TaskRun, timeout: float = 20) -> TaskRun:
    """The run, once it has ended."""

    def ended() -> TaskRun | None:
        row = fresh(run)
        return row if row.is_ended else None

    return stack.wait_until(ended, timeout, f"the end of {run} ({fresh(run).status})")


def running(stack: Stack, run: TaskRun, timeout: float = 20) -> TaskRun:
    stack.wait_until(lambda: fresh(run).status == Status.RUNNING, timeout, f"{run} to run")
    return fresh(run)


def later(seconds: float) -> datetime:
    """A rescue pass of that many seconds later: rows move into the past instead of the clock."""
    waiting = TaskRun.objects.waiting().exclude(publish_at=None)
    for run in waiting:
        TaskRun.objects.filter(pk=run.pk).update(
            publish_at=run.publish_at - timedelta(seconds=seconds),
            start_at=run.start_at - timedelta(seconds=seconds),
        )
    return database_now()


def let_leases_run_out(*runs: TaskRun) -> None:
    """As if the database's time had moved on with rescue passes every 20 s."""
    now = database_now()
    for seconds in (60, 40, 20):
        Tick.objects.create(kind=Tick.Kind.RESCUE, started_at=now - timedelta(seconds=seconds))
    gone = now - timedelta(seconds=1)
    TaskRun.objects.filter(pk__in=[run.pk for run in runs]).update(lease_until=gone)


def end_with_rescue(stack: Stack, run: TaskRun, timeout: float = 60) -> TaskRun:
    """As `end_of`, with a dispatcher's rescue. Where children die by the dozen, Celery's pool
    sometimes gives a message to one that is just dying, or does not see that a run died with it:
    the message is sent again, and the lease runs out."""

    def ended() -> TaskRun | None:
        row = fresh(run)
        if row.status in ("published", "retrying") and database_now() - row.published_at > PATIENCE:
            rescue_pass(later(40))
        if row.status == "running" and database_now() - row.claimed_at > 2 * PATIENCE:
            let_leases_run_out(row)
            rescue_pass()
        return row if row.is_ended else None

    return stack.wait_until(ended, timeout, f"the end of {run}", poll=0.5)


PATIENCE = timedelta(seconds=7)


def process_ends(stack: Stack, run: TaskRun) -> None:
    """Wait until the pool child of the run is dead and replaced. Before the pool has noticed, it
    may give the next message to the dead one."""
    worker, message = stack.processes[0], f"the process of {run} to be replaced"
    stack.wait_until(
        lambda: not psutil.pid_exists(run.pid) and len(worker.children) == CHILDREN, 20, message
    )


def renewed(stack: Stack, run: TaskRun) -> None:
    """Wait until the lease that `run` had is longer; an ended run has none."""
    before = run.lease_until
    assert before is not None
    stack.wait_until(lambda: (fresh(run).lease_until or before) > before, 30, "a renewed lease")


def noted(stack: Stack, key: str, count: int = 1) -> None:
    stack.wait_until(lambda: len(stack.executions(key)) >= count, 20, f"{count} times {key}")


def times(stack: Stack, key: str) -> int:
    return len(stack.executions(key))


def unpublished(task: Any, *args: Any) -> TaskRun:
    """A run that nobody publishes; the test sends its messages itself."""
    return run_task(task, args, at=datetime.now(UTC) + timedelta(hours=1))


def send(run: TaskRun, queue: str = "celery", **headers: Any) -> None:
    headers = {"run_id": str(run.pk), "attempt": run.attempt} | headers
    app.send_task(run.task, run.args, run.kwargs, headers=headers, queue=queue)


def forget_messages(queue: str) -> None:
    """As a broker that restarts without its data: what it would deliver again is gone too."""
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_purge(queue)
        if hasattr(channel, "unacked_key"):  # Redis
            channel.client.delete(channel.unacked_key, channel.unacked_index_key)


def vetoed(stack: Stack, run: TaskRun, count: int = 1) -> None:
    """Wait until the worker has refused so many messages of the run."""
    worker, line = stack.processes[0], f"Run {run.pk} is not started"
    stack.wait_until(lambda: worker.log.count(line) >= count, 20, f"{count} vetoes of {run}")


@contextmanager
def another_worker(stack: Stack, **options: Any) -> Iterator[Process]:
    """A worker of the queue `other`, of the same pool, to be killed."""
    options = {"pool": stack.pool} | options  # type: ignore[attr-defined]
    process = stack.start("worker", queues="other", **options)
    try:
        yield process
    finally:
        process.kill()
