"""What people do to a run at the very moment at which a worker does something with it."""

from typing import Any
from uuid import uuid4

import pytest

import dispatcher
from dispatcher.models import Status, TaskRun
from dispatcher.models.ends import End
from dispatcher.models.verbs import TaskRunQuerySet
from dispatcher.signals import run_finished
from dispatcher.worker import record
from scheduling.models import ScheduledTask
from tests.dispatcher.workers import Crew, fresh, start

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("sent_messages")]

OK = "tests.integration.tasks_app.tasks.ok"
ROUNDS = 40


@pytest.fixture
def task() -> ScheduledTask:
    return ScheduledTask.objects.create_interval("job", OK, 3600, max_retries=1)


def succeed(run: TaskRun, token: Any) -> bool:
    return record.succeed(run.pk, token, End(Status.SUCCEEDED))


def fail(run: TaskRun, token: Any) -> bool:
    return record.fail(run.pk, token, End(Status.FAILED, "exception"))


def test_a_cancellation_and_a_start_at_once_end_cancelled(crew: Crew, task: Any) -> None:
    for _ in range(ROUNDS):
        run = dispatcher.run_now(task)
        cancelled, token = crew.at_once(
            lambda run=run: dispatcher.cancel(run), lambda run=run: start(run)
        )
        assert cancelled is True
        assert (fresh(run).status, fresh(run).reason) == ("cancelled", "by_person")
        if token is not None:  # it had started, and cannot record its end any more
            assert succeed(run, token) is False
        assert start(run) is None


def test_of_a_cancellation_and_an_end_at_once_one_wins(crew: Crew, task: Any) -> None:
    for _ in range(ROUNDS):
        run = dispatcher.run_now(task)
        token = start(run)
        cancelled, ended = crew.at_once(
            lambda run=run: dispatcher.cancel(run), lambda run=run, token=token: succeed(run, token)
        )
        assert cancelled is not ended
        assert fresh(run).status == ("cancelled" if cancelled else "succeeded")


def test_a_cancellation_and_a_failure_with_retries_left_at_once_end_cancelled(
    crew: Crew, task: Any
) -> None:
    for _ in range(ROUNDS):
        run = dispatcher.run_now(task)
        token = start(run)
        cancelled, _retried = crew.at_once(
            lambda run=run: dispatcher.cancel(run), lambda run=run, token=token: fail(run, token)
        )
        assert cancelled is True
        assert fresh(run).status == "cancelled"


def test_of_two_cancellations_at_once_one_is_told_that_it_was(crew: Crew, task: Any) -> None:
    for number in range(ROUNDS):
        run = dispatcher.run_now(task)
        if number % 2:
            start(run)
        answers = crew.at_once(*[lambda run=run: dispatcher.cancel(run)] * 2)
        assert sorted(answers) == [False, True]


def test_a_run_that_fails_between_the_two_looks_of_cancel_is_cancelled_all_the_same(
    task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Running at the first look, retrying at the second: neither finds what it looks for."""
    run = dispatcher.run_now(task)
    token = start(run)
    close = TaskRunQuerySet.close
    failures = [lambda: fail(run, token)]

    def close_and_then_fail(self: Any, *args: Any, **params: Any) -> int:
        closed = close(self, *args, **params)
        while failures:
            failures.pop()()
        return closed

    monkeypatch.setattr(TaskRunQuerySet, "close", close_and_then_fail)
    assert dispatcher.cancel(run) is True
    assert (fresh(run).status, fresh(run).attempt) == ("cancelled", 2)


def test_a_rerun_and_the_late_end_of_the_lost_run_at_once_both_count(crew: Crew, task: Any) -> None:
    for _ in range(10):
        run = dispatcher.run_now(task)
        token = start(run)
        TaskRun.objects.all().end(run.pk, token, End(Status.LOST, "lease_ran_out"))
        again, ended = crew.at_once(
            lambda run=run: dispatcher.rerun(run), lambda run=run, token=token: succeed(run, token)
        )
        assert ended is True
        assert (fresh(run).status, again.rerun_of_id) == ("succeeded", run.pk)
        assert start(again) is not None


def test_an_end_whose_answer_was_lost_is_repeated_and_what_follows_it_happens(
    task: Any, sent_messages: Any
) -> None:
    """The connection dies after the commit: the end is in the row, and nobody was told."""
    ScheduledTask.objects.filter(pk=task.pk).update(overlap_policy="queue_one", max_retries=0)
    told: list[Any] = []

    def tell(run: TaskRun, **signal: Any) -> None:
        told.append(run.pk)

    run_finished.connect(tell)
    try:
        for status, write in ((Status.SUCCEEDED, record.succeed), (Status.FAILED, record.fail)):
            holder, waiter = dispatcher.run_now(task), dispatcher.run_now(task)
            token = start(holder)
            assert token is not None and start(waiter) is None
            TaskRun.objects.all().end(holder.pk, token, End(status, "exception"))
            sent_messages()
            assert write(holder.pk, token, End(status, "exception")) is True
            assert told.pop() == holder.pk and not told
            assert [m["headers"]["run_id"] for m in sent_messages()] == [str(waiter.pk)]
            assert succeed(waiter, start(waiter)) is True
            told.clear()
    finally:
        run_finished.disconnect(tell)


def test_a_token_that_is_not_the_claims_ends_nothing(task: Any) -> None:
    run = dispatcher.run_now(task)
    assert start(run) is not None
    assert succeed(run, uuid4()) is False
    assert fail(run, uuid4()) is False
    assert fresh(run).status == "running"
