"""Runs that are cancelled, missed or skipped, and those that take turns: what their rows say."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from dispatcher import backfill, cancel, run_now, run_task
from dispatcher.models import Status
from project.celery import app
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.integration.endings.runs import (
    another_worker,
    definition,
    end_of,
    fresh,
    noted,
    on_every_pool,
    on_prefork,
    on_threads,
    process_ends,
    running,
    send,
    times,
    unpublished,
    vetoed,
)
from tests.integration.harness import Stack
from tests.integration.tasks_app import tasks


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
