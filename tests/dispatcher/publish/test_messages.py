"""What a message carries to the worker; all else a run is stays in its row."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from celery._state import _task_stack
from celery.app import app_or_default

from dispatcher.models import TaskRun
from dispatcher.publish import messages, publisher
from scheduling.database import database_now
from tests.integration.tasks_app.tasks import ok

pytestmark = pytest.mark.django_db(transaction=True)

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def due_run(**columns):
    """A run that its maker has leased and not sent."""
    defaults = {"name": "job", "task": OK, "trigger": "manual", "queue": "celery"}
    defaults |= {"scheduled_for": NOW, "start_at": NOW, "planned_at": NOW}
    return TaskRun.objects.create(**defaults | {"publish_at": database_now()} | columns)


@pytest.fixture
def message_of(sent_messages):
    """Sends one run, at NOW, and takes its message from the queue."""

    def send(**columns):
        assert publisher.publish([due_run(**columns)], NOW) == 1
        (message,) = sent_messages()
        return message

    return send


@pytest.fixture(params=["together", "one by one"])
def way(request, monkeypatch):
    """Both ways to the broker: on RabbitMQ there is the second only."""
    if request.param == "one by one":
        monkeypatch.setattr(messages, "takes_batches", lambda producer: False)


@pytest.fixture
def other_queue():
    """A queue of this test's own; takes the run ids that wait in it."""
    app, name = app_or_default(), f"other-{uuid4()}"
    with app.connection_for_write() as connection:
        queue = connection.SimpleQueue(app.amqp.queues[name])

        def take():
            found = []
            while True:
                try:
                    message = queue.get(block=False)
                except queue.Empty:
                    return found
                message.ack()
                found.append(message.headers["run_id"])

        take.name = name
        yield take
        queue.queue.delete()
        queue.close()


@pytest.mark.parametrize(
    ("start_in", "with_eta"), [(-3600, False), (-1, False), (0, False), (1, True), (90, True)]
)
@pytest.mark.usefixtures("way")
def test_a_start_that_is_still_to_come_is_the_messages_eta(message_of, start_in, with_eta):
    start_at = NOW + start_in * S
    eta = message_of(start_at=start_at)["headers"]["eta"]
    assert (eta and datetime.fromisoformat(eta)) == (start_at if with_eta else None)


@pytest.mark.parametrize("attempt", [0, 2, 3])
def test_it_names_the_run_and_the_attempt_that_it_is_for(message_of, attempt):
    run_id = uuid4()
    headers = message_of(id=run_id, attempt=attempt)["headers"]
    assert (headers["run_id"], headers["attempt"]) == (str(run_id), attempt)
    assert headers["id"] != str(run_id)


@pytest.mark.parametrize(
    ("columns", "retries"),
    [
        ({"status": "planned"}, 0),
        ({"status": "retrying", "attempt": 1, "token": uuid4(), "retries": 0}, 1),
        ({"status": "retrying", "attempt": 1, "token": uuid4(), "retries": 2}, 3),
        ({"status": "retrying", "attempt": 2, "token": None}, 0),
    ],
    ids=["first", "its own first retry", "its own third retry", "the next attempt"],
)
def test_the_tasks_own_retries_go_on_counting_where_they_were(message_of, columns, retries):
    assert message_of(**columns)["headers"]["retries"] == retries


def test_it_tells_neither_its_arguments_to_the_logs_nor_its_expiry_to_celery(message_of):
    message = message_of(args=["secret"], kwargs={"x": "secret"}, expires_at=NOW + 60 * S)
    assert "secret" not in json.dumps(message["headers"])
    assert message["headers"]["expires"] is None
    assert message["headers"]["ignore_result"] is True
    assert message["body"][:2] == [["secret"], {"x": "secret"}]


@pytest.mark.parametrize(
    ("hard", "soft"), [(None, None), (30, None), (None, 20), (30, 20)], ids=str
)
def test_its_time_limits_are_those_of_the_run(message_of, hard, soft):
    headers = message_of(time_limit=hard, soft_time_limit=soft)["headers"]
    assert headers["timelimit"] == [hard, soft]


