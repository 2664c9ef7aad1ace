"""Many runs at once: a broker that goes away in the middle, and publishers side by side."""

import itertools
import threading
import time
from datetime import timedelta

import pytest
from django.db import connection
from kombu.exceptions import OperationalError

from dispatcher.models import TaskRun
from dispatcher.models.verbs import TaskRunQuerySet
from dispatcher.publish import broker, messages, publisher
from dispatcher.tasks import tick_soon
from dispatcher.worker import overlap
from scheduling import celery_app
from scheduling.database import database_now

pytestmark = pytest.mark.django_db(transaction=True)

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)


def due_runs(count, **columns):
    """The first starts first; they are due to be published."""
    now = database_now()
    defaults = {"name": "job", "task": OK, "trigger": "manual", "queue": "celery"}
    defaults |= {"scheduled_for": now, "planned_at": now, "publish_at": now}
    return TaskRun.objects.bulk_create(
        TaskRun(**defaults | {"start_at": now - (count - n) * S} | columns) for n in range(count)
    )


def publish_due(now=None):
    now = now or database_now()
    return publisher.publish(publisher.take(TaskRun.objects.publishable(now)), now)


def run_ids(messages):
    return [message["headers"]["run_id"] for message in messages]


def marked():
    """Oldest first, as they were sent."""
    rows = TaskRun.objects.filter(status="published").exclude(published_at=None)
    return [str(pk) for pk in rows.order_by("start_at").values_list("pk", flat=True)]


@pytest.fixture(params=["together", "one by one"])
def way(request, monkeypatch):
    """Both ways to the broker: on RabbitMQ there is the second only."""
    if request.param == "one by one":
        monkeypatch.setattr(messages, "takes_batches", lambda producer: False)


@pytest.fixture
def fails_at(monkeypatch):
    """The broker goes away when it is asked to take the n-th message: a mock, because no broker
    goes at a given message. Returns the numbers of the messages that it was asked to take."""
    send, asked = messages.send, []

    def install(number, error):
        def send_or_fail(*args):
            asked.append(len(asked) + 1)
            if len(asked) == number:
                raise error
            send(*args)

        monkeypatch.setattr(messages, "send", send_or_fail)
        return asked

    return install


# Half a batch -------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OperationalError("away"), ConnectionResetError("gone")], ids=str)
@pytest.mark.usefixtures("way")
def test_what_the_broker_had_before_it_failed_is_marked_and_only_the_rest_is_sent_again(
    sent_messages, fails_at, monkeypatch, error
):
    runs = due_runs(5)
    with monkeypatch.context():
        fails_at(3, error)
        try:
            publish_due()
        except publisher.BrokerAway:
            had = run_ids(sent_messages())
            assert marked() == had
            assert len(had) in (0, 2)  # all or nothing where a batch is one round trip
        else:  # nothing had been sent, and a fresh connection took everything
            had = run_ids(sent_messages())
            assert marked() == had == [str(run.pk) for run in runs]
    publish_due(database_now() + 31 * S)
    again = run_ids(sent_messages())
    assert sorted(had + again) == sorted(str(run.pk) for run in runs)
    assert marked() == [str(run.pk) for run in runs]


def test_one_by_one_the_messages_before_the_failure_are_not_sent_a_second_time(
    sent_messages, fails_at, monkeypatch
):
    """Also where the failure is that of a connection that had died."""
    monkeypatch.setattr(messages, "takes_batches", lambda producer: False)
    runs = due_runs(5)
    asked = fails_at(3, ConnectionResetError("gone"))
    with pytest.raises(publisher.BrokerAway, match="3 or more runs wait"):
        publish_due()
    assert asked == [1, 2, 3]
    assert run_ids(sent_messages()) == marked() == [str(run.pk) for run in runs[:2]]
    left = TaskRun.objects.filter(status="planned")
    assert set(left.values_list("published_at", flat=True)) == {None}


@pytest.mark.usefixtures("way")
def test_a_broker_that_is_away_is_not_asked_a_second_time(sent_messages, fails_at):
    due_runs(1)
    asked = fails_at(1, OperationalError("away"))
    with pytest.raises(publisher.BrokerAway):
        publish_due()
    assert asked == [1]


