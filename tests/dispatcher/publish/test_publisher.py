"""Committed runs become messages, each marked by who sent it; nothing is lost on the way."""

from datetime import timedelta

import pytest
from amqp.exceptions import RecoverableConnectionError, UnexpectedFrame

from dispatcher.models import Status, TaskRun
from dispatcher.publish import messages, publisher
from scheduling.database import database_now

pytestmark = pytest.mark.django_db(transaction=True)

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)


def make_run(start_in=10, **columns):
    now = database_now()
    start_at = now + start_in * S
    defaults = {
        "name": "job",
        "task": OK,
        "trigger": "manual",
        "scheduled_for": start_at,
        "start_at": start_at,
        "planned_at": now,
        "publish_at": now,
        "queue": "celery",
    }
    return TaskRun.objects.create(**(defaults | columns))


def publish_due():
    now = database_now()
    return publisher.publish(publisher.take(TaskRun.objects.publishable(now)), now)


def test_a_message_carries_the_run_its_attempt_and_its_arguments(sent_messages):
    run = make_run(args=[1], kwargs={"x": 2}, time_limit=30, soft_time_limit=20)
    assert publish_due() == 1
    (message,) = sent_messages()
    headers = message["headers"]
    assert (headers["run_id"], headers["attempt"], headers["task"]) == (str(run.pk), 0, OK)
    assert headers["timelimit"] == [30, 20]
    assert headers["expires"] is None
    assert message["body"][:2] == [[1], {"x": 2}]
    assert headers["eta"][:19] == run.start_at.isoformat()[:19]


def test_a_published_run_is_looked_at_again_after_its_start(sent_messages):
    run = make_run(10)
    publish_due()
    run.refresh_from_db()
    assert run.status == "published"
    assert run.publish_at == run.start_at + 30 * S
    assert run.published_at is not None


def test_nothing_is_sent_before_the_horizon_reaches_it(sent_messages):
    make_run(120)
    assert publish_due() == 0
    assert sent_messages() == []


def test_what_is_due_in_the_past_is_sent_without_an_eta(sent_messages):
    make_run(-5)
    publish_due()
    assert sent_messages()[0]["headers"]["eta"] is None


def test_a_taken_run_is_nobody_elses_until_the_lease_ends(sent_messages):
    make_run()
    assert len(publisher.take(TaskRun.objects.publishable(database_now()))) == 1
    assert publisher.take(TaskRun.objects.publishable(database_now())) == []
    later = database_now() + 31 * S
    assert len(publisher.take(TaskRun.objects.publishable(later))) == 1


def test_a_broker_that_is_away_leaves_the_runs_due(broken_broker):
    run = make_run()
    with pytest.raises(publisher.BrokerAway, match="wait in the database"):
        publish_due()
    run.refresh_from_db()
    assert run.status == "planned"
    assert run.publish_at <= database_now() + 30 * S


def test_a_run_that_was_claimed_before_the_mark_is_not_marked(sent_messages):
    run = make_run()
    now = database_now()
    taken = publisher.take(TaskRun.objects.publishable(now))
    TaskRun.objects.filter(pk=run.pk).update(status=Status.RUNNING, publish_at=None)
    assert publisher.publish(taken, now) == 0
    run.refresh_from_db()
    assert (run.status, run.publish_at) == ("running", None)


def test_a_run_that_cannot_be_a_message_fails_and_the_others_are_sent(sent_messages, monkeypatch):
    good, bad = make_run(), make_run(name="bad")
    taken = publisher.take(TaskRun.objects.publishable(database_now()))
    next(run for run in taken if run.pk == bad.pk).args = [object()]
    assert publisher.publish(taken, database_now()) == 1
    bad.refresh_from_db()
    good.refresh_from_db()
    assert (bad.status, bad.reason) == ("failed", "not_publishable")
    assert good.status == "published"
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(good.pk)]


@pytest.mark.parametrize("error", [ConnectionResetError, RecoverableConnectionError])
def test_a_pooled_connection_that_died_is_replaced(sent_messages, monkeypatch, error):
    run, real, calls = make_run(), messages.send, []

    def send(*args):  # a mock: no broker closes a connection just when it is asked to
        calls.append(args)
        if len(calls) == 1:
            raise error("gone")
        real(*args)

    monkeypatch.setattr(messages, "send", send)
    assert publish_due() == 1
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(run.pk)]


def test_a_broker_error_of_any_kind_fails_no_run(sent_messages, monkeypatch):
    run = make_run()

    def send(*args):
        raise UnexpectedFrame("of another conversation")

    monkeypatch.setattr(messages, "send", send)
    with pytest.raises(publisher.BrokerAway, match="UnexpectedFrame"):
        publish_due()
    run.refresh_from_db()
    assert run.status == "planned"


def test_each_publish_has_a_message_id_of_its_own(sent_messages):
    run = make_run()
    publish_due()
    TaskRun.objects.filter(pk=run.pk).update(status="planned", publish_at=database_now())
    publish_due()
    assert len({m["headers"]["id"] for m in sent_messages()}) == 2