@pytest.mark.parametrize(
    ("priority", "on_redis", "on_rabbitmq"), [(9, 0, 9), (0, 9, 0), (4, 5, 4), (None, 0, None)]
)
def test_nine_is_first_on_every_broker(message_of, priority, on_redis, on_rabbitmq):
    with app_or_default().connection_for_write() as connection:
        redis = connection.transport.driver_type == "redis"
    properties = message_of(priority=priority)["properties"]
    assert properties.get("priority") == (on_redis if redis else on_rabbitmq)


def test_retries_of_the_redis_client_neither_turn_priorities_round_nor_end_batches(
    sent_messages, monkeypatch
):
    """Those of the project's connections are its own affair; ours repeat nothing."""
    app = app_or_default()
    with app.connection_for_write() as connection:
        redis = connection.transport.driver_type == "redis"
    if not redis:
        pytest.skip("options of the client of Redis")
    options = app.conf.broker_transport_options | {"retry_on_timeout": True}
    monkeypatch.setitem(app.conf, "broker_transport_options", options)
    batches, send_together = [], publisher._send_together
    monkeypatch.setattr(
        publisher, "_send_together", lambda *a: batches.append(send_together(*a)) or batches[-1]
    )
    runs = [due_run(priority=9), due_run(priority=0, start_at=NOW + S)]
    assert publisher.publish(runs, NOW) == 2
    assert [m["properties"]["priority"] for m in sent_messages()] == [0, 9]
    assert batches == [True]
    assert app.connection_for_write().transport_options == options


@pytest.mark.usefixtures("way")
def test_nine_is_first_also_where_messages_go_one_by_one(message_of):
    with app_or_default().connection_for_write() as connection:
        redis = connection.transport.driver_type == "redis"
    assert message_of(priority=9)["properties"]["priority"] == (0 if redis else 9)


@pytest.mark.usefixtures("way")
def test_it_goes_to_the_queue_of_its_run_and_else_to_the_default_one(sent_messages, other_queue):
    here, there, default = due_run(), due_run(queue=other_queue.name), due_run(queue="")
    assert publisher.publish([there, here, default], NOW) == 3
    assert other_queue() == [str(there.pk)]
    assert {m["headers"]["run_id"] for m in sent_messages()} == {str(here.pk), str(default.pk)}


@pytest.mark.usefixtures("way")
def test_messages_are_sent_in_the_order_of_their_starts(sent_messages):
    runs = [due_run(start_at=NOW + seconds * S) for seconds in (5, -60, 30, 0, -10)]
    publisher.publish(runs, NOW)
    in_order = sorted(runs, key=lambda run: run.start_at)
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(run.pk) for run in in_order]


def test_a_task_that_asks_for_a_run_is_not_its_parent(sent_messages):
    """A task's children are waited for, and forgotten, by whoever holds its result."""
    task = ok._get_current_object()
    task.push_request(id=str(uuid4()), called_directly=False, children=[])
    _task_stack.push(task)
    try:
        publisher.publish([due_run()], NOW)
        assert task.request.children == []
    finally:
        _task_stack.pop()
        task.pop_request()
    assert len(sent_messages()) == 1


def test_an_eta_that_the_queue_does_not_take_is_put_off_never_brought_forward(
    sent_messages, monkeypatch
):
    """A mock: kombu refuses an eta less than a second ahead for a quorum queue, which Redis has
    none of."""
    tried, send = [], messages._send_task

    def refuse_the_near(app, producer, run, queue, eta):
        tried.append(eta)
        if eta < NOW + 2 * S:
            raise ValueError("Countdown must be at least 1 s")
        send(app, producer, run, queue, eta)

    monkeypatch.setattr(messages, "_send_task", refuse_the_near)
    run = due_run(start_at=NOW + S / 2)
    assert publisher.publish([run], NOW) == 1
    assert tried == [run.start_at, NOW + 3 * S]
    (message,) = sent_messages()
    assert datetime.fromisoformat(message["headers"]["eta"]) == NOW + 3 * S


def test_a_message_that_cannot_be_made_for_another_reason_is_not_sent_ahead_of_its_time(
    sent_messages, monkeypatch
):
    def refuse(app, producer, run, queue, eta):
        tried.append(eta)
        raise ValueError("not a message")

    tried, run = [], due_run(start_at=NOW + 60 * S)
    monkeypatch.setattr(messages, "_send_task", refuse)
    assert publisher.publish([run], NOW) == 0
    assert set(tried) == {run.start_at}
    run.refresh_from_db()
    assert (run.status, run.reason) == ("failed", "not_publishable")