@pytest.mark.usefixtures("way")
def test_a_connection_that_is_found_dead_twice_is_a_broker_that_is_away(sent_messages, monkeypatch):
    asked = []

    def send(*args):
        asked.append(args)
        raise BrokenPipeError("gone")

    monkeypatch.setattr(messages, "send", send)
    due_runs(3)
    with pytest.raises(publisher.BrokerAway, match="BrokenPipeError"):
        publish_due()
    assert len(asked) == 2
    assert marked() == []


@pytest.mark.usefixtures("way")
def test_after_a_batch_that_failed_no_other_is_tried(sent_messages, fails_at, monkeypatch):
    monkeypatch.setattr(publisher, "SENT_AT_ONCE", 2)
    runs = due_runs(6)
    asked = fails_at(3, OperationalError("away"))
    now = database_now()
    with pytest.raises(publisher.BrokerAway):
        publisher.publish(publisher.take(TaskRun.objects.publishable(now), 6), now)
    assert asked == [1, 2, 3]
    assert run_ids(sent_messages()) == marked() == [str(run.pk) for run in runs[:2]]


@pytest.mark.usefixtures("way")
def test_several_batches_are_sent_and_counted_as_one(sent_messages, monkeypatch):
    monkeypatch.setattr(publisher, "SENT_AT_ONCE", 3)
    runs = due_runs(7)
    now = database_now()
    assert publisher.publish(publisher.take(TaskRun.objects.publishable(now), 7), now) == 7
    assert run_ids(sent_messages()) == marked() == [str(run.pk) for run in runs]


@pytest.mark.usefixtures("way")
def test_a_run_that_cannot_be_a_message_in_the_middle_keeps_none_and_doubles_none(sent_messages):
    runs = due_runs(5)
    now = database_now()
    taken = publisher.take(TaskRun.objects.publishable(now))
    taken[2].args = [object()]
    assert publisher.publish(taken, now) == 4
    good = [str(run.pk) for n, run in enumerate(runs) if n != 2]
    assert run_ids(sent_messages()) == marked() == good
    bad = TaskRun.objects.get(pk=runs[2].pk)
    assert (bad.status, bad.reason, bad.publish_at) == ("failed", "not_publishable", None)
    assert "object" in bad.reason_params["message"]


def test_a_caller_whose_work_is_done_is_only_told_by_the_log(broken_broker, caplog):
    runs = due_runs(2)
    assert publisher.publish_or_leave(runs, database_now()) == 0
    assert [record.action for record in caplog.records if hasattr(record, "action")] == [
        "broker_away"
    ]
    assert marked() == []


def test_a_process_that_has_not_called_install_sends_nothing_anywhere(
    sent_messages, monkeypatch, caplog
):
    """Its current app may be another one, with another broker."""
    runs = due_runs(2)
    monkeypatch.setattr(celery_app, "_ours", None)
    with pytest.raises(publisher.BrokerAway, match=r"dispatcher.install\(app\)"):
        publisher.publish(runs, database_now())
    assert publisher.publish_or_leave(runs, database_now()) == 0
    assert "__init__.py" in caplog.text
    overlap.terminate(runs[0])
    assert "could not be ended: This process has no Celery app" in caplog.text
    ticks = broker.messages_ready("dispatcher")
    tick_soon()
    assert broker.messages_ready("dispatcher") == ticks
    assert (sent_messages(), marked()) == ([], [])


# What is sent, and what is left -------------------------------------------------------------------


@pytest.mark.parametrize(("start_in", "sent"), [(0, 1), (90, 1), (91, 0), (86_400, 0)])
def test_nothing_beyond_the_horizon_is_sent_whoever_asks(sent_messages, start_in, sent):
    now = database_now()
    runs = due_runs(1, start_at=now + start_in * S)
    assert publisher.publish(runs, now) == sent
    assert len(sent_messages()) == sent


def test_a_run_that_nobody_has_leased_is_not_sent(sent_messages):
    runs = due_runs(2, publish_at=None)
    assert publisher.publish(runs, database_now()) == 0
    assert sent_messages() == []


