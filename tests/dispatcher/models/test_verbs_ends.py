"""An end gives back what the run had: its schedule, its place in line, its lease, its message."""

from datetime import timedelta
from uuid import uuid4

import pytest

import dispatcher
from dispatcher import signals
from dispatcher.models import Status, TaskRun
from dispatcher.models.ends import End
from dispatcher.plan import misfire
from dispatcher.publish import publisher
from dispatcher.tick import tick
from dispatcher.upkeep import rescue
from dispatcher.worker import record
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.workers import fresh, start

pytestmark = pytest.mark.django_db(transaction=True)

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)


@pytest.fixture
def task(sent_messages):
    return ScheduledTask.objects.create_interval("job", OK, 86_400, overlap_policy="queue_one")


def make_run(task, **columns):
    now = database_now()
    defaults = {"scheduled_task": task, "name": "job", "task": OK, "trigger": "manual"}
    defaults |= {"scheduled_for": now, "start_at": now, "planned_at": now, "queue": "celery"}
    defaults |= {"status": "published", "publish_at": now + 30 * S, "revision": task.revision}
    return TaskRun.objects.create(**defaults | columns)


def holder_of(task):
    run = make_run(task)
    assert start(run) is not None
    return fresh(run)


def waiter_of(task, **columns):
    """It reaches a worker while another one holds, and waits for the one place."""
    run = make_run(task, **columns)
    assert start(run) is None
    assert fresh(run).waits == task.pk
    return fresh(run)


def close_with(status, reason):
    def close(run):
        assert TaskRun.objects.filter(pk=run.pk).close(status, reason) == 1

    return close


def cancel(run):
    assert dispatcher.cancel(run) is True


def expire(run):
    TaskRun.objects.filter(pk=run.pk).update(expires_at=database_now() - S)
    assert rescue.expire() == 1


def expire_at_the_gate(run):
    TaskRun.objects.filter(pk=run.pk).update(expires_at=database_now() - S)
    assert start(run) is None


def refuse(run):
    end = End(Status.FAILED, "not_registered", {"task": OK})
    assert record.refuse(run.pk, run.attempt, end) is True


def never_a_message(run):
    TaskRun.objects.filter(pk=run.pk).update(publish_at=database_now())
    (taken,) = publisher.take(TaskRun.objects.filter(pk=run.pk))
    taken.args = [object()]
    assert publisher.publish([taken], database_now()) == 0


def with_a_listener(run):
    signals.run_finished.connect(listener := lambda **signal: None)
    try:
        rows = TaskRun.objects.filter(pk=run.pk)
        assert signals.close(rows, Status.CANCELLED, "by_person") == 1
    finally:
        signals.run_finished.disconnect(listener)


WAITS_NO_MORE = {
    "cancelled": close_with(Status.CANCELLED, "by_person"),
    "skipped": close_with(Status.SKIPPED, "overlap"),
    "failed": close_with(Status.FAILED, "not_publishable"),
    "missed": close_with(Status.MISSED, "misfire"),
    "cancelled by a person": cancel,
    "expired": expire,
    "expired, seen by a worker": expire_at_the_gate,
    "refused by a worker": refuse,
    "not publishable": never_a_message,
    "told of": with_a_listener,
}


@pytest.mark.parametrize("end", WAITS_NO_MORE)
def test_a_waiter_that_ends_leaves_its_place_to_the_next(task, end):
    holder_of(task)
    first = waiter_of(task)
    WAITS_NO_MORE[end](first)
    first = fresh(first)
    assert first.is_ended
    assert (first.waits, first.holds, first.publish_at, first.lease_until) == (None,) * 4
    assert first.finished_at is not None
    assert waiter_of(task).status == "published"  # and is not skipped


@pytest.mark.parametrize("change", ["pause", "delete"])
def test_what_waits_when_its_schedule_is_paused_or_deleted_leaves_its_place(task, change):
    holder_of(task)
    slot = database_now()
    first = waiter_of(task, trigger="schedule", slot=slot, scheduled_for=slot)
    getattr(ScheduledTask.objects.get(pk=task.pk), change)()
    assert (fresh(first).status, fresh(first).waits) == ("cancelled", None)
    assert TaskRun.objects.filter(waits__isnull=False).count() == 0


