"""Messages that a run sends for itself, and headers that others take, lose or use."""

import uuid

import pytest

from dispatcher import run_now, run_task
from dispatcher.models import Status
from dispatcher.tick import rescue_pass
from project.celery import app
from tests.integration.endings.runs import (
    another_worker,
    definition,
    end_of,
    forget_messages,
    fresh,
    later,
    noted,
    on_every_pool,
    on_prefork,
    times,
)
from tests.integration.harness import Stack
from tests.integration.tasks_app import hostile, tasks


@on_prefork
@pytest.mark.parametrize("how", ["headers", "options", "traced", "throw"])
def test_a_retry_stays_its_run_whatever_is_done_to_its_headers(stack: Stack, how: str) -> None:
    run = end_of(stack, run_task(hostile.retries, [how]))

    assert (run.status, run.reason, run.attempt, run.retries) == ("succeeded", "", 1, 2)
    assert run.result == 2
    tries = stack.executions(f"retries {how}")
    assert [t.more["tried"] for t in tries] == [0, 1, 2]
    assert {t.more["run_id"] for t in tries} == {str(run.pk)}


@on_prefork
def test_a_retry_whose_message_was_lost_is_sent_again_with_its_own_arguments(
    stack: Stack,
) -> None:
    run = run_task(hostile.retry_later)
    stack.wait_until(lambda: fresh(run).status == Status.RETRYING, 20, "the retry")
    forget_messages("other")
    with another_worker(stack):
        rescue_pass(later(4000))
        run = end_of(stack, run)
    assert (run.status, run.result, run.attempt, run.retries) == ("succeeded", 7, 1, 1)
    assert (run.args, run.kwargs) == ([], {})


@on_every_pool
def test_what_a_task_puts_in_its_place_is_followed(stack: Stack) -> None:
    run = end_of(stack, run_now(definition(hostile.replaces, "task", "plain")))
    assert (run.status, run.attempt, run.retries, run.result) == ("succeeded", 1, 1, "plain:end")
    assert (times(stack, "plain"), times(stack, "plain:end")) == (1, 1)


@on_prefork
def test_a_canvas_in_its_place_is_an_end_with_its_id(stack: Stack) -> None:
    run = end_of(stack, run_task(hostile.replaces, ["chain", "chain"]))
    assert (run.status, run.reason) == ("succeeded", "replaced")
    assert run.reason_params == {"id": run.message_id}
    noted(stack, "chain:end")
    assert fresh(run).status == "succeeded"


@on_prefork
def test_what_a_task_ignores_itself_is_not_replaced(stack: Stack) -> None:
    run = end_of(stack, run_task(hostile.ignores))
    assert (run.status, run.reason, run.reason_params) == ("succeeded", "ignored", {})


@on_prefork
def test_a_task_that_was_given_a_runs_headers_is_nobodys_run_and_runs(stack: Stack) -> None:
    run = end_of(stack, run_task(hostile.gives_headers_away, ["given away"]))
    noted(stack, "given away")
    assert run.status == "succeeded"


@on_prefork
@pytest.mark.parametrize(
    "headers",
    [
        {"run_id": str(uuid.UUID(int=1))},
        {"run_id": 7, "attempt": 1},
        {"run_id": str(uuid.UUID(int=1)), "attempt": "first"},
        {"attempt": 1},
    ],
    ids=["only the run", "a number", "a word", "only the attempt"],
)
def test_a_message_with_headers_of_its_own_is_none_of_ours(stack: Stack, headers: dict) -> None:
    app.send_task(tasks.record.name, ["own headers"], headers=headers, queue="celery")
    noted(stack, "own headers")
