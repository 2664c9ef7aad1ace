"""The options that a task brings along hold where nobody says otherwise."""

import json
import pickle
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from celery.app import app_or_default
from kombu import Exchange, Queue

from dispatcher import rerun, run_now, run_task
from dispatcher.models import TaskRun
from dispatcher.publish import publisher
from dispatcher.tick import tick
from scheduling import registry
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.integration.tasks_app.tasks import ok

pytestmark = [
    pytest.mark.django_db(transaction=True),
    # Celery would rather have routes; it takes the options all the same, and so do hosts.
    pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning"),
]

S = timedelta(seconds=1)


def work(number=0):
    """Is not called here."""


@pytest.fixture
def task():
    """Makes a task with these options."""
    app, names = app_or_default(), []

    def make(**options):
        name = f"shop.{uuid4()}"
        names.append(name)
        return app.task(name=name, **options)(work)

    yield make
    for name in names:
        app.tasks.pop(name, None)


@pytest.fixture
def mailbox():
    """Makes a queue; calling it takes the messages that wait there."""
    app = app_or_default()
    with app.connection_for_write() as connection:
        made = []

        def make(queue=None):
            box = connection.SimpleQueue(queue or app.amqp.queues[f"special-{uuid4()}"])
            made.append(box)

            def take():
                found = []
                while True:
                    try:
                        found.append(box.get(block=False))
                    except box.Empty:
                        return found
                    found[-1].ack()

            take.name = box.queue.name
            return take

        yield make
        for box in made:
            box.queue.delete()
            box.close()


@pytest.fixture(params=["together", "one by one"])
def way(request, monkeypatch):
    if request.param == "one by one":
        monkeypatch.setattr(publisher.groups, "bound_queues", fails)


def fails(*args):
    raise ValueError("sent one by one")


def is_redis():
    with app_or_default().connection_for_write() as connection:
        return connection.transport.driver_type == "redis"


def soon(task, in_seconds=20, **options):
    """A run of a schedule, published."""
    at = database_now() + in_seconds * S
    row = ScheduledTask.objects.create_one_time(f"job {uuid4()}", task, at, **options)
    return row.runs.get()


@pytest.mark.usefixtures("way")
def test_what_the_task_says_goes_with_a_run_of_its_schedule(task, mailbox):
    box = mailbox()
    run = soon(task(queue=box.name, priority=3, expires=7, time_limit=30, soft_time_limit=20))
    (message,) = box()
    assert message.headers["run_id"] == str(run.pk)
    assert message.properties["priority"] == 3
    assert message.headers["timelimit"] == [30, 20]
    assert message.headers["expires"] is None
    assert "expiration" not in message.properties
    assert (run.queue, run.expires_at) == (box.name, run.slot + 7 * S)


def test_its_priority_is_that_of_the_broker_and_the_schedules_is_ours(task, mailbox):
    box = mailbox()
    soon(task(queue=box.name, priority=3), priority=8)
    (message,) = box()
    assert message.properties["priority"] == (1 if is_redis() else 8)


def test_on_redis_its_message_lies_where_celery_would_have_put_it(task, mailbox):
    if not is_redis():
        pytest.skip("keys are those of Redis")
    box = mailbox()
    made = task(queue=box.name, priority=3)
    with app_or_default().connection_for_write() as connection:
        channel = connection.default_channel
        key = channel._q_for_pri(box.name, 3)
        run = soon(made)
        (raw,) = channel.client.lrange(key, 0, -1)
        assert json.loads(raw)["headers"]["run_id"] == str(run.pk)
        made.delay()
        assert channel.client.llen(key) == 2


def test_what_the_schedule_says_wins(task, mailbox):
    box, other = mailbox(), mailbox()
    run = soon(
        task(queue=other.name, expires=1, time_limit=30, soft_time_limit=20),
        queue=box.name,
        expires_seconds=60,
        time_limit=9,
        soft_time_limit=8,
    )
    (message,) = box()
    assert (message.headers["timelimit"], other()) == ([9, 8], [])
    assert run.expires_at == run.slot + 60 * S


@pytest.mark.parametrize(
    ("serializer", "content_type", "loads"),
    [
        ("pickle", "application/x-python-serialize", pickle.loads),
        ("json", "application/json", json.loads),
    ],
)
@pytest.mark.parametrize(
    ("compression", "told"),
    [("zlib", "application/x-gzip"), ("bzip2", "application/x-bz2"), (None, None)],
)
def test_its_body_is_written_as_the_task_says(
    task, mailbox, serializer, content_type, loads, compression, told
):
    box = mailbox()
    soon(task(queue=box.name, serializer=serializer, compression=compression), kwargs={"number": 4})
    (message,) = box()
    assert (message.content_type, message.headers.get("compression")) == (content_type, told)
    body = message.body if isinstance(message.body, bytes) else message.body.encode()
    assert loads(body)[1] == {"number": 4}  # kombu has unpacked it


def test_it_is_not_kept_on_the_disk_of_the_broker_if_the_task_says_so(task, mailbox):
    box = mailbox()
    soon(task(queue=box.name, delivery_mode=1))
    (message,) = box()
    assert message.properties["delivery_mode"] == 1