@pytest.mark.parametrize("distance", [None, 30 * S, 900 * S], ids=str)
def test_the_mark_says_when_rescue_looks_again(sent_messages, distance):
    runs = due_runs(1)
    before = database_now()
    publisher.publish(runs, before, distance)
    run = TaskRun.objects.get()
    after = database_now()
    wanted = distance or 30 * S  # from now, its start being over
    assert before + wanted - S <= run.publish_at <= after + wanted
    assert before - S <= run.published_at <= after


def test_runs_of_several_attempts_and_leases_are_all_marked(sent_messages):
    now = database_now()
    runs = []
    for attempt, seconds in ((0, 10), (0, 20), (1, 10), (2, 10), (3, 20)):
        runs += due_runs(1, attempt=attempt, status="retrying", publish_at=now + seconds * S)
    assert publisher.publish(runs, now) == 5
    assert len(sent_messages()) == 5
    rows = TaskRun.objects.all()
    assert set(rows.values_list("status", flat=True)) == {"retrying"}
    assert None not in rows.values_list("published_at", flat=True)
    assert all(
        publish_at >= now + 29 * S for publish_at in rows.values_list("publish_at", flat=True)
    )


# Several publishers -------------------------------------------------------------------------------


def test_taking_leases_the_oldest_starts_for_half_a_minute_and_touches_no_other():
    before = database_now()
    made = [run for seconds in range(5) for run in due_runs(1, start_at=before - seconds * S)]
    runs = made[::-1]  # the last one made starts first
    taken = publisher.take(TaskRun.objects.publishable(database_now()), 3)
    after = database_now()
    assert [run.pk for run in taken] == [run.pk for run in runs[:3]]
    leases = {run.publish_at for run in taken}
    assert len(leases) == 1 and before + 30 * S <= leases.pop() <= after + 30 * S
    rows = dict(TaskRun.objects.values_list("pk", "publish_at"))
    assert [rows[run.pk] for run in taken] == [run.publish_at for run in taken]
    assert [rows[run.pk] for run in runs[3:]] == [run.publish_at for run in runs[3:]]


def test_what_others_are_taking_at_this_moment_is_not_taken(crew, monkeypatch):
    """Each has read its rows before any has written: then only the locks keep them apart."""
    skips = connection.features.has_select_for_update_skip_locked
    write = TaskRunQuerySet.take
    for _ in range(3):
        runs, arrived, all_here = due_runs(12), [], threading.Event()

        def wait_and_write(rows, lease, arrived=arrived, all_here=all_here):
            arrived.append(lease)
            if len(arrived) == crew.size:
                all_here.set()
            all_here.wait(20 if skips else 0.3)  # without SKIP LOCKED one waits for the other
            return write(rows, lease)

        def take():
            return [run.pk for run in publisher.take(TaskRun.objects.publishable(database_now()))]

        with monkeypatch.context() as patch:
            patch.setattr(TaskRunQuerySet, "take", wait_and_write)
            taken = crew.at_once(*[take] * crew.size)
        assert len(arrived) == crew.size
        assert all_here.is_set() or not skips  # the race took place
        assert sorted(itertools.chain(*taken)) == sorted(run.pk for run in runs)
        TaskRun.objects.all().delete()


def test_three_publishers_at_once_send_each_run_once(crew, sent_messages, monkeypatch):
    """Small bites, so that they meet at many rows."""
    monkeypatch.setattr(publisher, "SENT_AT_ONCE", 5)
    take, spans = publisher.take, []

    def timed(rows):
        began = time.perf_counter()
        try:
            return take(rows, 5)
        finally:
            spans.append((began, time.perf_counter()))

    monkeypatch.setattr(publisher, "take", timed)

    def work():
        count = 0
        while sent := publish_due():
            count += sent
        return count

    for _ in range(6):
        runs = due_runs(40)
        counts = crew.at_once(*[work] * 3)
        left = publish_due()  # what one of them stepped over, when it went last
        assert sum(counts) + left == 40
        assert sorted(run_ids(sent_messages())) == sorted(str(run.pk) for run in runs)
        TaskRun.objects.all().delete()
    spans.sort()
    together = sum(this[1] > following[0] for this, following in itertools.pairwise(spans))
    assert together > 10  # the race took place
