"""A queue that the broker refuses, or keeps for itself: its runs wait or end, the others go on."""

import logging
import os
from datetime import timedelta

import pytest
from celery.app import app_or_default
from django.core.exceptions import ValidationError
from kombu import Queue

from dispatcher import rerun
from dispatcher.models import TaskRun
from dispatcher.publish import broker, publisher
from dispatcher.tick import tick
from dispatcher.upkeep import rescue
from dispatcher.watch.doctor import needs
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.rows import OK, job
from tests.integration.harness import empty_broker

pytestmark = pytest.mark.django_db(transaction=True)

S = timedelta(seconds=1)
SEPARATOR = "\x06\x16"


@pytest.fixture
def connection(sent_messages):
    with app_or_default().connection_for_write() as connection:
        yield connection
    empty_broker(os.environ["CELERY_BROKER_URL"])


@pytest.fixture
def redis(connection):
    if connection.transport.driver_type != "redis":
        pytest.skip("keys of other types are in Redis")
    client = connection.default_channel.client
    yield client
    for key in client.keys("taken*"):
        client.delete(key)


@pytest.fixture
def rabbitmq(connection):
    if connection.transport.driver_type != "amqp":
        pytest.skip("declared queues are in RabbitMQ")
    return connection


def due_run(queue, age=0, **columns):
    now = database_now()
    times = dict.fromkeys(("scheduled_for", "start_at", "planned_at"), now - age * S)
    options = {"name": queue, "task": OK, "trigger": "manual", "queue": queue, "publish_at": now}
    return TaskRun.objects.create(**options | times | columns)


def status(run):
    return TaskRun.objects.get(pk=run.pk).status


# What the broker refuses --------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["innocent", "other"])
def test_a_key_that_is_no_list_delays_its_own_runs_only(redis, sent_messages, caplog, first):
    redis.set("taken", "a session of somebody")
    ages = (1, 2) if first == "innocent" else (2, 1)
    bad, good = due_run("taken", ages[0]), due_run("celery", ages[1])
    with caplog.at_level(logging.ERROR):
        done = tick()
    assert (done.error, status(good), status(bad)) == ("", "published", "planned")
    # Twice, perhaps: what a round trip came to that failed in part, Redis does not say.
    assert {m["headers"]["run_id"] for m in sent_messages()} == {str(good.pk)}
    assert "queue_refused" in {getattr(record, "action", "") for record in caplog.records}
    redis.delete("taken")
    TaskRun.objects.filter(pk=bad.pk).update(publish_at=database_now())
    tick()
    assert status(bad) == "published"


def test_it_alone_in_a_batch_is_no_broker_that_is_away(redis, monkeypatch):
    """The next batch, with runs of others, is sent all the same."""
    monkeypatch.setattr(publisher, "SENT_AT_ONCE", 1)
    redis.sadd("taken", "a", "b")
    bad, good = due_run("taken", 2), due_run("celery", 1)
    publisher.publish(publisher.take(TaskRun.objects.publishable(database_now())), database_now())
    publisher.publish(publisher.take(TaskRun.objects.publishable(database_now())), database_now())
    assert (status(bad), status(good)) == ("planned", "published")


def test_rescue_sends_others_again_though_one_queue_cannot_be_asked(redis, sent_messages):
    redis.set("taken", "x")
    old = {"status": "published", "publish_at": database_now() - S}
    bad, good = due_run("taken", 60, **old), due_run("celery", 60, **old)
    assert broker.messages_ready("taken") == 0
    assert rescue.publish_again(database_now()) == 1
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(good.pk)]
    assert status(bad) == "published"


def test_a_broker_that_is_full_is_away_for_everybody(redis):
    """Not every answer of Redis concerns one queue."""
    due_run("celery")
    redis.config_set("maxmemory", "1")
    try:
        assert "does not take messages" in tick().error
    finally:
        redis.config_set("maxmemory", "0")


def test_a_queue_that_was_declared_with_other_arguments_gets_its_messages(rabbitmq):
    """As docs/deployment.md recommends for `priority`; Celery's own declaration is refused."""
    channel = rabbitmq.channel()
    channel.queue_declare(
        "ranked", durable=True, auto_delete=False, arguments={"x-max-priority": 9}
    )
    ranked, good = due_run("ranked", 2, priority=9), due_run("celery", 1)
    try:
        assert tick().error == ""
        assert (status(ranked), status(good)) == ("published", "published")
        message = channel.basic_get("ranked")
        assert message.application_headers["run_id"] == str(ranked.pk)
    finally:
        channel.queue_delete("ranked")


def test_a_queue_of_another_connection_delays_its_own_runs_only(rabbitmq, sent_messages):
    channel = rabbitmq.channel()
    channel.queue_declare("mine", exclusive=True)
    bad, good = due_run("mine", 2), due_run("celery", 1)
    assert tick().error == ""
    assert (status(bad), status(good)) == ("planned", "published")
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(good.pk)]