def routed(name):
    return Queue(f"{name}-{uuid4()}", Exchange(f"ex-{name}-{uuid4()}"), routing_key="a.b")


@pytest.mark.usefixtures("way")
def test_it_goes_by_the_exchange_and_routing_key_of_the_task(task, mailbox):
    queue = routed("aside")
    box = mailbox(queue)
    made = task(exchange=queue.exchange.name, routing_key="a.b")
    run = soon(made)
    made.delay()
    ours, celerys = box()
    assert ours.headers["run_id"] == str(run.pk)
    assert ours.delivery_info["routing_key"] == celerys.delivery_info["routing_key"] == "a.b"


def test_a_queue_that_somebody_chose_is_not_led_away_from(task, mailbox):
    queue = routed("aside")
    aside, box = mailbox(queue), mailbox()
    run = soon(task(exchange=queue.exchange.name, routing_key="a.b"), queue=box.name)
    assert [message.headers["run_id"] for message in box()] == [str(run.pk)]
    assert aside() == []


@pytest.mark.usefixtures("way")
def test_a_queue_of_kombu_brings_its_exchange(task, mailbox):
    queue = Queue(f"own-{uuid4()}", Exchange(f"ex-{uuid4()}", "direct"), routing_key="here")
    box = mailbox(queue)
    run = soon(task(queue=queue))
    assert run.queue == queue.name
    assert [message.headers["run_id"] for message in box()] == [str(run.pk)]


@pytest.mark.parametrize("option", ["mandatory", "immediate"])
def test_old_options_harm_nobody(task, mailbox, option):
    box = mailbox()
    soon(task(queue=box.name, **{option: True}))
    soon(ok, queue=box.name)
    assert len(box()) == 2


def test_its_own_queue_comes_before_the_routes_as_in_celery(task, mailbox, monkeypatch):
    box = mailbox()
    router = app_or_default().amqp.router
    monkeypatch.setattr(router, "routes", [lambda *a, **k: {"queue": "elsewhere"}])
    assert soon(task(queue=box.name)).queue == box.name
    assert soon(task()).queue == "elsewhere"


def test_a_run_without_a_schedule_has_them_too(task, mailbox):
    box = mailbox()
    run = run_task(task(queue=box.name, priority=3, expires=60))
    (message,) = box()
    assert (run.queue, message.properties["priority"]) == (box.name, 3)
    assert run.expires_at == run.start_at + 60 * S


def test_a_run_that_is_asked_for_expires_as_its_task_says_where_the_schedule_is_silent(
    task, mailbox
):
    box = mailbox()
    made = task(queue=box.name, expires=60)
    at = database_now() + 3600 * S
    silent = ScheduledTask.objects.create_one_time("silent", made, at)
    says = ScheduledTask.objects.create_one_time("says", made, at, expires_seconds=5)
    run = run_now(silent)
    assert run.expires_at == run.start_at + 60 * S
    assert run_now(says).expires_at is None
    TaskRun.objects.filter(pk=run.pk).update(status="failed", expires_at=database_now() - S)
    again = rerun(run)
    assert again.expires_at == again.start_at + 60 * S


def test_a_slot_that_its_task_lets_expire_does_not_run_late(task, mailbox):
    box = mailbox()
    now = database_now().replace(microsecond=0)
    row = ScheduledTask.objects.create_interval(
        "job", task(queue=box.name, expires=1), 3600, starts_at=now + 7200 * S
    )
    tick(now + 7210 * S)
    run = row.runs.get(slot=row.starts_at)
    assert (run.status, run.reason) == ("missed", "expired")
    assert box() == []


NOON = datetime(2035, 3, 2, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expires", "at"),
    [
        (None, None),
        (1.5, NOON + 1.5 * S),
        (0, NOON),
        (NOON + 60 * S, NOON + 60 * S),
        ("2035-03-02T12:01:00+00:00", NOON + 60 * S),
        ("2035-03-02T12:01:00Z", NOON + 60 * S),
        (datetime(2035, 3, 2, 12, 1), NOON + 60 * S),  # in Celery's zone, which is UTC here
        (90 * S, NOON + 90 * S),
        (1e30, None),
        ("soon", None),
        (object(), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_form_of_an_expiry_is_read(task, expires, at):
    assert registry.own_expiry(task(expires=expires).name, NOON) == at


def test_an_unknown_task_says_nothing():
    assert registry.own_options("elsewhere.task") == {}
    assert registry.own_expiry("elsewhere.task", NOON) is None


def test_modules_that_cannot_be_imported_are_loud_and_harm_nobody(monkeypatch, caplog):
    monkeypatch.setattr("scheduling.registry.celery_tasks.import_tasks", fails)
    registry.task_options._imported.cache_clear()
    try:
        assert registry.own_options("elsewhere.task") == {}
        assert registry.own_options("elsewhere.task") == {}
    finally:
        registry.task_options._imported.cache_clear()
    assert [record.action for record in caplog.records if hasattr(record, "action")] == ["no_tasks"]
