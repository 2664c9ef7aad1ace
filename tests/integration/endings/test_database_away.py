"""Runs that start and end while the database is away: what their rows say."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dispatcher import run_now
from dispatcher.tick import rescue_pass
from tests.integration.endings.runs import (
    another_worker,
    definition,
    end_of,
    fresh,
    later,
    noted,
    on_every_pool,
    on_prefork,
    running,
    times,
)
from tests.integration.harness import Stack
from tests.integration.proxy import Proxy
from tests.integration.tasks_app import tasks


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
    """Nor does a task of the project meet a dead one, whether it keeps its connections or not."""
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