def test_doctor_names_a_queue_that_is_refused(redis):
    redis.set("taken", "x")
    job("a", queue="taken")
    job("b", queue="celery")
    codes = {f.code: f.sentence for f in needs.check_refused_queues(database_now())}
    assert set(codes) == {"queue_refused"}
    assert "taken" in codes["queue_refused"]


# What Celery does not know ------------------------------------------------------------------------


@pytest.fixture
def declared_only(connection, monkeypatch):
    """`task_create_missing_queues` is False; `celery` and `dispatcher` are declared."""
    queues = app_or_default().amqp.queues
    for name in ("celery", "dispatcher"):
        assert queues[name]
    monkeypatch.setattr(queues, "create_missing", False)


def test_a_queue_that_celery_does_not_know_ends_its_own_runs_only(declared_only, sent_messages):
    bad, good = due_run("undeclared", 2), due_run("celery", 1)
    assert tick().error == ""
    bad.refresh_from_db()
    assert (bad.status, bad.reason) == ("failed", "not_publishable")
    assert "Celery knows no queue “undeclared”" in bad.reason_params["message"]
    assert status(good) == "published"
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(good.pk)]


def test_it_is_refused_where_it_is_given(declared_only):
    with pytest.raises(ValidationError) as refused:
        job(queue="undeclared")
    assert [e.code for e in refused.value.error_dict["queue"]] == ["undeclared_queue"]
    with pytest.raises(ValidationError, match="task_create_missing_queues"):
        rerun(due_run("undeclared", status="failed"))
    job(queue="celery")


def test_doctor_names_it(declared_only):
    job("a", queue="celery")
    ScheduledTask.objects.filter(pk=job("b").pk).update(queue="undeclared")
    [finding] = needs.check_refused_queues(database_now())
    assert finding.code == "queue_refused"
    assert "'undeclared'" in finding.sentence and "task_queues" in finding.sentence


def work():
    """Is not called here."""


# Celery would rather have routes; it takes the options all the same, and so do hosts.
@pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")
def test_a_queue_that_the_task_brings_along_need_not_be_known(declared_only, connection):
    app, name = app_or_default(), "brought along"
    task = app.task(name="shop.brings", queue=Queue(name, routing_key=name))(work)
    try:
        run = due_run(name, task=task.name)
        assert tick().error == ""
        assert (status(run), broker.ready_in(connection, name)) == ("published", 1)
    finally:
        app.tasks.pop(task.name)
        connection.default_channel.queue_delete(name)


# What is refused by name --------------------------------------------------------------------------

RESERVED = (
    "dispatcher",
    "amq.x",
    "amq.gen-JzTY20BRgKO",
    "_kombu.binding.celery",
    "unacked",
    "unacked_index",
    "unacked_mutex",
    "celeryev",
    "celeryev.7f",
    "celery@host.celery.pidbox",
    "1f.reply.celery.pidbox",
    "celery_delayed_27",
    "celery-task-meta-1",
)
MALFORMED = (
    f"dispatcher{SEPARATOR}3",
    f"celery{SEPARATOR}9",
    "a\nb",
    "a\x7f",
    " reports",
    "reports ",
    "é" * 128,
    "x\u200b",
)
FINE = ("celery", "reports", "high priority", "北京", "dispatcher2", "amqp", "x" * 255, "a.b-c_d:e")


@pytest.mark.parametrize("name", RESERVED)
def test_a_reserved_name_is_refused(name):
    with pytest.raises(ValidationError) as refused:
        job(queue=name)
    assert [e.code for e in refused.value.error_dict["queue"]] == ["reserved_queue"]


@pytest.mark.parametrize("name", MALFORMED, ids=ascii)
def test_a_malformed_name_is_refused(name):
    with pytest.raises(ValidationError) as refused:
        job(queue=name)
    assert "malformed_queue" in [e.code for e in refused.value.error_dict["queue"]]


@pytest.mark.parametrize("name", FINE, ids=ascii)
def test_any_other_name_is_accepted(name):
    job(queue=name)


def test_the_separator_of_priorities_is_the_one_that_is_configured(monkeypatch):
    options = dict(app_or_default().conf.broker_transport_options or {})
    monkeypatch.setitem(app_or_default().conf, "broker_transport_options", options | {"sep": ":"})
    with pytest.raises(ValidationError):
        job(queue="dispatcher:3")
    job(queue="reports:3")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", [*RESERVED, *MALFORMED], ids=ascii)
def test_a_row_that_has_such_a_name_all_the_same_is_never_sent(connection, name):
    """By `QuerySet.update`, raw SQL, or from before this rule."""
    bad, good = due_run("celery", 2), due_run("celery", 1)
    TaskRun.objects.filter(pk=bad.pk).update(queue=name)
    assert tick().error == ""
    bad.refresh_from_db()
    assert (bad.status, bad.reason) == ("failed", "not_publishable")
    assert bad.reason_params["message"]
    assert status(good) == "published"
    assert empty_of(connection, f"dispatcher{SEPARATOR}3")


def empty_of(connection, queue):
    return broker.ready_in(connection, queue) == 0
