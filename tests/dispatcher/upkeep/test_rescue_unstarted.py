"""Runs that were published and not started are published again: what is missing, and no backlog."""

from datetime import timedelta
from uuid import uuid4

import pytest
from celery.app import app_or_default

from dispatcher.models import TaskRun, Tick
from dispatcher.publish import messages, publisher
from dispatcher.upkeep import rescue
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import pause_everything, resume_everything

pytestmark = pytest.mark.django_db(transaction=True)

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)


@pytest.fixture
def now():
    return database_now()


@pytest.fixture
def queues():
    """Names of queues of this test's own; `ids(name)` takes the runs whose messages wait there."""
    app, made = app_or_default(), []

    class Queues:
        def new(self, letter):
            made.append(f"{letter}-{uuid4()}")
            return made[-1]

        def ids(self, name):
            with app.connection_for_read() as connection:
                queue, found = connection.SimpleQueue(app.amqp.queues[name]), []
                while True:
                    try:
                        message = queue.get(block=False)
                    except queue.Empty:
                        break
                    message.ack()
                    found.append(message.headers["run_id"])
                queue.close()
            return found

    yield Queues()
    with app.connection_for_write() as connection:
        for name in made:
            queue = connection.SimpleQueue(app.amqp.queues[name])
            queue.queue.delete()
            queue.close()


def unstarted(now, overdue=60.0, looked_at=-1.0, **columns):
    """A published run that should have started `overdue` seconds ago."""
    start_at = now - overdue * S
    defaults = {"name": "job", "task": OK, "trigger": "manual", "queue": "celery"}
    defaults |= {"scheduled_for": start_at, "start_at": start_at, "planned_at": start_at}
    defaults |= {"status": "published", "publish_at": now + looked_at * S}
    return TaskRun.objects.create(**defaults | {"published_at": start_at} | columns)


def ids(messages):
    return [message["headers"]["run_id"] for message in messages]


def names_sent(messages):
    found = dict(TaskRun.objects.values_list("pk", "name"))
    names = {str(pk): name for pk, name in found.items()}
    return [names[run_id] for run_id in ids(messages)]


# Which of them ------------------------------------------------------------------------------------


def test_a_run_is_given_half_a_minute_to_start(sent_messages, now):
    unstarted(now, 29.9, name="in time")
    unstarted(now, 30, name="late")
    unstarted(now, -30, name="to come")
    assert rescue.rescue(now).published == 1
    assert names_sent(sent_messages()) == ["late"]


def test_it_is_looked_at_when_its_time_has_come_and_not_in_each_pass(sent_messages, now):
    unstarted(now, 3600, looked_at=0, name="now")
    unstarted(now, 3600, looked_at=0.1, name="soon")
    assert rescue.rescue(now).published == 1
    assert rescue.rescue(now).published == 0
    assert names_sent(sent_messages()) == ["now"]


def test_the_oldest_come_first_a_thousand_in_a_pass(sent_messages, now, monkeypatch):
    assert rescue.LIMIT == 1000
    monkeypatch.setattr(rescue, "LIMIT", 3)
    for overdue in (60, 300, 120, 240, 180):
        unstarted(now, overdue, name=f"{overdue} s late")
    assert rescue.rescue(now).published == 3
    sent = names_sent(sent_messages())
    assert sorted(sent) == ["180 s late", "240 s late", "300 s late"]


def test_what_a_pause_of_everything_holds_is_not_published_again(sent_messages, now):
    unstarted(now, name="of a schedule", trigger="schedule")
    unstarted(now, name="asked for")
    pause_everything()
    assert rescue.rescue(now).published == 1
    assert names_sent(sent_messages()) == ["asked for"]
    resume_everything()
    sent_messages()
    assert rescue.rescue(now).published == 1
    assert names_sent(sent_messages()) == ["of a schedule"]


def test_the_next_attempt_whose_message_is_lost_is_published_again_as_such(sent_messages, now):
    run = unstarted(now, status="retrying", attempt=2)
    assert rescue.rescue(now).published == 1
    (message,) = sent_messages()
    assert (message["headers"]["run_id"], message["headers"]["attempt"]) == (str(run.pk), 2)
    run.refresh_from_db()
    assert run.status == "retrying"


