"""What a run's own next message keeps of its run, and what the row keeps of that message."""

import uuid
from datetime import UTC, datetime

import pytest
from celery import signals
from celery.app.task import Context

from dispatcher.models import TaskRun
from dispatcher.publish.content import content_of
from dispatcher.worker import celery_signals, next_try
from scheduling.database import database_now
from tests.dispatcher.worker.test_gate import make

RUN = str(uuid.UUID(int=7))


def request(**more):
    defaults = {"id": "m", "run_id": RUN, "attempt": 2, "retries": 1, "run_token": uuid.uuid4()}
    return Context(**defaults | more)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"run_id": "theirs"},
        {"run_id": None, "attempt": None},
        {"headers": {"trace": 1}},
        {"suspect": True},
    ],
    ids=["lost", "another", "emptied", "inner", "of a suspect"],
)
@pytest.mark.parametrize(("before", "after"), [({}, 2), ({"tries": 4}, 5)])
def test_a_message_of_the_same_id_gets_its_identity_back(headers, before, after):
    sent = {"id": "m", "task": "t", "retries": 2} | headers
    next_try.see(request(**before), sent, ([], {}, {}))
    assert (sent["run_id"], sent["attempt"], sent["tries"]) == (RUN, 2, after)
    assert "suspect" not in sent


@pytest.mark.parametrize("attempt", [2, 3])
def test_another_message_with_our_name_loses_it_and_a_next_attempt_keeps_its_own(attempt):
    sent = {"id": "other", "run_id": RUN, "attempt": attempt, "tries": 1, "task": "t"}
    next_try.see(mine := request(), sent, ([], {}, {}))
    assert ("run_id" in sent) is (attempt == 3)
    assert not hasattr(mine, "own_retry_at")


@pytest.mark.parametrize("value", [None, "ü\x00", {"a": [1]}, datetime(2026, 1, 5, tzinfo=UTC)])
@pytest.mark.django_db
def test_what_the_message_carried_is_what_is_sent_again(value):
    next_try.see(mine := request(), {"id": "m", "task": "t", "retries": 3}, ((value,), {"k": 1}, 0))
    run = make(status="retrying", attempt=2, token=uuid.uuid4(), next_try=mine.next_try)
    content = content_of(TaskRun.objects.get(pk=run.pk))
    assert content == ("t", [value], {"k": 1}, 3, {"tries": run.retries + 1})


@pytest.mark.parametrize("body", [((object(),), {}, {}), b"pickled", None])
def test_what_is_not_json_is_not_kept(body, caplog):
    next_try.see(mine := request(), {"id": "m", "task": "t"}, body)
    assert mine.next_try is None
    assert [line.action for line in caplog.records] == ["next_try_not_kept"]


@pytest.mark.django_db
def test_the_next_attempt_begins_with_the_runs_own_arguments():
    kept = {"task": "t", "retries": 1, "arguments": "[[1], {}]"}
    run = make(status="running", attempt=1, token=uuid.uuid4(), next_try=kept, args=[5])
    now = database_now()
    from dispatcher.models.ends import End

    assert TaskRun.objects.all().try_again(run, End("lost"), now, now)
    again = TaskRun.objects.get(pk=run.pk)
    assert content_of(again)[:3] == (run.task, [5], {})


def test_our_receiver_is_behind_those_that_were_connected_later():
    def theirs(**signal):
        pass

    signals.before_task_publish.connect(theirs)
    try:
        celery_signals.see_publishes_last()
        last = signals.before_task_publish.receivers[-1][1]
        assert (last() if callable(last) and last is not celery_signals.on_publish else last) is (
            celery_signals.on_publish
        )
    finally:
        signals.before_task_publish.disconnect(theirs)
