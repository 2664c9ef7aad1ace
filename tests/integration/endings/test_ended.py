"""Runs that end well and runs that fail: what their rows say, by a real worker."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dispatcher import run_now, run_task
from dispatcher.models import Status, TaskRun
from dispatcher.tick import rescue_pass
from project.celery import app
from scheduling.models import ScheduledTask
from tests.integration.endings.runs import (
    another_worker,
    definition,
    end_of,
    forget_messages,
    fresh,
    later,
    on_every_pool,
    on_prefork,
    process_ends,
    send,
    times,
    unpublished,
)
from tests.integration.harness import Stack
from tests.integration.tasks_app import tasks


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