@pytest.mark.parametrize("status", ["planned", "running", "succeeded", "cancelled", "missed"])
def test_no_other_run_is_published_again(sent_messages, now, status):
    unstarted(now, status=status)
    assert rescue.publish_again(now) == 0
    assert sent_messages() == []


# When it is looked at again -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overdue", "distance"),
    [(30, 30), (31, 60), (60, 60), (61, 120), (480, 480), (481, 900), (901, 900), (86_400, 900)],
)
def test_the_distance_doubles_up_to_a_quarter_of_an_hour(sent_messages, now, overdue, distance):
    run = unstarted(now, overdue)
    before = database_now()
    assert rescue.publish_again(now) == 1
    run.refresh_from_db()
    assert before + distance * S - S <= run.publish_at <= database_now() + distance * S


# How many -----------------------------------------------------------------------------------------


def test_what_waits_in_the_queue_is_a_backlog_and_only_what_is_missing_is_sent(sent_messages, now):
    waiting = [unstarted(now, 100 - number, name="has a message") for number in range(4)]
    publisher.publish(waiting, now)
    TaskRun.objects.update(publish_at=now)  # it is time to look at all of them
    for overdue in (300, 200, 150):
        unstarted(now, overdue, name=f"{overdue} s late")
    assert rescue.publish_again(now) == 3
    sent = names_sent(sent_messages())
    assert sent[:4] == ["has a message"] * 4
    assert sorted(sent[4:]) == ["150 s late", "200 s late", "300 s late"]


def test_the_messages_are_counted_before_the_runs(sent_messages, now, monkeypatch):
    """A run that starts between the two takes its message with it: counted the other way round
    it would seem to have lost one, and another would be published twice."""
    runs = [unstarted(now) for _ in range(3)]
    publisher.publish(runs, now)
    TaskRun.objects.update(publish_at=now)
    ready, asked = rescue.messages_ready, []

    def count_and_start_one(queue):
        counted = ready(queue)
        asked.append(counted)
        TaskRun.objects.filter(pk=runs[0].pk).update(status="running", publish_at=None, attempt=1)
        return counted

    monkeypatch.setattr(rescue, "messages_ready", count_and_start_one)
    assert rescue.publish_again(now) == 0
    assert asked == [3]
    assert len(sent_messages()) == 3


def test_each_queue_is_counted_by_itself(sent_messages, queues, now):
    busy, idle = queues.new("busy"), queues.new("idle")
    backlog = [unstarted(now, queue=busy) for _ in range(3)]
    publisher.publish(backlog, now)
    TaskRun.objects.update(publish_at=now)
    lost = [unstarted(now, queue=idle), unstarted(now, queue="")]
    assert rescue.publish_again(now) == 2
    assert queues.ids(idle) == [str(lost[0].pk)]
    assert ids(sent_messages()) == [str(lost[1].pk)]
    assert sorted(queues.ids(busy)) == sorted(str(run.pk) for run in backlog)


def test_the_queue_that_misses_the_fewest_comes_first(queues, now, monkeypatch):
    monkeypatch.setattr(rescue, "LIMIT", 4)
    many, few = queues.new("a"), queues.new("b")
    for overdue in range(600, 605):
        unstarted(now, overdue, queue=many)
    for overdue in range(60, 63):
        unstarted(now, overdue, queue=few)
    assert rescue.publish_again(now) == 4
    assert (len(queues.ids(few)), len(queues.ids(many))) == (3, 1)


def test_the_limit_is_that_of_all_queues_together(queues, now, monkeypatch):
    monkeypatch.setattr(rescue, "LIMIT", 3)
    names = [queues.new(letter) for letter in "abc"]
    for name in names:
        for _ in range(2):
            unstarted(now, queue=name)
    assert rescue.publish_again(now) == 3
    assert sum(len(queues.ids(name)) for name in names) == 3


@pytest.mark.usefixtures("broken_broker")
def test_without_a_broker_nothing_is_touched(now):
    run = unstarted(now)
    assert rescue.publish_again(now) == 0
    run.refresh_from_db()
    assert (run.status, run.publish_at) == ("published", now - S)


def test_a_broker_that_goes_away_meanwhile_is_told_by_the_log(
    sent_messages, now, monkeypatch, caplog
):
    def send(*args):
        raise ConnectionRefusedError("gone")

    unstarted(now)
    monkeypatch.setattr(messages, "send", send)
    assert rescue.rescue(now).published == 0
    assert "broker_away" in {getattr(record, "action", "") for record in caplog.records}


