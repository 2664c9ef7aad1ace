"""A run is about to start while another one of its scheduled task is running."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

import dispatcher
from dispatcher.models import Status, TaskRun
from dispatcher.models.claim import Claim
from dispatcher.models.ends import End
from dispatcher.worker import gate, overlap, record
from scheduling.database import database_now
from scheduling.models import ScheduledTask

pytestmark = pytest.mark.django_db(transaction=True)

OK = "tests.integration.tasks_app.tasks.ok"
START = datetime(2026, 1, 1, tzinfo=UTC)


def make(policy):
    return ScheduledTask.objects.create_cron("job", OK, "0 6 * * *", overlap_policy=policy)


def claim(run, token):
    """What the gate does with a first message of the run."""
    return gate._claim(
        Claim(
            run_id=run.pk,
            attempt=0,
            retries=0,
            token=token,
            worker="w",
            worker_uuid=None,
            pid=1,
            message_id=str(uuid4()),
        )
    )


@pytest.mark.parametrize("policy", ["skip", "queue_one", "cancel_previous"])
def test_backfilled_runs_take_turns_and_none_is_skipped(sent_messages, policy):
    runs = dispatcher.backfill(make(policy), START, START + timedelta(days=5))
    sent_messages()
    holder, token = runs[0], uuid4()
    assert claim(holder, token) is True
    for run in runs[1:]:
        assert claim(run, uuid4()) is False
    for following in runs[1:]:
        assert record.succeed(holder.pk, token, End(Status.SUCCEEDED)) is True
        assert [m["headers"]["run_id"] for m in sent_messages()] == [str(following.pk)]
        holder, token = following, uuid4()
        assert claim(holder, token) is True
    record.succeed(holder.pk, token, End(Status.SUCCEEDED))
    assert set(TaskRun.objects.values_list("status", "reason")) == {("succeeded", "")}


def test_runs_that_catch_up_take_turns(sent_messages):
    task = make("skip")
    late, now = database_now() - timedelta(hours=1), database_now()
    columns = {"scheduled_task": task, "name": "job", "task": OK, "revision": 1}
    columns |= {"planned_at": now, "start_at": late, "status": "published"}
    first, second = (
        TaskRun.objects.create(slot=slot, scheduled_for=slot, **columns)
        for slot in (late, late + timedelta(seconds=10))
    )
    assert claim(first, uuid4()) is True
    assert claim(second, uuid4()) is False
    second.refresh_from_db()
    assert (second.status, second.reason) == ("published", "takes_turns")


def test_a_second_run_is_skipped_under_skip(sent_messages):
    task = make("skip")
    first, second = dispatcher.run_now(task), dispatcher.run_now(task)
    assert claim(first, uuid4()) is True
    assert claim(second, uuid4()) is False
    second.refresh_from_db()
    assert (second.status, second.reason_params) == ("skipped", {"running": str(first.pk)})


def test_one_may_wait_under_queue_one_and_the_next_is_skipped(sent_messages):
    task = make("queue_one")
    first, second, third = (dispatcher.run_now(task) for _ in range(3))
    token = uuid4()
    claim(first, token)
    assert claim(second, uuid4()) is False
    assert claim(third, uuid4()) is False
    third.refresh_from_db()
    assert third.status == "skipped"
    sent_messages()
    record.succeed(first.pk, token, End(Status.SUCCEEDED))
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(second.pk)]
    assert claim(second, uuid4()) is True


def test_the_new_run_replaces_the_running_one_under_cancel_previous(sent_messages, monkeypatch):
    asked = []
    monkeypatch.setattr(overlap, "terminate", lambda run: asked.append(run.pk))
    task = make("cancel_previous")
    first, second = dispatcher.run_now(task), dispatcher.run_now(task)
    token = uuid4()
    claim(first, token)
    assert claim(second, uuid4()) is True
    assert asked == [first.pk]
    first.refresh_from_db()
    assert (first.status, first.reason) == ("cancelled", "cancel_previous")
    assert record.succeed(first.pk, token, End(Status.SUCCEEDED)) is False


def test_under_allow_they_run_beside_each_other(sent_messages):
    task = make("allow")
    assert claim(dispatcher.run_now(task), uuid4()) is True
    assert claim(dispatcher.run_now(task), uuid4()) is True