def test_a_waiter_that_starts_leaves_its_place_to_the_next(task):
    holder = holder_of(task)
    first = waiter_of(task)
    assert record.succeed(holder.pk, holder.token, End(Status.SUCCEEDED)) is True
    assert start(first) is not None
    assert (fresh(first).waits, fresh(first).holds) == (None, task.pk)
    assert waiter_of(task).status == "published"


# Those that hold ----------------------------------------------------------------------------------


def end_as(status):
    def end(run):
        assert TaskRun.objects.all().end(run.pk, run.token, End(status, "exception")) is True

    return end


def cancel_running(run):
    assert TaskRun.objects.all().cancel_running(run, "by_person") is True


def close_between_attempts(run):
    now = database_now()
    assert TaskRun.objects.all().try_again(run, End(Status.FAILED), now, now) is True
    assert fresh(run).holds == run.holds is not None  # a run that retries still overlaps
    assert TaskRun.objects.filter(pk=run.pk).close(Status.CANCELLED, "by_person") == 1


HOLDS_NO_MORE = {
    "succeeded": end_as(Status.SUCCEEDED),
    "failed": end_as(Status.FAILED),
    "lost": end_as(Status.LOST),
    "cancelled": cancel_running,
    "cancelled between two attempts": close_between_attempts,
}


@pytest.mark.parametrize("end", HOLDS_NO_MORE)
def test_a_holder_that_ends_lets_the_next_start(task, end):
    holder = holder_of(task)
    HOLDS_NO_MORE[end](holder)
    holder = fresh(holder)
    assert holder.is_ended
    assert (holder.holds, holder.waits, holder.publish_at, holder.lease_until) == (None,) * 4
    assert holder.finished_at is not None
    assert holder_of(task).holds == task.pk


def test_a_slot_that_is_missed_keeps_nothing(sent_messages):
    now = database_now()
    task = ScheduledTask.objects.create_interval("job", OK, 60, misfire_policy="skip")
    TaskRun.objects.all().delete()
    for minutes in (9, 8, 7, 3):
        slot = now - timedelta(minutes=minutes)
        columns = {"trigger": "schedule", "slot": slot, "scheduled_for": slot, "start_at": slot}
        make_run(task, status="planned", **columns | {"publish_at": now - S})
    misfire.decide_again(publisher.take(TaskRun.objects.publishable(now)), now)
    rows = TaskRun.objects.filter(status="missed")
    assert rows.count() >= 2
    for run in rows:
        assert (run.waits, run.holds, run.publish_at, run.lease_until) == (None,) * 4
        assert run.finished_at is not None


# What only the winner may do ----------------------------------------------------------------------


@pytest.mark.parametrize("status", ["running", "succeeded", "failed", "lost", "skipped"])
def test_what_has_started_or_ended_is_not_closed(task, status):
    run = make_run(task, status=status)
    assert TaskRun.objects.filter(pk=run.pk).close(Status.CANCELLED, "by_person") == 0
    assert fresh(run).status == status


@pytest.mark.parametrize("changed", ["its token", "its status"])
def test_a_running_attempt_is_cancelled_only_as_it_was_seen(task, changed):
    run = holder_of(task)
    columns = {"token": uuid4()} if changed == "its token" else {"status": "succeeded"}
    TaskRun.objects.filter(pk=run.pk).update(**columns)
    assert TaskRun.objects.all().cancel_running(run, "by_person", by="ada") is False
    assert fresh(run).reason_params == {}


def test_of_the_running_runs_of_a_schedule_only_the_one_meant_is_cancelled(task):
    run, other = holder_of(task), make_run(task, status="running", token=uuid4())
    assert TaskRun.objects.all().cancel_running(run, "by_person", by="ada") is True
    assert (fresh(run).reason, fresh(run).reason_params) == ("by_person", {"by": "ada"})
    assert fresh(other).status == "running"


def test_each_schedule_has_a_place_of_its_own(task):
    other = ScheduledTask.objects.create_interval("other", OK, 86_400, overlap_policy="queue_one")
    assert (holder_of(task).holds, holder_of(other).holds) == (task.pk, other.pk)
    assert (waiter_of(task).waits, waiter_of(other).waits) == (task.pk, other.pk)


def test_a_tick_finds_nothing_to_send_of_what_has_ended(task, sent_messages):
    for status in ("cancelled", "skipped", "failed", "missed"):
        run = make_run(task, status="planned", publish_at=database_now() - S)
        TaskRun.objects.filter(pk=run.pk).close(status, "")
    sent_messages()
    assert tick().published == 0
    assert sent_messages() == []