# Messages that are not theirs ---------------------------------------------------------------------


def started_since(now, sent, started_for, **columns):
    """A run whose only message a worker has had."""
    columns = {"status": "succeeded", "attempt": 1, "publish_at": None} | columns
    at = {"published_at": now - sent * S, "started_at": now - started_for * S}
    return unstarted(now, started_for, **columns | at)


def blocked_by_foreign_messages(sent_messages, now):
    """As many messages wait in the queue as there are unstarted runs; they are of others."""
    foreign = [unstarted(now, 40) for _ in range(3)]
    publisher.publish(foreign, now)
    TaskRun.objects.filter(pk__in=[run.pk for run in foreign]).delete()


@pytest.mark.parametrize(
    ("columns", "again"),
    [
        ({}, 1),
        ({"queue": "another"}, 0),
        ({"priority": 5}, 0),
        ({"attempt": 2}, 0),
        ({"retries": 1}, 0),
        ({"started_at": None}, 0),
    ],
    ids=str,
)
def test_a_run_whose_followers_a_worker_has_had_waits_for_nothing_in_its_queue(
    sent_messages, now, columns, again
):
    """A queue is first in, first out; each priority is a queue of its own."""
    blocked_by_foreign_messages(sent_messages, now)
    run = unstarted(now, 600)
    started_since(now, 400, 390, **columns)
    if "started_at" in columns:
        TaskRun.objects.filter(status="succeeded").update(started_at=None)
    assert rescue.publish_again(now) == again
    assert ids(sent_messages()).count(str(run.pk)) == again


@pytest.mark.parametrize(
    ("sent", "started_for", "again"),
    [(669, 390, 1), (671, 390, 0), (650, 599, 1), (650, 601, 0)],
    ids=["well after it", "within a lease of it", "for later", "for earlier"],
)
def test_a_follower_is_one_that_was_sent_later_and_for_later(
    sent_messages, now, sent, started_for, again
):
    blocked_by_foreign_messages(sent_messages, now)
    unstarted(now, 600, published_at=now - 700 * S)
    started_since(now, sent, started_for)
    assert rescue.publish_again(now) == again


# The pass as a whole ------------------------------------------------------------------------------


@pytest.fixture
def steady(now):
    """Rescue passes every 20 s: leases can be judged."""
    Tick.objects.bulk_create(
        Tick(kind=Tick.Kind.RESCUE, started_at=now - seconds * S) for seconds in (60, 40, 20)
    )


def running(now, lease_in=-1.0, **columns):
    columns = {"status": "running", "attempt": 1, "token": uuid4(), "publish_at": None} | columns
    return unstarted(now, lease_until=now + lease_in * S, **columns)


STEPS = ("lose", "expire", "publish_again", "pause_failing")


@pytest.mark.parametrize("failing", STEPS)
def test_a_step_that_fails_keeps_no_other_and_is_raised(
    sent_messages, steady, now, monkeypatch, failing
):
    lost, late = running(now), unstarted(now, expires_at=now - S)
    overdue = unstarted(now)
    paused = []

    def fail(*args):
        raise RuntimeError(f"{failing} fails")

    monkeypatch.setattr(rescue.pause_failing, "pause_failing", lambda: paused.append(1) or 0)
    monkeypatch.setattr(
        rescue.pause_failing if failing == "pause_failing" else rescue, failing, fail
    )
    with pytest.raises(RuntimeError, match=f"{failing} fails"):
        rescue.rescue(now)
    done = {
        "lose": TaskRun.objects.get(pk=lost.pk).status == "lost",
        "expire": TaskRun.objects.get(pk=late.pk).status == "missed",
        "publish_again": str(overdue.pk) in ids(sent_messages()),
        "pause_failing": paused == [1],
    }
    assert done == {step: step != failing for step in STEPS}


def test_of_several_steps_that_fail_the_first_is_raised(now, monkeypatch):
    def failing(step):
        def fail(*args):
            raise RuntimeError(f"{step} fails")

        return fail

    for step in ("expire", "publish_again"):
        monkeypatch.setattr(rescue, step, failing(step))
    monkeypatch.setattr(rescue.pause_failing, "pause_failing", failing("pause_failing"))
    with pytest.raises(RuntimeError, match="expire fails"):
        rescue.rescue(now)


