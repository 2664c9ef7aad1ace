"""What happened to a run, and what its row says: every row of the design's table, by a worker.

One worker process per pool serves all tests of this file; a test that kills a worker starts one
of its own on the queue `other`.
"""

import json
import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from dispatcher import backfill, cancel, rerun, run_now, run_task
from dispatcher.models import RunAttempt, Status, TaskRun, Tick, Worker
from dispatcher.tick import rescue_pass
from project.celery import app
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.integration.harness import Process, Stack, empty_broker, test_database_url
from tests.integration.proxy import Proxy
from tests.integration.tasks_app import tasks

ALL_POOLS = ("prefork", "threads", "solo")

on_every_pool = pytest.mark.parametrize("pool", ALL_POOLS, indirect=True, scope="module")
on_prefork = pytest.mark.parametrize("pool", ["prefork"], indirect=True, scope="module")
on_threads = pytest.mark.parametrize("pool", ["threads"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def pool(
    request: pytest.FixtureRequest, django_db_setup: None, tmp_path_factory: Any
) -> Iterator[Stack]:
    """A stack with one worker of the pool that the test names."""
    broker_url = os.environ["CELERY_BROKER_URL"]
    empty_broker(broker_url)
    stack = Stack(tmp_path_factory.mktemp(request.param), test_database_url(), broker_url)
    stack.pool = request.param  # type: ignore[attr-defined]
    stack.start("worker", pool=request.param, concurrency=CHILDREN, queues="celery")
    yield stack
    stack.close()
    empty_broker(broker_url)


@pytest.fixture
def stack(pool: Stack, transactional_db: None) -> Iterator[Stack]:
    """The module's stack, with an empty record."""
    pool.record_path.write_text("")
    yield pool
    assert pool.processes[0].running, pool.processes[0].tail()


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


CHILDREN = 3


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


# Ends well ----------------------------------------------------------------------------------------


@on_every_pool
@pytest.mark.parametrize(
    ("task", "args", "result"),
    [
        pytest.param(tasks.add, (1, 2), 3, id="shared_task"),
        pytest.param(tasks.app_task, (5,), 5, id="app.task"),
        pytest.param(tasks.bound_app_task, (6,), 6, id="bound"),
        pytest.param(tasks.rude, (), "rude", id="base of its own without super()"),
        pytest.param(tasks.acks_late, (), "done", id="acks_late"),
        pytest.param(tasks.ok, ({"a": [1, None, "ü"]},), {"a": [1, None, "ü"]}, id="json"),
    ],
)
def test_a_return_value_is_the_result(stack: Stack, task: Any, args: Any, result: Any) -> None:
    run = end_of(stack, run_task(task, args))

    assert (run.status, run.reason, run.attempt, run.retries) == ("succeeded", "", 1, 0)
    assert run.result == result
    assert run.started_at and run.finished_at and run.started_at <= run.finished_at
    assert (run.publish_at, run.lease_until, run.holds) == (None, None, None)
    assert run.worker.startswith("worker1-") and run.pid and run.message_id
    assert not run.attempts.exists()


@on_every_pool
def test_a_result_that_is_not_json_is_kept_as_its_repr(stack: Stack) -> None:
    run = end_of(stack, run_task(tasks.not_json))

    assert run.status == "succeeded"
    assert run.result in ({"repr": "{1, 2j}"}, {"repr": "{2j, 1}"})


@on_prefork
def test_a_result_above_64_kib_is_cut_and_marked(stack: Stack) -> None:
    run = end_of(stack, run_task(tasks.big_result, [100_000]))

    assert run.status == "succeeded"
    assert run.result["truncated"] is True
    assert run.result["size"] == 100_002  # with its quotes
    assert run.result["head"].startswith('"xxx')
    assert len(json.dumps(run.result)) < 64 * 1024


@on_prefork
def test_what_a_database_refuses_is_cleaned_in_a_result(stack: Stack) -> None:
    run = end_of(stack, run_task(tasks.dirty_result))

    assert run.status == "succeeded"
    assert run.result == {"nul": "a�b", "surrogate": "a?b", "nan": "nan"}


@on_prefork
def test_what_a_database_refuses_is_cleaned_in_an_exception(stack: Stack) -> None:
    run = end_of(stack, run_task(tasks.dirty_failure))

    assert run.status == "failed"
    assert run.exception == "ValueError: a�b?c"
    assert "dirty_failure" in run.traceback


@on_every_pool
def test_ignore_ends_as_succeeded(stack: Stack) -> None:
    run = end_of(stack, run_task(tasks.ignore))

    assert (run.status, run.reason) == ("succeeded", "ignored")


@on_prefork
def test_a_soft_limit_that_the_task_handles_ends_well(stack: Stack) -> None:
    run = end_of(stack, run_task(tasks.soft_limit_handled))

    assert (run.status, run.result) == ("succeeded", "tidied up")


@on_prefork
def test_the_database_connection_of_a_pool_child_is_kept_between_runs(stack: Stack) -> None:
    sessions = [end_of(stack, run_task(tasks.database_session)) for _ in range(8)]

    if sessions[0].result is None:
        pytest.skip("SQLite has no sessions")
    by_child = {(run.pid, run.result) for run in sessions}
    assert len(by_child) == len({run.pid for run in sessions})


# Fails --------------------------------------------------------------------------------------------


@on_every_pool
@pytest.mark.parametrize(
    ("task", "args", "exception"),
    [
        pytest.param(tasks.fail, ("boom",), "ValueError: boom", id="plain"),
        pytest.param(tasks.rude, ("boom",), "ValueError: boom", id="base of its own"),
        pytest.param(tasks.unpicklable_failure, (), "Unpicklable: one", id="unpicklable"),
    ],
)
def test_an_exception_fails_the_run(stack: Stack, task: Any, args: Any, exception: str) -> None:
    run = end_of(stack, run_task(task, args))

    assert (run.status, run.reason, run.attempt) == ("failed", "exception", 1)
    assert run.exception == exception
    assert "Traceback" in run.traceback and task.__name__ in run.traceback
    assert run.lease_until is None


@on_prefork
def test_arguments_that_do_not_fit_fail_the_run(stack: Stack) -> None:
    """The publisher may not know the task, so the worker is the first to see it."""
    run = unpublished(tasks.add, 1, 2)
    TaskRun.objects.filter(pk=run.pk).update(args=[1])
    send(fresh(run))
    run = end_of(stack, run)

    assert (run.status, run.reason) == ("failed", "exception")
    assert run.exception.startswith("TypeError: ")


@on_every_pool
def test_a_failed_run_is_tried_again_and_the_earlier_attempt_is_kept(
    stack: Stack, tmp_path: Any
) -> None:
    job = definition(
        tasks.fail_times, 1, str(tmp_path / "count"), max_retries=2, retry_delay_seconds=0
    )
    run = end_of(stack, run_now(job))

    assert (run.status, run.attempt, run.result) == ("succeeded", 2, 1)
    assert run.exception == "" and run.traceback == ""
    [earlier] = run.attempts.all()
    assert (earlier.attempt, earlier.status, earlier.reason) == (1, "failed", "exception")
    assert earlier.exception == "ValueError: failure 1 of 1"
    assert earlier.started_at == run.started_at  # the row keeps its first start
    assert earlier.started_at <= earlier.finished_at <= run.claimed_at
    assert times(stack, "fail_times") == 2


@on_prefork
def test_a_run_whose_retries_are_used_up_fails(stack: Stack) -> None:
    job = definition(tasks.fail, max_retries=2, retry_delay_seconds=0)
    run = end_of(stack, run_now(job))

    assert (run.status, run.reason, run.attempt) == ("failed", "exception", 3)
    assert list(run.attempts.values_list("attempt", "status")) == [(1, "failed"), (2, "failed")]
    assert times(stack, "fail") == 3


@on_prefork
def test_between_two_attempts_a_run_is_retrying_and_waits_for_its_delay(stack: Stack) -> None:
    job = definition(tasks.fail, max_retries=1, retry_delay_seconds=2)
    started = run_now(job)
    stack.wait_until(lambda: fresh(started).status == Status.RETRYING, 20, "the first failure")
    run = end_of(stack, started)

    [earlier] = run.attempts.all()
    assert run.status == "failed"
    # The delay counts from a moment before the end was stamped.
    assert timedelta(seconds=1.9) <= run.claimed_at - earlier.finished_at


@on_prefork
def test_with_backoff_each_wait_is_twice_as_long(stack: Stack) -> None:
    job = definition(tasks.fail, max_retries=3, retry_delay_seconds=1, retry_backoff=True)
    run = end_of(stack, run_now(job), 60)

    attempts = list(run.attempts.all())
    starts = [*(attempt.started_at for attempt in attempts[1:]), run.claimed_at]
    waits = [start - attempt.finished_at for attempt, start in zip(attempts, starts, strict=True)]
    assert (run.status, run.attempt, len(waits)) == ("failed", 4, 3)
    for wait, seconds in zip(waits, (1, 2, 4), strict=True):
        assert wait >= timedelta(seconds=seconds - 0.1)  # counted from just before the end
    assert run.lateness is None  # `start_at` is that of the last attempt


@on_prefork
def test_a_schedule_that_fails_again_and_again_is_paused(stack: Stack) -> None:
    job = definition(tasks.fail, pause_after_failures=2, max_retries=1, retry_delay_seconds=0)
    assert end_of(stack, run_now(job)).attempt == 2
    job.refresh_from_db()
    assert job.enabled  # two attempts, one run
    assert end_of(stack, run_now(job)).status == "failed"

    stack.wait_until(lambda: not ScheduledTask.objects.get(pk=job.pk).enabled, 20, "the pause")
    job.refresh_from_db()
    assert (job.state_reason, job.state_reason_by) == ("paused", "pause_after_failures")


@on_prefork
def test_a_retry_whose_message_is_lost_is_sent_again_once(stack: Stack, tmp_path: Path) -> None:
    job = definition(
        tasks.fail_times,
        1,
        str(tmp_path / "count"),
        queue="other",
        max_retries=1,
        retry_delay_seconds=60,
    )
    with another_worker(stack) as worker:
        run = run_now(job)
        stack.wait_until(lambda: worker.log.count("received") == 2, 20, "the retry to be held")
        assert fresh(run).status == Status.RETRYING
        worker.kill()
    forget_messages("other")
    assert rescue_pass().published == 0  # its time has not come

    assert rescue_pass(later(100)).published == 1
    assert rescue_pass(later(100)).published == 0  # its message waits
    with another_worker(stack):
        run = end_of(stack, run)

    assert (run.status, run.attempt, run.result) == ("succeeded", 2, 1)
    assert times(stack, "fail_times") == 2


@on_prefork
def test_a_soft_time_limit_fails_the_run(stack: Stack) -> None:
    run = end_of(stack, run_task(tasks.soft_limit))

    assert (run.status, run.reason, run.reason_params) == ("failed", "time_limit", {"soft": True})
    assert run.exception.startswith("SoftTimeLimitExceeded")


@on_prefork
def test_a_hard_time_limit_fails_the_run(stack: Stack) -> None:
    run = end_of(stack, run_task(tasks.hard_limit))

    assert (run.status, run.reason) == ("failed", "time_limit")
    assert run.reason_params == {"soft": False, "seconds": 1}
    process_ends(stack, run)


@on_prefork
def test_the_time_limits_of_the_schedule_reach_the_worker(stack: Stack) -> None:
    hard = run_now(definition(tasks.sleep, 30, "hard", time_limit=1))
    soft = run_now(definition(tasks.sleep, 30, "soft", soft_time_limit=1))

    hard = end_of(stack, hard)
    assert hard.reason_params == {"soft": False, "seconds": 1}
    assert end_of(stack, soft).reason_params == {"soft": True}
    process_ends(stack, hard)
    assert times(stack, "hard:end") == times(stack, "soft:end") == 0


@on_prefork
def test_a_hard_time_limit_is_tried_again_while_retries_are_left(stack: Stack) -> None:
    job = definition(tasks.hard_limit, max_retries=1, retry_delay_seconds=0)
    run = end_of(stack, run_now(job))

    assert (run.status, run.reason, run.attempt) == ("failed", "time_limit", 2)
    assert [(a.status, a.reason) for a in run.attempts.all()] == [("failed", "time_limit")]
    process_ends(stack, run)


@on_every_pool
def test_an_unknown_task_fails_the_run(stack: Stack) -> None:
    run = end_of(stack, run_task("nowhere.to.be_found"))

    assert (run.status, run.reason) == ("failed", "not_registered")
    assert run.reason_params == {"task": "nowhere.to.be_found"}
    assert (run.attempt, run.started_at) == (0, None)


@on_prefork
def test_an_unknown_task_is_tried_again_while_retries_are_left(stack: Stack) -> None:
    job = definition("nowhere.to.be_found", max_retries=1, retry_delay_seconds=0)
    run = end_of(stack, run_now(job))

    assert (run.status, run.reason, run.attempt) == ("failed", "not_registered", 2)
    [earlier] = run.attempts.all()
    assert (earlier.attempt, earlier.status, earlier.reason) == (1, "failed", "not_registered")
    assert (earlier.started_at, run.started_at) == (None, None)


@on_prefork
def test_a_deploy_that_brings_the_task_a_little_later_is_waited_for(stack: Stack) -> None:
    job = definition(tasks.ok, 7, queue="other", max_retries=1, retry_delay_seconds=60)
    with another_worker(stack, env={"EXTRA_APPS": ""}):
        run = run_now(job)
        stack.wait_until(lambda: fresh(run).status == Status.RETRYING, 20, "the refusal")
        assert fresh(run).reason == "not_registered"
    with another_worker(stack):
        rescue_pass(later(100))
        run = end_of(stack, run)

    assert (run.status, run.attempt, run.result) == ("succeeded", 2, 7)
    assert times(stack, "ok") == 1


@on_every_pool
def test_a_message_that_the_worker_refuses_fails_the_run(stack: Stack) -> None:
    run = unpublished(tasks.ok)
    headers = {"run_id": str(run.pk), "attempt": 0}
    app.send_task(run.task, (), {}, headers=headers, serializer="pickle", queue="celery")
    run = end_of(stack, run)

    assert (run.status, run.reason) == ("failed", "message_rejected")
    assert times(stack, "ok") == 0


@on_every_pool
def test_reject_fails_the_run(stack: Stack) -> None:
    run = end_of(stack, run_task(tasks.reject))

    assert (run.status, run.reason) == ("failed", "rejected")
    assert "not for me" in run.exception


@on_prefork
def test_reject_is_tried_again_while_retries_are_left(stack: Stack) -> None:
    run = end_of(stack, run_now(definition(tasks.reject, max_retries=1, retry_delay_seconds=0)))

    assert (run.status, run.reason, run.attempt) == ("failed", "rejected", 2)


# Is lost ------------------------------------------------------------------------------------------


@on_prefork
def test_runs_whose_process_ends_are_lost_and_a_run_beside_them_keeps_its_lease(
    stack: Stack,
) -> None:
    """Together, because a pool takes five seconds to see that a child is dead."""
    with another_worker(stack, concurrency=6):
        beside = running(stack, run_now(definition(tasks.sleep, 20, "beside", queue="other")))
        runs = {
            task.__name__: (run_now(definition(task, queue="other")), reason)
            for task, reason in (
                (tasks.exit, "exited"),
                (tasks.kill_self, "process_gone"),
                (tasks.exit_at_once, "process_gone"),
                (tasks.requeued_kill_self, "process_gone"),
            )
        }
        again = run_now(definition(tasks.kill_again, queue="other", on_lost="rerun"))

        renewed(stack, beside)
        for name, (run, reason) in runs.items():
            ended = end_with_rescue(stack, run)
            assert (name, ended.status) == (name, "lost")
            assert ended.reason in (reason, "lease_ran_out")
        again = end_with_rescue(stack, again)
        assert (again.status, again.attempt) == ("lost", 4)
        earlier = list(again.attempts.values_list("attempt", "status"))
        assert earlier == [(1, "lost"), (2, "lost"), (3, "lost")]
        assert end_of(stack, beside).status == "succeeded"

    assert times(stack, "kill_again") == 4
    for name, (run, _reason) in runs.items():  # also where Celery put the message back
        assert (name, times(stack, name), fresh(run).attempt) == (name, 1, 1)


@on_prefork
def test_a_task_that_kills_its_whole_worker_each_time_ends_lost_and_harms_no_other(
    stack: Stack,
) -> None:
    """A supervisor starts the worker again; four starts, then the run is left alone."""
    killer = run_now(definition(tasks.kill_worker, queue="other", on_lost="rerun"))
    others = [run_now(definition(tasks.record, f"other {n}", queue="other")) for n in range(6)]
    starts = 0
    while not fresh(killer).is_ended:
        starts += 1
        with another_worker(stack, concurrency=1, wait=False) as worker:
            worker.wait()  # it may be dead before it says that it is ready
        let_leases_run_out(*TaskRun.objects.filter(status=Status.RUNNING))
        rescue_pass(later(40))
    with another_worker(stack):
        for run in others:
            end_with_rescue(stack, run)

    killer = fresh(killer)
    assert (killer.status, killer.reason, killer.attempt) == ("lost", "lease_ran_out", 4)
    assert (starts, times(stack, "kill_worker")) == (4, 4)
    for number, run in enumerate(others):
        assert (fresh(run).status, times(stack, f"other {number}")) == ("succeeded", 1)


@on_prefork
def test_a_run_handed_to_a_process_that_is_just_dying_is_sent_again(
    stack: Stack, tmp_path: Path
) -> None:
    """Its message is gone, but nobody has claimed it: it was not started, and is not lost."""
    with another_worker(stack):
        died = tmp_path / "died"
        run = run_now(definition(tasks.dies_when_handed_over, str(died), queue="other"))
        stack.wait_until(died.exists, 20, "the process to die")
        assert rescue_pass().published == 0  # not before 30 s have passed
        run = end_with_rescue(stack, run)

    assert (run.status, run.attempt, run.started_at > run.published_at) == ("succeeded", 1, True)
    assert times(stack, "dies_when_handed_over") == 1


@on_threads
def test_sys_exit_in_a_thread_is_lost_at_once_and_the_worker_goes_on(stack: Stack) -> None:
    run = end_of(stack, run_task(tasks.exit))

    assert (run.status, run.reason) == ("lost", "exited")
    assert end_of(stack, run_task(tasks.ok, [1])).status == "succeeded"


@pytest.mark.parametrize("pool", ["solo"], indirect=True, scope="module")
def test_sys_exit_under_solo_is_lost_and_the_worker_ends_or_works_on(stack: Stack) -> None:
    """Celery trips over it. That error ends the worker, unless the message is the first that it
    takes from RabbitMQ: then a promise of its event loop swallows the error."""
    with another_worker(stack) as worker:
        run = end_of(stack, run_now(definition(tasks.exit, queue="other")))
        after = run_now(definition(tasks.ok, 1, queue="other"))
        stack.wait_until(
            lambda: not worker.running or TaskRun.objects.get(pk=after.pk).status == "succeeded",
            30,
            "the worker to end, or the next run",
        )

    assert (run.status, run.reason) == ("lost", "exited")


@on_prefork
def test_memory_error_fails_the_run_although_it_ends_the_worker(stack: Stack) -> None:
    with another_worker(stack) as worker:
        run = end_of(stack, run_now(definition(tasks.out_of_memory, queue="other")))
        worker.wait()

    assert (run.status, run.reason) == ("failed", "exception")
    assert run.exception.startswith("MemoryError")


@on_prefork
def test_a_cold_shutdown_loses_what_runs(stack: Stack) -> None:
    with another_worker(stack) as worker:
        run = run_now(definition(tasks.sleep, 30, queue="other"))
        running(stack, run)
        noted(stack, "sleep")
        worker.stop(signal.SIGQUIT)
        run = end_of(stack, run)

    assert run.status == "lost"


@on_prefork
def test_a_killed_worker_loses_its_runs_also_when_it_is_back_under_the_same_name(
    stack: Stack,
) -> None:
    job = definition(tasks.sleep, 60, queue="other")
    with another_worker(stack, hostname="comes-back@here") as worker:
        run = running(stack, run_now(job))
        noted(stack, "sleep")
        worker.kill()
    with another_worker(stack, hostname="comes-back@here"):
        stack.wait_until(
            lambda: Worker.objects.filter(hostname="comes-back@here").count() == 2, 20, "its return"
        )
        assert fresh(run).lease_until == run.lease_until  # the new one does not speak for it
        rescue_pass()
        assert fresh(run).status == "running"  # not before its lease has run out
        let_leases_run_out(run)
        rescue_pass()

    run = fresh(run)
    assert (run.status, run.reason) == ("lost", "lease_ran_out")
    assert run.reason_params["worker"] == "comes-back@here"
    assert times(stack, "sleep") == 1


@on_prefork
def test_a_run_of_a_killed_worker_is_run_again_by_another_one(stack: Stack, tmp_path: Path) -> None:
    done = tmp_path / "the second attempt may end"
    job = definition(tasks.hold, str(done), queue="other", on_lost="rerun")
    with another_worker(stack) as worker:
        run = running(stack, run_now(job))
        noted(stack, "hold")
        worker.kill()
    done.touch()
    let_leases_run_out(run)
    rescue_pass()
    with another_worker(stack):
        run = end_of(stack, run)

    assert (run.status, run.attempt) == ("succeeded", 2)
    assert [(a.status, a.reason) for a in run.attempts.all()] == [("lost", "lease_ran_out")]
    assert times(stack, "hold") == 2 and times(stack, "hold:end") == 1


@on_prefork
def test_a_late_end_corrects_lost(stack: Stack, tmp_path: Path) -> None:
    """A paused machine: the lease ran out, and then the run went on and ended."""
    done = tmp_path / "it may end"
    with another_worker(stack) as worker:
        run = running(stack, run_now(definition(tasks.hold, str(done), queue="other")))
        noted(stack, "hold")
        worker.freeze()
        let_leases_run_out(run)
        rescue_pass()
        assert fresh(run).status == "lost"
        done.touch()
        worker.thaw()
        stack.wait_until(lambda: fresh(run).status == "succeeded", 20, "the late end")

    run = fresh(run)
    assert (run.reason, run.result) == ("", "hold")


@on_threads
def test_leases_are_renewed_where_runs_have_no_process_of_their_own(
    stack: Stack, tmp_path: Path
) -> None:
    done = tmp_path / "they may end"
    with another_worker(stack, pool="solo"):
        in_solo = running(stack, run_now(definition(tasks.hold, str(done), queue="other")))
        in_thread = running(stack, run_task(tasks.hold, [str(done)]))
        for run in (in_solo, in_thread):
            renewed(stack, run)
        done.touch()
        for run in (in_solo, in_thread):
            assert end_of(stack, run).status == "succeeded"


# Is cancelled -------------------------------------------------------------------------------------


@on_every_pool
def test_a_run_cancelled_before_its_start_never_starts(stack: Stack) -> None:
    planned = unpublished(tasks.ok)
    published = run_task(tasks.ok, at=datetime.now(UTC) + timedelta(seconds=4))
    assert (planned.status, fresh(published).status) == ("planned", "published")

    assert cancel(planned, by="ada") and cancel(published, by="ada")
    send(planned)

    for run in (planned, published):
        vetoed(stack, run)
        run = fresh(run)
        assert (run.status, run.reason) == ("cancelled", "by_person")
        assert run.reason_params == {"by": "ada"}
    assert times(stack, "ok") == 0
    assert not cancel(planned)


@on_prefork
def test_cancelling_a_running_run_ends_its_process(stack: Stack) -> None:
    run = running(stack, run_task(tasks.sleep, [60]))
    noted(stack, "sleep")

    assert cancel(run, by="ada")

    process_ends(stack, run)
    run = fresh(run)
    assert (run.status, run.reason) == ("cancelled", "by_person")
    assert times(stack, "sleep:end") == 0


@on_threads
def test_a_run_cancelled_in_a_thread_stays_cancelled_when_its_function_returns(
    stack: Stack, tmp_path: Path
) -> None:
    done = tmp_path / "it may return"
    run = running(stack, run_task(tasks.hold, [str(done)]))

    assert cancel(run)
    done.touch()

    worker, line = stack.processes[0], f"[{run.message_id}] succeeded"
    stack.wait_until(lambda: line in worker.log, 20, "its function to return")
    assert (fresh(run).status, fresh(run).result) == ("cancelled", None)


@on_prefork
def test_a_run_revoked_by_celerys_own_means_is_cancelled(stack: Stack) -> None:
    run = running(stack, run_task(tasks.sleep, [60]))
    app.control.revoke(run.message_id, terminate=True)
    run = end_of(stack, run)

    assert (run.status, run.reason) == ("cancelled", "revoked")
    process_ends(stack, run)


@on_every_pool
def test_a_paused_schedule_starts_nothing_that_was_published(stack: Stack) -> None:
    job = ScheduledTask.objects.create_one_time(
        "paused", tasks.ok, datetime.now(UTC) + timedelta(seconds=4)
    )
    [run] = job.runs.all()
    assert run.status == "published"
    job.pause()

    vetoed(stack, run)
    assert times(stack, "ok") == 0


# Is missed or skipped -----------------------------------------------------------------------------


@on_prefork
def test_a_run_that_expired_in_the_queue_is_missed(stack: Stack) -> None:
    job = ScheduledTask.objects.create_one_time(
        "expires",
        tasks.ok,
        datetime.now(UTC) + timedelta(seconds=3),
        expires_seconds=1,
        queue="other",
    )
    [run] = job.runs.all()
    assert run.expires_at
    stack.wait_until(lambda: database_now() > run.expires_at, 20, "its expiry")
    with another_worker(stack):
        run = end_of(stack, run)

    assert (run.status, run.reason, run.attempt) == ("missed", "expired", 0)
    assert times(stack, "ok") == 0


@pytest.mark.parametrize("pool", ["prefork", "threads"], indirect=True, scope="module")
def test_overlap_skip_skips_the_second_run(stack: Stack, tmp_path: Path) -> None:
    done = tmp_path / "the first may end"
    job = definition(tasks.hold, str(done), overlap_policy="skip")
    first = running(stack, run_now(job))
    second = end_of(stack, run_now(job))

    assert (second.status, second.reason) == ("skipped", "overlap")
    assert second.reason_params == {"running": str(first.pk)}
    done.touch()
    assert end_of(stack, first).status == "succeeded"
    assert end_of(stack, run_now(job)).status == "succeeded"
    assert times(stack, "hold") == 2


@on_prefork
def test_overlap_queue_one_lets_one_wait_and_skips_the_next(stack: Stack, tmp_path: Path) -> None:
    done = tmp_path / "the first may end"
    job = definition(tasks.hold, str(done), overlap_policy="queue_one")
    first = running(stack, run_now(job))
    second = run_now(job)
    stack.wait_until(lambda: fresh(second).waits == job.pk, 20, "the second to wait")
    third = end_of(stack, run_now(job))
    assert (third.status, third.reason) == ("skipped", "overlap")
    assert fresh(first).status == "running"

    done.touch()
    second, first = end_of(stack, second), end_of(stack, first)
    assert first.status == second.status == "succeeded"
    assert first.finished_at <= second.started_at  # woken: nobody rescues here
    assert times(stack, "hold") == 2


@on_prefork
def test_overlap_cancel_previous_ends_the_first_run_and_its_process(stack: Stack) -> None:
    job = definition(tasks.sleep, 60, overlap_policy="cancel_previous")
    first = running(stack, run_now(job))
    noted(stack, "sleep")
    second = running(stack, run_now(job))

    first = end_of(stack, first)
    assert (first.status, first.reason) == ("cancelled", "cancel_previous")
    process_ends(stack, first)
    assert fresh(second).status == "running" and fresh(second).holds == job.pk
    assert cancel(second)
    process_ends(stack, second)


@on_prefork
@pytest.mark.parametrize("policy", ["skip", "queue_one", "cancel_previous"])
def test_a_backfill_runs_one_after_the_other_and_skips_none(stack: Stack, policy: str) -> None:
    job = ScheduledTask.objects.create_cron(
        f"backfill {policy}", tasks.sleep, "0 6 * * *", args=[0.2], overlap_policy=policy
    )
    first = datetime(2026, 1, 1, tzinfo=UTC)
    runs = [end_of(stack, run) for run in backfill(job, first, first + timedelta(days=5))]

    assert [run.status for run in runs] == ["succeeded"] * 5
    in_order = sorted(runs, key=lambda run: run.started_at)
    for before, after in pairwise(in_order):
        assert before.finished_at <= after.started_at
    assert times(stack, "sleep") == times(stack, "sleep:end") == 5


@on_prefork
@pytest.mark.parametrize("policy", ["skip", "queue_one"])
def test_a_run_between_two_attempts_holds_its_schedule(stack: Stack, policy: str) -> None:
    job = definition(tasks.fail, overlap_policy=policy, max_retries=1, retry_delay_seconds=3)
    first = run_now(job)
    stack.wait_until(lambda: fresh(first).status == Status.RETRYING, 20, "the first failure")
    second = run_now(job)
    first, second = end_of(stack, first), end_of(stack, second, 30)

    assert (first.status, first.attempt) == ("failed", 2)
    if policy == "skip":
        assert (second.status, second.reason) == ("skipped", "overlap")
    else:
        assert (second.status, second.attempt) == ("failed", 2)
        assert first.finished_at <= second.started_at


@on_prefork
def test_cancel_previous_ends_a_run_that_waits_for_its_next_attempt(stack: Stack) -> None:
    job = definition(
        tasks.fail, overlap_policy="cancel_previous", max_retries=1, retry_delay_seconds=600
    )
    first = run_now(job)
    stack.wait_until(lambda: fresh(first).status == Status.RETRYING, 20, "the first failure")
    second = run_now(job)
    stack.wait_until(lambda: fresh(second).status == Status.RETRYING, 20, "the second failure")

    assert (fresh(first).status, fresh(first).reason) == ("cancelled", "cancel_previous")


@on_prefork
def test_the_waiter_starts_when_the_run_that_holds_is_cancelled_between_attempts(
    stack: Stack,
) -> None:
    job = definition(tasks.fail, overlap_policy="queue_one", max_retries=1, retry_delay_seconds=600)
    first = run_now(job)
    stack.wait_until(lambda: fresh(first).status == Status.RETRYING, 20, "the first failure")
    second = run_now(job)
    stack.wait_until(lambda: fresh(second).waits == job.pk, 20, "the second to wait")

    assert cancel(first)
    stack.wait_until(lambda: fresh(second).attempt > 0, 20, "the waiter's start")


# The task's own retry -----------------------------------------------------------------------------


@on_every_pool
@pytest.mark.parametrize("countdown", [0, 1])
def test_self_retry_keeps_the_row_and_the_attempt(stack: Stack, countdown: float) -> None:
    run = end_of(stack, run_task(tasks.self_retry, [2], {"countdown": countdown}))

    assert (run.status, run.reason, run.result) == ("succeeded", "", 2)
    assert (run.attempt, run.retries) == (1, 2)
    assert not RunAttempt.objects.filter(run=run).exists()
    assert times(stack, "self_retry") == 3


@on_prefork
def test_automatic_retries_of_the_task_come_before_those_of_the_schedule(stack: Stack) -> None:
    job = definition(tasks.auto_retry, max_retries=1, retry_delay_seconds=0)
    run = end_of(stack, run_now(job), 30)

    assert (run.status, run.attempt, run.retries) == ("failed", 2, 1)
    assert times(stack, "auto_retry") == 4


@on_prefork
def test_self_retry_holds_its_schedule(stack: Stack) -> None:
    job = definition(tasks.self_retry, 1, 2, overlap_policy="skip")
    first = run_now(job)
    stack.wait_until(lambda: fresh(first).status == Status.RETRYING, 20, "the first retry")
    second = end_of(stack, run_now(job))
    first = end_of(stack, first)

    assert (second.status, first.status, first.retries) == ("skipped", "succeeded", 1)


@on_prefork
def test_self_retry_survives_a_broker_that_is_down(stack: Stack) -> None:
    proxy = Proxy(stack.broker_url).start()
    try:
        with another_worker(stack, env={"CELERY_BROKER_URL": proxy.url}):
            run = run_now(definition(tasks.retry_later, 1, 3, queue="other"))
            noted(stack, "retry_later")
            proxy.stop()
            stack.wait_until(lambda: fresh(run).status != Status.RUNNING, 40, "the retry")
            assert (fresh(run).status, fresh(run).reason) == ("retrying", "own_retry")
            proxy.start()
            stack.wait_until(
                lambda: rescue_pass(later(40)).published, 20, "its second message", poll=1
            )
            run = end_of(stack, run, 40)
    finally:
        proxy.stop()

    assert (run.status, run.attempt, run.retries) == ("succeeded", 1, 1)
    assert times(stack, "retry_later") == 2


# Messages -----------------------------------------------------------------------------------------


@on_every_pool
def test_of_three_equal_messages_one_starts_the_run(stack: Stack) -> None:
    run = unpublished(tasks.sleep, 0.5)
    for _ in range(3):
        send(run)
    vetoed(stack, run, 2)
    run = end_of(stack, run)
    send(run)  # and one that comes after the end
    vetoed(stack, run, 3)

    assert (times(stack, "sleep"), run.status, run.attempt) == (1, "succeeded", 1)
    assert fresh(run).message_id == run.message_id


@on_prefork
def test_a_message_of_an_earlier_attempt_starts_nothing(stack: Stack) -> None:
    job = definition(tasks.fail, max_retries=1, retry_delay_seconds=600)
    run = run_now(job)
    stack.wait_until(lambda: fresh(run).status == Status.RETRYING, 20, "the first failure")
    send(run, attempt=0)
    send(run, attempt=1)
    vetoed(stack, run, 2)

    assert (fresh(run).status, fresh(run).attempt) == ("retrying", 2)
    assert times(stack, "fail") == 1


@on_every_pool
def test_a_message_whose_row_is_gone_is_vetoed(stack: Stack) -> None:
    run = unpublished(tasks.ok)
    TaskRun.objects.filter(pk=run.pk).delete()
    send(run)
    vetoed(stack, run)

    assert times(stack, "ok") == 0


@on_every_pool
def test_messages_without_a_run_are_none_of_our_business(stack: Stack) -> None:
    for headers in (None, {"run_id": "abc"}, {"run_id": 7, "attempt": "x"}, {"attempt": 3}):
        app.send_task(tasks.ok.name, [1], headers=headers, queue="celery")

    noted(stack, "ok", 4)
    assert not TaskRun.objects.exists()


@on_every_pool
def test_a_run_can_be_run_again_as_a_new_run(stack: Stack) -> None:
    first = end_of(stack, run_task(tasks.ok, [1]))
    second = end_of(stack, rerun(first))

    assert (second.status, second.rerun_of_id, second.trigger) == ("succeeded", first.pk, "rerun")
    assert times(stack, "ok") == 2


# The database is away -----------------------------------------------------------------------------


@contextmanager
def cuttable_database(stack: Stack) -> Iterator[Proxy]:
    if stack.database_url.startswith("sqlite"):
        pytest.skip("SQLite has no connection to cut")
    proxy = Proxy(stack.database_url).start()
    try:
        yield proxy
    finally:
        proxy.stop()


@on_every_pool
def test_an_end_that_cannot_be_written_is_kept_until_the_database_is_back(
    stack: Stack, tmp_path: Path
) -> None:
    done = tmp_path / "it may end"
    with (
        cuttable_database(stack) as proxy,
        another_worker(stack, env={"DATABASE_URL": proxy.url}) as worker,
    ):
        job = definition(tasks.hold, str(done), queue="other")
        run = running(stack, run_now(job))
        noted(stack, "hold")
        proxy.stop()
        done.touch()
        stack.wait_until(lambda: "it is kept and tried again" in worker.log, 20, "the kept end")
        assert fresh(run).status == "running"
        proxy.start()
        run = end_of(stack, run, 30)

    assert (run.status, run.result) == ("succeeded", "hold")


@on_prefork
def test_a_run_that_cannot_be_claimed_does_not_start_and_is_published_again(stack: Stack) -> None:
    with (
        cuttable_database(stack) as proxy,
        another_worker(stack, env={"DATABASE_URL": proxy.url}) as worker,
    ):
        proxy.stop()
        run = run_now(definition(tasks.ok, 1, queue="other"))
        stack.wait_until(lambda: f"Run {run.pk} is not started" in worker.log, 30, "the veto")
        assert (fresh(run).status, times(stack, "ok")) == ("published", 0)
        proxy.start()
        rescue_pass(later(40))
        run = end_of(stack, run, 30)

    assert (run.status, times(stack, "ok")) == ("succeeded", 1)


@on_prefork
def test_a_connection_that_died_between_two_runs_is_replaced(stack: Stack) -> None:
    with (
        cuttable_database(stack) as proxy,
        another_worker(stack, concurrency=1, env={"DATABASE_URL": proxy.url}),
    ):
        job = definition(tasks.database_session, queue="other")
        first = end_of(stack, run_now(job))
        proxy.drop()
        second = end_of(stack, run_now(job))

    assert (first.status, second.status) == ("succeeded", "succeeded")
    assert first.result != second.result


@on_prefork
def test_a_connection_that_died_between_two_tasks_that_are_no_runs_is_replaced(
    stack: Stack,
) -> None:
    """`install` keeps connections open between all tasks of the project, not only ours."""
    with (
        cuttable_database(stack) as proxy,
        another_worker(stack, concurrency=1, env={"DATABASE_URL": proxy.url}),
    ):
        tasks.database_session.apply_async(queue="other")
        noted(stack, "database_session")
        proxy.drop()
        tasks.database_session.apply_async(queue="other")
        noted(stack, "database_session", 2)

    first, second = (note.more["session"] for note in stack.executions("database_session"))
    assert first != second
