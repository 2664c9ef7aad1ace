"""Workers whose pool is one of greenlets. Only where gevent or eventlet is installed, which patch
the process of a worker and no other one."""

from collections import Counter
from importlib.util import find_spec
from typing import Any

import pytest
from django.db import connection

from dispatcher import run_task
from dispatcher.models import TaskRun, Worker
from scheduling.database import own_connection
from tests.integration.harness import Process, Stack
from tests.integration.tasks_app import tasks
from tests.integration.test_holding import S, held_by

POOLS = [
    pytest.param(
        name, marks=pytest.mark.skipif(not find_spec(name), reason=f"{name} is not installed")
    )
    for name in ("gevent", "eventlet")
]
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.parametrize("pool", POOLS),
]

COUNT = 60
SESSIONS = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE datname = current_database()",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db = database()",
}


def sessions() -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute(SESSIONS[connection.vendor])
        return {pid for (pid,) in cursor.fetchall()}


def start(stack: Stack, pool: str, **options: object) -> Process:
    worker = stack.start("worker", pool=pool, queues="other", **options)  # type: ignore[arg-type]
    stack.wait_until(
        lambda: Worker.objects.filter(pid=worker.pid, pool=pool).exists(), 20, "a word"
    )
    return worker


def run_of(task: Any, *args: object) -> TaskRun:
    return run_task(task.s(*args).set(queue="other"))


def ended(stack: Stack, runs: list[TaskRun], timeout: float = 40) -> list[TaskRun]:
    rows = TaskRun.objects.filter(pk__in=[run.pk for run in runs])
    stack.wait_until(lambda: all(run.is_ended for run in rows.all()), timeout, "all to end")
    return list(rows.all())


def test_runs_of_many_greenlets_are_executed_once_and_recorded(stack: Stack, pool: str) -> None:
    """All at once, and a run that outlasts its first lease. Their claims and ends share a few
    connections."""
    worker = start(stack, pool, concurrency=COUNT)
    release = stack.directory / "release"
    long = run_of(tasks.hold, str(release))
    runs = [run_of(tasks.work, 0.5) for _ in range(COUNT)]

    assert {run.status for run in ended(stack, runs)} == {"succeeded"}
    started = Counter(each.more["run_id"] for each in stack.executions("work"))
    assert started == Counter({str(run.pk): 1 for run in runs})
    if connection.vendor in SESSIONS:
        assert len(sessions()) <= own_connection.SIZE + 4  # the heart's, and those of this process

    long.refresh_from_db()
    before = long.lease_until
    assert before is not None
    lease = TaskRun.objects.filter(pk=long.pk)
    stack.wait_until(lambda: lease.get().lease_until > before, 30, "a renewed lease")
    release.touch()
    assert [run.status for run in ended(stack, [long])] == ["succeeded"]
    assert "Traceback" not in worker.log


def test_failures_and_limits_are_recorded(stack: Stack, pool: str) -> None:
    """A hard limit ends a greenlet of gevent. Nobody enforces any other one."""
    start(stack, pool, concurrency=5)
    failing, hard = run_of(tasks.fail), run_of(tasks.hard_limit, 2)
    soft = run_of(tasks.soft_limit, 2)

    found = {run.pk: (run.status, run.reason) for run in ended(stack, [failing, hard, soft])}
    assert found == {
        failing.pk: ("failed", "exception"),
        hard.pk: ("failed", "time_limit") if pool == "gevent" else ("succeeded", ""),
        soft.pk: ("succeeded", ""),
    }


def test_a_worker_that_is_told_to_stop_hands_back_and_finishes(stack: Stack, pool: str) -> None:
    worker = start(stack, pool, concurrency=5)
    release = stack.directory / "release"
    running = run_of(tasks.hold, str(release))
    stack.wait_until(lambda: stack.executions("hold"), 30, "the run")
    runs = held_by(stack, worker, 15 * S, "other")
    start(stack, pool, concurrency=5)

    worker.popen.terminate()

    assert {run.status for run in ended(stack, runs)} == {"succeeded"}
    assert worker.running, "it waited for its run meanwhile"
    release.touch()
    assert worker.wait(60) == 0
    assert "go to others" in worker.log
    assert [run.status for run in ended(stack, [running])] == ["succeeded"]
