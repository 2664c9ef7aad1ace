"""Runs that raise what is no Exception, and runs that die where messages are acknowledged late."""

import itertools
from pathlib import Path

from dispatcher import run_now
from dispatcher.tick import rescue_pass
from tests.integration.endings.runs import (
    another_worker,
    definition,
    end_of,
    end_with_rescue,
    fresh,
    later,
    on_every_pool,
    on_prefork,
    running,
    times,
)
from tests.integration.harness import Stack
from tests.integration.tasks_app import hostile, tasks


@on_every_pool
def test_what_is_no_exception_is_a_failure_with_its_traceback_at_once(stack: Stack) -> None:
    """And costs nobody else his run."""
    with another_worker(stack, concurrency=3) as worker:
        beside = run_now(definition(tasks.sleep, 3, "beside", queue="other"))
        if stack.pool != "solo":  # type: ignore[attr-defined]
            running(stack, beside)
        for name in hostile.ERRORS:
            run = end_of(stack, run_now(definition(hostile.raises, name, queue="other")), 10)
            assert (name, run.status, run.reason) == (name, "failed", "exception")
            assert run.exception.startswith(name)
            assert "hostile.py" in run.traceback and "raise ERRORS[name]" in run.traceback
            assert times(stack, name) == 1
        assert end_of(stack, beside).status == "succeeded"
        assert worker.running


@on_prefork
def test_what_is_no_exception_is_tried_again_while_retries_are_left(stack: Stack) -> None:
    job = definition(hostile.raises, "CancelledError", max_retries=1, retry_delay_seconds=0)
    run = end_of(stack, run_now(job))
    assert (run.status, run.attempt) == ("failed", 2)
    assert run.attempts.get().exception.startswith("CancelledError")


@on_prefork
def test_acknowledged_late_or_not_put_back_or_not_on_lost_decides(
    stack: Stack, tmp_path: Path
) -> None:
    """What Celery sends again is vetoed: only the schedule's rule starts a run again."""
    runs = {}
    with another_worker(stack, concurrency=4):
        for (late, put_back), on_lost in itertools.product(hostile.DYING, ("fail", "rerun")):
            key = f"late {late}, put back {put_back}, {on_lost}"
            job = definition(
                hostile.DYING[late, put_back],
                str(tmp_path / key),
                key,
                queue="other",
                on_lost=on_lost,
            )
            runs[key] = run_now(job)
        for key, run in runs.items():
            ended = end_with_rescue(stack, run)
            expected = ("succeeded", 2) if key.endswith("rerun") else ("lost", 1)
            assert (key, ended.status, ended.attempt) == (key, *expected)
        rescue_pass(later(40))
    for key, run in runs.items():
        assert (key, times(stack, key)) == (key, 2 if key.endswith("rerun") else 1)
        assert fresh(run).is_ended