def test_a_pass_says_what_it_did(sent_messages, steady, now):
    running(now), running(now)
    unstarted(now, expires_at=now - S)
    for _ in range(3):
        unstarted(now)
    assert rescue.rescue() == rescue.Rescued(published=3, lost=2, expired=1)
    assert rescue.rescue() == rescue.Rescued(published=0, lost=0, expired=0)


def test_what_has_expired_is_missed_and_not_published_again(sent_messages, now):
    run = unstarted(now, expires_at=now - S)
    later = unstarted(now, expires_at=now + 600 * S)
    assert rescue.rescue(now).expired == 1
    assert ids(sent_messages()) == [str(later.pk)]
    run.refresh_from_db()
    assert (run.status, run.reason, run.publish_at) == ("missed", "expired", None)


def test_a_lost_run_says_whose_it_was_and_keeps_its_token(steady, now):
    run = running(now, worker="w@web-1", pid=7)
    alive = running(now, lease_in=20)
    assert rescue.lose(now) == 1
    after, token = TaskRun.objects.get(pk=run.pk), run.token
    assert (after.status, after.reason) == ("lost", "lease_ran_out")
    assert (after.reason_params, after.token) == ({"worker": "w@web-1", "pid": 7}, token)
    assert TaskRun.objects.get(pk=alive.pk).status == "running"


def test_at_most_a_thousand_are_judged_in_a_pass(steady, now, monkeypatch):
    monkeypatch.setattr(rescue, "LIMIT", 2)
    for _ in range(3):
        running(now)
    assert [rescue.lose(now), rescue.lose(now)] == [2, 1]


@pytest.mark.parametrize(
    ("passes", "judged"),
    [
        ((20, 40, 60), 1),
        ((44.9,), 0),
        ((45,), 1),
        ((), 0),
        ((20,), 0),
        ((60,), 1),
        ((61,), 0),
        ((20, 81), 0),
        ((20, 80), 1),
        ((20, 40, 300), 0),
        ((0, 20, 40, 60), 1),
    ],
    ids=str,
)
def test_no_lease_is_judged_before_a_lease_time_without_a_gap(now, passes, judged):
    """`passes`: how many seconds ago rescue ran."""
    Tick.objects.bulk_create(
        Tick(kind=Tick.Kind.RESCUE, started_at=now - seconds * S) for seconds in passes
    )
    for seconds in (10, 30, 50):  # ticks are no rescue passes
        Tick.objects.create(started_at=now - seconds * S)
    running(now)
    assert rescue.lose(now) == judged


def test_the_database_says_that_a_lease_ran_out_not_the_caller(steady, now):
    running(now, lease_in=600)
    Tick.objects.bulk_create(
        Tick(kind=Tick.Kind.RESCUE, started_at=now + seconds * S) for seconds in range(0, 3600, 20)
    )
    assert rescue.lose(now + 3600 * S) == 0


# Turns --------------------------------------------------------------------------------------------


def test_of_each_schedule_the_first_in_line_is_published_again(sent_messages, now):
    for name in ("a", "b"):
        task = ScheduledTask.objects.create_interval(name, OK, 86_400, overlap_policy="skip")
        for overdue in (60, 240, 120):
            unstarted(
                now,
                overdue,
                name=f"{name} {overdue}",
                scheduled_task=task,
                trigger="backfill",
                reason="takes_turns",
            )
    TaskRun.objects.filter(trigger="schedule").delete()
    sent_messages()
    unstarted(now, name="no turn")
    assert rescue.publish_again(now) == 3
    assert sorted(names_sent(sent_messages())) == ["a 240", "b 240", "no turn"]


def test_a_lease_taken_by_another_pass_is_left_to_it(sent_messages, now, crew):
    """Two passes at once see the same runs; each is published by one of them."""
    for _ in range(5):
        runs = [unstarted(now) for _ in range(10)]
        counts = crew.at_once(*[lambda: rescue.publish_again(now)] * 2)
        assert sum(counts) == 10
        assert sorted(ids(sent_messages())) == sorted(str(run.pk) for run in runs)
        TaskRun.objects.all().delete()
