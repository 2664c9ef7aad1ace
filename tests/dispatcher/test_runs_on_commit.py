"""What people ask for inside a transaction happens once when it commits, and else not at all."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import transaction

import dispatcher
from dispatcher.models import Status, TaskRun
from dispatcher.models.claim import Claim
from dispatcher.models.ends import End
from dispatcher.worker import overlap
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.workers import fresh

pytestmark = pytest.mark.django_db(transaction=True)

OK = "tests.integration.tasks_app.tasks.ok"
START = datetime(2026, 1, 1, tzinfo=UTC)
S = timedelta(seconds=1)


class Stopped(Exception):
    """What makes a request roll back."""


@pytest.fixture
def task(sent_messages):
    task = ScheduledTask.objects.create_cron("daily", OK, "0 6 * * *", overlap_policy="queue_one")
    sent_messages()
    return task


def started(task):
    """A run that a worker has claimed; its message id is known to that worker."""
    run = dispatcher.run_now(task)
    message_id = str(uuid4())
    claim = Claim(run.pk, 0, 0, uuid4(), "worker", None, 1, message_id)
    assert TaskRun.objects.claim(claim) is True
    return run, message_id


def waiter_of(task):
    run = dispatcher.run_now(task)
    assert TaskRun.objects.all().wait(run.pk, task.pk) is True
    return run


def run_ids(messages):
    return [message["headers"]["run_id"] for message in messages]


def ended(task):
    run = dispatcher.run_now(task)
    TaskRun.objects.filter(pk=run.pk).close(Status.FAILED, "exception")
    return run


REQUESTS = {
    "run_now": (lambda task: dispatcher.run_now(task), 1),
    "run_task": (lambda task: dispatcher.run_task(OK, [7]), 1),
    "run_task at a time": (lambda task: dispatcher.run_task(OK, at=database_now() + 30 * S), 1),
    "rerun": (lambda task: dispatcher.rerun(TaskRun.objects.get(status="failed")), 1),
    "backfill": (lambda task: dispatcher.backfill(task, START, START + timedelta(days=3)), 3),
}


@pytest.mark.parametrize("request_of", REQUESTS)
def test_runs_asked_for_are_written_and_sent_once_by_the_commit(task, sent_messages, request_of):
    ask, count = REQUESTS[request_of]
    before = {ended(task).pk}
    sent_messages()
    with transaction.atomic():
        ask(task)
        assert sent_messages() == []
    made = TaskRun.objects.exclude(pk__in=before).filter(
        trigger__in=["manual", "backfill", "rerun"]
    )
    assert sorted(run_ids(sent_messages())) == sorted(str(run.pk) for run in made)
    assert [run.status for run in made] == ["published"] * count


@pytest.mark.parametrize("request_of", REQUESTS)
def test_of_runs_asked_for_nothing_is_left_by_a_rollback(task, sent_messages, told, request_of):
    ask, _count = REQUESTS[request_of]
    ended(task)
    sent_messages()
    before = list(TaskRun.objects.values_list("pk", "status"))
    with pytest.raises(Stopped), transaction.atomic():
        ask(task)
        raise Stopped
    assert list(TaskRun.objects.values_list("pk", "status")) == before
    assert sent_messages() == []
    assert told == []


def test_a_cancelled_process_is_terminated_and_told_of_once_by_the_commit(
    task, sent_messages, revoked, told
):
    run, message_id = started(task)
    waiter = waiter_of(task)
    sent_messages()
    with transaction.atomic():
        assert dispatcher.cancel(run, by="ada") is True
        assert (revoked, told, sent_messages()) == ([], [], [])
    assert revoked == [(message_id, True)]
    assert told == [(run.pk, "cancelled")]
    assert run_ids(sent_messages()) == [str(waiter.pk)]


def test_a_cancellation_that_is_rolled_back_terminates_nothing_and_wakes_nobody(
    task, sent_messages, revoked, told
):
    run, _message_id = started(task)
    waiter = waiter_of(task)
    sent_messages()
    with pytest.raises(Stopped), transaction.atomic():
        assert dispatcher.cancel(run, by="ada") is True
        raise Stopped
    assert (revoked, told, sent_messages()) == ([], [], [])
    assert (fresh(run).status, fresh(run).holds) == ("running", task.pk)
    assert (fresh(waiter).status, fresh(waiter).waits) == ("published", task.pk)


@pytest.mark.parametrize("commits", [True, False])
def test_a_run_that_waits_to_start_is_cancelled_by_the_commit_only(
    task, sent_messages, revoked, told, commits
):
    run = dispatcher.run_now(task)
    sent_messages()
    try:
        with transaction.atomic():
            assert dispatcher.cancel(run) is True
            assert told == []
            if not commits:
                raise Stopped
    except Stopped:
        pass
    assert fresh(run).status == ("cancelled" if commits else "published")
    assert told == ([(run.pk, "cancelled")] if commits else [])
    assert (revoked, sent_messages()) == ([], [])


def test_the_holder_between_two_attempts_is_cancelled_and_wakes_the_waiter_by_the_commit_only(
    task, sent_messages, told
):
    run, _message_id = started(task)
    waiter = waiter_of(task)
    now = database_now()
    again = (End(Status.FAILED), now + 600 * S, now + 600 * S)
    assert TaskRun.objects.all().try_again(fresh(run), *again)
    sent_messages()
    with pytest.raises(Stopped), transaction.atomic():
        assert dispatcher.cancel(run) is True
        raise Stopped
    assert (fresh(run).status, fresh(run).holds) == ("retrying", task.pk)
    assert (told, sent_messages()) == ([], [])
    with transaction.atomic():
        assert dispatcher.cancel(run) is True
        assert sent_messages() == []
    assert told == [(run.pk, "cancelled")]
    assert run_ids(sent_messages()) == [str(waiter.pk)]


def test_a_cancelled_run_is_told_of_once_and_not_where_it_had_ended(task, told):
    run = dispatcher.run_now(task)
    assert dispatcher.cancel(run) is True
    assert dispatcher.cancel(run) is False
    assert told == [(run.pk, "cancelled")]


@pytest.mark.parametrize("commits", [True, False])
def test_who_waits_is_woken_by_the_commit_only(task, sent_messages, commits):
    waiter = waiter_of(task)
    sent_messages()
    try:
        with transaction.atomic():
            overlap.wake(task.pk)
            assert sent_messages() == []
            if not commits:
                raise Stopped
    except Stopped:
        pass
    assert run_ids(sent_messages()) == ([str(waiter.pk)] if commits else [])


def test_what_was_asked_for_stays_when_the_broker_is_away(broken_broker, revoked):
    task = ScheduledTask.objects.create_cron("daily", OK, "0 6 * * *")
    with transaction.atomic():
        run = dispatcher.run_now(task)
    assert (fresh(run).status, fresh(run).published_at) == ("planned", None)
    assert fresh(run).publish_at <= database_now() + 30 * S


def test_a_running_run_is_cancelled_where_its_worker_cannot_be_asked(broken_broker, caplog):
    task = ScheduledTask.objects.create_cron("daily", OK, "0 6 * * *")
    run, _message_id = started(task)
    assert dispatcher.cancel(run) is True
    assert fresh(run).status == "cancelled"
    assert "terminate_failed" in {getattr(record, "action", "") for record in caplog.records}
