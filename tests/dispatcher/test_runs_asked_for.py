"""What travels with a run that somebody asks for, and when it is sent."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError

import dispatcher
from dispatcher import runs
from dispatcher.models import Status, TaskRun
from dispatcher.runs import backfilling
from dispatcher.tick import tick
from dispatcher.upkeep import rescue
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.rows import ADD, OK
from tests.dispatcher.workers import fresh, start

START = datetime(2026, 1, 1, tzinfo=UTC)
S = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def hourly(name="hourly", **options):
    return ScheduledTask.objects.create_cron(name, OK, "0 * * * *", **options)


def past_run(of, at, status="succeeded", **columns):
    defaults = {"scheduled_task": of, "name": of.name, "task": OK, "trigger": "backfill"}
    defaults |= {"scheduled_for": at, "start_at": at, "planned_at": at, "status": status}
    return TaskRun.objects.create(**defaults | columns)


def hours(slots):
    return [int((slot - START) / HOUR) for slot in slots]


def refused(call):
    with pytest.raises(ValidationError) as caught:
        call()
    [(field, [error])] = caught.value.error_dict.items()
    return field, error.code


# When it is sent ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_run_for_tomorrow_is_sent_when_the_horizon_reaches_it(sent_messages):
    at = database_now() + DAY
    run = dispatcher.run_task(OK, at=at)
    assert (run.start_at, run.scheduled_for, run.publish_at) == (at, at, at - 90 * S)
    assert tick().published == 0
    assert rescue.rescue().published == 0
    assert tick(at - 91 * S).published == 0
    assert (sent_messages(), fresh(run).status) == ([], "planned")
    assert tick(at - 90 * S).published == 1
    (message,) = sent_messages()
    assert message["headers"]["run_id"] == str(run.pk)
    assert datetime.fromisoformat(message["headers"]["eta"]) == at


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("start_in", "sent"), [(-3600, True), (0, True), (80, True), (100, False), (86_400, False)]
)
def test_what_starts_within_the_horizon_is_sent_at_once_and_the_rest_is_not(
    sent_messages, start_in, sent
):
    now = database_now()
    run = dispatcher.run_task(OK, at=now + start_in * S)
    assert len(sent_messages()) == sent
    assert fresh(run).status == ("published" if sent else "planned")
    if sent:
        assert fresh(run).published_at is not None
    assert run.start_at >= now  # never in the past: its lateness would be that of the request
    assert run.scheduled_for == run.start_at


@pytest.mark.django_db(transaction=True)
def test_a_run_that_is_asked_for_does_not_expire_with_the_slots_of_its_schedule(sent_messages):
    task = hourly(expires_seconds=60)
    backfilled = dispatcher.backfill(task, START, START + 3 * HOUR)
    now = dispatcher.run_now(task)
    asked = [*backfilled, now]
    assert [run.expires_at for run in asked] == [None] * 4
    assert rescue.rescue().expired == 0
    assert [fresh(run).status for run in asked] == ["published"] * 4
    assert None not in [start(run) for run in asked]


# What travels with it -----------------------------------------------------------------------------


@pytest.mark.django_db
def test_what_travels_with_a_run_is_what_its_schedule_says():
    options = {"queue": "slow", "priority": 7, "time_limit": 30, "soft_time_limit": 20}
    task = ScheduledTask.objects.create_interval("job", ADD, 3600, args=[1, 2], **options)
    before = database_now()
    run = dispatcher.run_now(task, by="ada", via="api")
    assert {name: getattr(run, name) for name in options} == options
    assert (run.args, run.kwargs, run.name, run.task) == ([1, 2], {}, "job", ADD)
    assert (run.triggered_by, run.triggered_via) == ("ada", "api")
    assert (run.scheduled_task, run.revision) == (task, task.revision)
    assert before <= run.start_at == run.scheduled_for == run.planned_at
    assert run.publish_at == run.start_at + 30 * S


@pytest.mark.django_db
def test_args_and_kwargs_replace_each_its_own():
    task = ScheduledTask.objects.create_interval("job", OK, 3600, args=[1])
    assert dispatcher.run_now(task).args == [1]
    assert dispatcher.run_now(task, args=[]).args == []
    replaced = dispatcher.run_now(task, args=(), kwargs={"x": 2})
    assert (replaced.args, replaced.kwargs) == ([], {"x": 2})
    task = ScheduledTask.objects.create_interval("other", ADD, 3600, kwargs={"a": 1, "b": 2})
    replaced = dispatcher.run_now(task, args=[5, 6], kwargs={})
    assert (replaced.args, replaced.kwargs) == ([5, 6], {})


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        ({"args": "ab"}, ("args", "wrong_shape")),
        ({"args": {"a": 1}}, ("args", "wrong_shape")),
        ({"kwargs": [1]}, ("kwargs", "wrong_shape")),
        ({"args": [datetime.max], "kwargs": {}}, ("args", "not_json")),
        ({"args": [], "kwargs": {"a": {1}, "b": 1}}, ("kwargs", "not_json")),
        ({"args": [1], "kwargs": {}}, ("args", "arguments")),
        ({"args": [1], "kwargs": {"c": 1}}, ("kwargs", "arguments")),
    ],
    ids=str,
)
@pytest.mark.parametrize("verb", ["run_now", "run_task", "rerun"])
def test_arguments_that_do_not_fit_are_refused_whoever_gives_them(verb, arguments, refusal):
    task = ScheduledTask.objects.create_interval("job", ADD, 3600, kwargs={"a": 1, "b": 2})
    old = past_run(task, START, task=ADD, kwargs={"a": 1, "b": 2})
    before = TaskRun.objects.count()
    calls = {
        "run_now": lambda: dispatcher.run_now(task, **arguments),
        "run_task": lambda: dispatcher.run_task(ADD, **arguments),
        "rerun": lambda: dispatcher.rerun(old, **arguments),
    }
    assert refused(calls[verb]) == refusal
    assert TaskRun.objects.count() == before


@pytest.mark.django_db
def test_a_run_without_a_definition_belongs_to_none():
    run = dispatcher.run_task(ADD, (1, 2), by="x" * 300, via="command")
    run.refresh_from_db()
    assert (run.scheduled_task, run.revision, run.trigger, run.slot) == (None, None, "manual", None)
    assert (run.name, run.args, run.kwargs) == (ADD, [1, 2], {})
    assert (run.triggered_by, run.triggered_via) == ("x" * 200, "command")


@pytest.mark.django_db
@pytest.mark.parametrize("status", Status.values)
def test_only_what_has_ended_is_run_again(status):
    old = past_run(hourly(), START, status)
    if old.is_ended:
        assert dispatcher.rerun(old).rerun_of == old
        return
    with pytest.raises(ValidationError) as caught:
        dispatcher.rerun(old)
    assert caught.value.code == "not_ended"
    assert not TaskRun.objects.filter(trigger="rerun").exists()


@pytest.mark.django_db
def test_a_run_that_ended_meanwhile_is_run_again_although_the_caller_has_not_seen_it():
    old = past_run(hourly(), START, "published")
    TaskRun.objects.filter(pk=old.pk).close(Status.FAILED, "exception")
    assert dispatcher.rerun(old).rerun_of_id == old.pk


@pytest.mark.django_db
def test_a_rerun_is_a_new_run_now_with_what_travelled_with_the_old_one():
    travels = {"queue": "slow", "priority": 7, "time_limit": 30, "soft_time_limit": 20}
    travels |= {"args": [1], "kwargs": {"x": 2}, "revision": 4, "name": "as it was called"}
    task = hourly()
    old = past_run(
        task,
        START,
        "failed",
        slot=START,
        attempt=3,
        expires_at=START,
        reason="exception",
        exception="ValueError: x",
        token=uuid4(),
        **travels,
    )
    before = database_now()
    again = fresh(dispatcher.rerun(old, by="ada", via="api"))
    assert {name: getattr(again, name) for name in travels} == travels
    assert (again.task, again.scheduled_task, again.trigger) == (OK, task, "rerun")
    assert (again.rerun_of, again.triggered_by, again.triggered_via) == (old, "ada", "api")
    assert (again.slot, again.expires_at, again.attempt, again.token) == (None, None, 0, None)
    assert (again.status, again.reason, again.exception) == ("planned", "", "")
    assert before <= again.start_at == again.scheduled_for == again.planned_at
    assert again.publish_at == again.start_at + 30 * S
    assert again.pk != old.pk


@pytest.mark.django_db
def test_a_rerun_takes_other_arguments_in_the_place_of_its_own():
    old = past_run(hourly(), START, "failed", args=[1])
    assert dispatcher.rerun(old, args=[2]).args == [2]
    assert dispatcher.rerun(old, args=[], kwargs={"x": 3}).kwargs == {"x": 3}
    old.refresh_from_db()
    assert (old.args, old.kwargs) == ([1], {})


# Slots of the past --------------------------------------------------------------------------------


@pytest.mark.django_db
def test_backfill_leaves_out_only_slots_of_this_schedule_that_succeeded():
    task, other = hourly(), hourly("other")
    for hour, status in enumerate(
        ["succeeded", "failed", "lost", "cancelled", "missed", "skipped"]
    ):
        past_run(task, START + hour * HOUR, status)
    past_run(other, START + 2 * HOUR)
    past_run(task, START + 3 * HOUR, trigger="schedule", slot=START + 3 * HOUR)
    past_run(task, START + 3 * HOUR, "failed")  # tried again, and failed: it has succeeded before
    made = dispatcher.backfill(task, START, START + 6 * HOUR)
    assert hours(run.scheduled_for for run in made) == [1, 2, 4, 5]
    assert {run.scheduled_task for run in made} == {task}


@pytest.mark.django_db
def test_the_runs_of_a_backfill_are_due_now_and_say_which_slot_they_are_for():
    before = database_now()
    made = dispatcher.backfill(hourly(), START, START + 2 * HOUR, by="ada", via="api")
    assert TaskRun.objects.filter(trigger="backfill").count() == 2
    for run, hour in zip(made, (0, 1), strict=True):
        run.refresh_from_db()
        assert (run.trigger, run.slot) == ("backfill", None)
        assert run.scheduled_for == START + hour * HOUR
        assert before <= run.start_at == run.planned_at
        assert (run.triggered_by, run.triggered_via) == ("ada", "api")


@pytest.mark.django_db
def test_a_backfill_of_slots_to_come_waits_for_them():
    now = database_now()
    made = dispatcher.backfill(hourly(), now + DAY, now + DAY + 2 * HOUR)
    assert len(made) == 2
    assert [run.start_at for run in made] == [run.scheduled_for for run in made]


@pytest.mark.django_db
def test_the_slots_of_a_backfill_lie_in_the_time_of_the_schedule():
    window = {"starts_at": START + 2 * HOUR, "ends_at": START + 4 * HOUR}
    ScheduledTask.objects.filter(pk=hourly().pk).keep(**window)
    task = ScheduledTask.objects.get()
    slots = runs.backfill_slots(task, START, START + DAY)
    assert hours(slots) == [2, 3, 4]
    assert runs.backfill_slots(task, START + 5 * HOUR, START + DAY) == []


@pytest.mark.django_db
def test_a_backfill_makes_as_many_runs_as_its_limit_and_no_more(monkeypatch):
    monkeypatch.setattr(backfilling, "BACKFILL_LIMIT", 3)
    task = hourly()
    assert len(dispatcher.backfill(task, START, START + 3 * HOUR)) == 3
    refusal = refused(lambda: dispatcher.backfill(task, START, START + 4 * HOUR))
    assert refusal == ("end", "too_many_runs")
    assert TaskRun.objects.filter(trigger="backfill").count() == 3


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("start", "end", "refusal"),
    [
        (START.replace(tzinfo=None), START, ("start", "naive")),
        (START, (START + HOUR).replace(tzinfo=None), ("start", "naive")),
        (START, START, ("end", "ends_before_start")),
        (START, START - HOUR, ("end", "ends_before_start")),
    ],
)
def test_a_range_that_is_none_is_refused(start, end, refusal):
    task = hourly()
    assert refused(lambda: dispatcher.backfill(task, start, end)) == refusal


# Cancel -------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("status", Status.values)
def test_what_has_not_ended_is_cancelled_and_says_by_whom(status):
    run = past_run(hourly(), START, status, token=uuid4(), attempt=1)
    other = past_run(hourly("other"), START, status)
    cancelled = dispatcher.cancel(run, by="x" * 300)
    assert cancelled is not run.is_ended
    run.refresh_from_db()
    assert run.status == ("cancelled" if cancelled else status)
    if cancelled:
        assert (run.reason, run.reason_params) == ("by_person", {"by": "x" * 200})
    assert fresh(other).status == status


@pytest.mark.django_db
def test_nobody_is_named_where_nobody_is_known():
    run = past_run(hourly(), START, "published")
    dispatcher.cancel(run)
    assert fresh(run).reason_params == {"by": ""}


@pytest.mark.django_db
def test_a_run_that_is_gone_is_not_cancelled():
    run = past_run(hourly(), START, "published")
    TaskRun.objects.filter(pk=run.pk).delete()
    assert dispatcher.cancel(run) is False
