"""What a run logs is kept with it, by real workers of every pool."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatcher import run_now
from dispatcher.models import RunAttempt, TaskRun
from scheduling.models import ScheduledTask
from scheduling.registry.masking import MASK
from tests.integration.harness import Stack, empty_broker, test_database_url
from tests.integration.tasks_app import tasks


@pytest.fixture(scope="module", params=["prefork", "threads", "solo"])
def pool(request: Any, django_db_setup: None, tmp_path_factory: Any) -> Iterator[Stack]:
    broker_url = os.environ["CELERY_BROKER_URL"]
    empty_broker(broker_url)
    stack = Stack(tmp_path_factory.mktemp(request.param), test_database_url(), broker_url)
    stack.start("worker", pool=request.param, concurrency=2, queues="celery")
    yield stack
    stack.close()
    empty_broker(broker_url)


@pytest.fixture
def stack(pool: Stack, transactional_db: None) -> Stack:
    return pool


def run(stack: Stack, kwargs: dict[str, Any], **options: Any) -> TaskRun:
    """A run of `talk` that has ended."""
    at = datetime.now(UTC) + timedelta(hours=1)
    job = ScheduledTask.objects.create_one_time("talks", tasks.talk, at, kwargs=kwargs, **options)
    started = run_now(job)

    def ended() -> TaskRun | None:
        row = TaskRun.objects.get(pk=started.pk)
        return row if row.is_ended else None

    return stack.wait_until(ended, 30, "the end of the run")


def said(log: str) -> list[str]:
    """The lines without their times, which are checked here."""
    pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z (.*)"
    return [re.fullmatch(pattern, line)[1] for line in log.splitlines()]  # type: ignore[index]


def lines_of(number: int) -> list[str]:
    return [
        f"INFO shop.orders: try {number}, password {MASK}",
        "WARNING shop.mail: by the task's logger",
        "WARNING celery.redirected: printed",
    ]


SECRET = {"password": "hunter2"}


def test_the_lines_of_a_run_are_kept_in_order_with_its_secrets_masked(stack: Stack) -> None:
    ended = run(stack, SECRET)
    assert ended.status == "succeeded"
    assert said(ended.log) == lines_of(1)
    assert "hunter2" in stack.processes[0].log  # the project's own log is its own affair


def test_each_attempt_keeps_its_own_lines(stack: Stack) -> None:
    ended = run(stack, SECRET | {"tries": 2}, max_retries=1, retry_delay_seconds=0)
    assert (ended.status, ended.attempt) == ("succeeded", 2)
    assert said(ended.log) == lines_of(2)
    (before,) = RunAttempt.objects.filter(run=ended)
    assert said(before.log) == lines_of(1)


def test_the_tasks_own_retries_are_one_attempt_with_one_log(stack: Stack) -> None:
    ended = run(stack, SECRET | {"tries": 2, "own": True})
    assert (ended.status, ended.attempt, ended.retries) == ("succeeded", 1, 1)
    assert said(ended.log) == lines_of(1) + lines_of(2)


def test_what_a_killed_process_had_logged_is_gone(stack: Stack) -> None:
    if "prefork" not in stack.processes[0].log:
        pytest.skip("there is no pool child to kill")
    ended = run(stack, SECRET | {"end": "kill"})
    assert (ended.status, ended.log) == ("lost", "")
