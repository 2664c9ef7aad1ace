"""The task's own retries, and messages that are doubled, old or not ours."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatcher import rerun, run_now, run_task
from dispatcher.models import RunAttempt, Status, TaskRun
from dispatcher.tick import rescue_pass
from project.celery import app
from tests.integration.endings.runs import (
    CHILDREN,
    another_worker,
    definition,
    end_of,
    fresh,
    later,
    noted,
    on_every_pool,
    on_prefork,
    send,
    times,
    unpublished,
    vetoed,
)
from tests.integration.harness import Stack
from tests.integration.proxy import Proxy
from tests.integration.tasks_app import hostile, tasks


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


# Messages that cannot be taken --------------------------------------------------------------------

_DEEP: list[object] = []
for _level in range(600):
    _DEEP = [_DEEP]


@on_prefork
@pytest.mark.parametrize(
    ("secret", "value"),
    [("", _DEEP), ("x" * 40, "x" * 80_000), ("hunter2", {"__type__": "hunter2", "__value__": 1})],
    ids=["too deep", "too large", "undecodable"],
)
def test_what_would_harm_the_worker_is_refused_at_receipt(
    stack: Stack, secret: str, value: object
) -> None:
    """Sent past the publisher, as RabbitMQ does when it delivers a message again. The worker that
    gets it lives on, does not log the arguments, and the run ends."""
    run = unpublished(tasks.ok)
    headers = {"run_id": str(run.pk), "attempt": run.attempt}
    app.send_task(run.task, [value], headers=headers, queue="celery", argsrepr="", kwargsrepr="")
    run = end_of(stack, run)

    assert (run.status, run.reason) == ("failed", "message_rejected")
    assert end_of(stack, run_task(tasks.ok)).status == "succeeded"
    worker = stack.processes[0]
    assert worker.running
    assert not secret or secret not in worker.log
    assert not secret or secret not in str(run.reason_params)


@on_every_pool
@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize("task", [hostile.receipt_fails, hostile.cannot_be_handed])
def test_what_cannot_be_taken_ends_and_not_the_worker(
    stack: Stack, task: Any, ahead: float
) -> None:
    """More of them than the pool has places, at once and from the timer."""
    at = datetime.now(UTC) + timedelta(seconds=ahead) if ahead else None
    runs = [end_of(stack, run) for run in [run_task(task, at=at) for _ in range(CHILDREN + 2)]]

    assert {(run.status, run.reason) for run in runs} == {("failed", "message_rejected")}
    assert "hunter2" not in str(runs[0].reason_params)
    assert end_of(stack, run_task(tasks.ok)).status == "succeeded"
    assert stack.processes[0].running
