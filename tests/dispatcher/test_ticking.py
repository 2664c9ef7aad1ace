"""The order of a tick, its rounds, and what an error of one part leaves of the others."""

import logging
import re
from datetime import timedelta
from functools import partial

import pytest

from dispatcher import tick as ticking
from dispatcher.models import TaskRun, Tick
from dispatcher.plan import planner
from dispatcher.publish import publisher
from dispatcher.tick import ClockError, check_clock, rescue_pass, tick
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import pause_everything
from tests.dispatcher.rows import job, run_at

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def now():
    return database_now().replace(microsecond=0)


def due(now, name="job", **columns):
    """Two slots up to the horizon, and none of them planned."""
    columns = {"starts_at": now, "armed_at": now - S, "created_at": now} | columns
    task = ScheduledTask(name=name, task=OK, kind="interval", interval_seconds=60, **columns)
    return ScheduledTask.objects.bulk_create([task])[0]


def waiting(now, **columns):
    """Committed, and published by nobody."""
    defaults = {"status": "planned", "trigger": "manual", "publish_at": now - S, "slot": None}
    return run_at(now, **(defaults | columns))


# Errors -------------------------------------------------------------------------------------------

STAGES = {
    "distrust": ("scheduling.models.queryset.ScheduledTaskQuerySet.distrust", 0, 0),
    "plan": ("dispatcher.plan.planner.due_batches", 0, 0),
    "waiting": ("dispatcher.publish.publisher.take", 2, 1),
    "prune": ("dispatcher.upkeep.prune.prune_hourly", 2, 1),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_tick_that_failed_is_not_closed_says_why_and_is_loud(monkeypatch, now, stage):
    path, planned, _left = STAGES[stage]
    due(now)

    def fail(*args, **options):
        raise LookupError("the dog ate it " + "x" * 2000)

    monkeypatch.setattr(path, fail)
    with pytest.raises(LookupError):
        tick(now)
    record = Tick.objects.get()
    assert (record.finished_at, record.started_at) == (None, now)
    assert record.error.startswith("LookupError: the dog ate it")
    assert len(record.error) == 1000
    assert TaskRun.objects.count() == planned


def test_an_error_is_written_into_the_record_of_its_own_tick(monkeypatch, now):
    other = Tick.objects.create(started_at=now - 60 * S)
    monkeypatch.setattr(planner, "due_batches", lambda now: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tick(now)
    other.refresh_from_db()
    assert other.error == ""


def test_a_tick_says_what_it_came_to(monkeypatch, now, caplog):
    caplog.set_level(logging.INFO)
    due(now)
    due(now, "bad", misfire_policy="sometimes")
    due(now, "late", starts_at=now - HOUR, armed_at=now - HOUR - S)
    done = tick(now)
    # 12:00 and 12:01 each; of the late one 60 slots are missed
    assert (done.planned, done.published, done.missed, done.set_aside) == (4, 4, 60, 1)
    assert done.finished_at is not None
    assert done.error == ""
    assert done.tzdata and done.dispatcher
    (line,) = [r for r in caplog.records if getattr(r, "action", "") == "tick"]
    said = "Tick: 4 planned, 4 published, 60 missed, 1 set aside, horizon 90 s"
    assert line.getMessage() == said


@pytest.mark.parametrize(
    ("off", "refused"), [(0, False), (29.5, False), (-29.5, False), (30.5, True), (-30.5, True)]
)
def test_a_clock_may_be_off_by_half_a_minute_either_way(monkeypatch, now, off, refused):
    monkeypatch.setattr(ticking.time, "time", lambda: now.timestamp() + off)
    check_clock(None)  # a time that was given is nobody's clock
    if refused:
        with pytest.raises(ClockError, match=re.escape(f"{off:+.0f} s off")):
            check_clock(now)
    else:
        check_clock(now)


def test_a_fixed_time_asks_no_clock(monkeypatch, now):
    monkeypatch.setattr(ticking.time, "time", lambda: 0.0)
    assert tick(now).started_at == now
    with pytest.raises(ClockError):
        tick()


# Rounds -------------------------------------------------------------------------------------------


@pytest.fixture
def steps(monkeypatch):
    """What a tick did, in its order."""
    found = []

    def note(module, name, word):
        real = getattr(module, name)

        def noted(*args, **options):
            found.append(word)
            return real(*args, **options)

        monkeypatch.setattr(module, name, noted)

    note(ScheduledTask.objects.all().__class__, "distrust", "distrust")
    note(ScheduledTask.objects.all().__class__, "resumable", "resume")
    note(planner, "due_batches", "plan")
    note(publisher, "publish", "publish")
    note(publisher, "take", "take")
    note(ticking.prune, "prune_hourly", "prune")
    return found


def test_it_plans_first_then_publishes_what_waits_then_resumes_and_prunes_last(steps, now):
    due(now)
    waiting(now)
    tick(now)
    assert steps == [
        "distrust",
        "plan",
        "publish",
        "take",
        "publish",
        "take",
        "resume",
        "prune",
    ]


def test_a_schedule_whose_pause_is_over_runs_in_the_same_tick(now):
    task = due(now)
    task.pause(until=now - S)
    tick(now)
    task.refresh_from_db()
    assert (task.enabled, task.paused_until, task.state_reason) == (True, None, "")
    assert task.runs.filter(status__in=["planned", "published"]).exists()
    entry = ScheduledTask.history.latest()
    assert (entry.via, entry.by, entry.enabled) == ("scheduler", "paused_until", True)


def test_it_plans_until_nothing_is_due_with_a_fresh_time_each_round(monkeypatch, now):
    due(now)
    rounds = []
    real = planner.due_batches

    def later(moment):
        rounds.append(moment)
        if len(rounds) < 4:  # while it was at work another came due
            due(now, f"job {len(rounds)}")
        return real(moment)

    monkeypatch.setattr(planner, "due_batches", later)
    done = tick()
    assert (done.planned, len(rounds)) == (8, 4)
    assert rounds == sorted(set(rounds))


def test_a_tick_ends_even_where_something_is_always_due(monkeypatch, now):
    rounds = []

    def endless(moment):
        rounds.append(moment)
        due(now, f"job {len(rounds)}")
        return iter([list(ScheduledTask.objects.values_list("pk", flat=True))])

    monkeypatch.setattr(planner, "due_batches", endless)
    tick()
    assert len(rounds) == ticking.MAX_ROUNDS == 10


@pytest.mark.parametrize("what", ["missed", "planned"])
def test_a_round_that_found_anything_is_followed_by_another(monkeypatch, now, what):
    rounds = []
    found = planner.Planned(**{what: 1})
    monkeypatch.setattr(planner, "plan_batch", lambda ids, moment: found)
    monkeypatch.setattr(
        planner,
        "due_batches",
        lambda moment: rounds.append(moment) or iter([[1]][len(rounds) - 1 :]),
    )
    done = tick()
    assert len(rounds) == 2
    assert (done.missed, done.planned) == ((1, 0) if what == "missed" else (0, 1))


# Waiting ------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_what_waits_is_published_batch_by_batch_until_none_is_left(sent_messages, monkeypatch, now):
    monkeypatch.setattr(publisher, "take", partial(publisher.take, limit=2))
    runs = [waiting(now - n * S) for n in range(5)]
    later = waiting(now, publish_at=now + HOUR)
    done = tick(now)
    assert (done.planned, done.published) == (0, 5)
    assert {m["headers"]["run_id"] for m in sent_messages()} == {str(run.pk) for run in runs}
    later.refresh_from_db()
    assert later.status == "planned"


@pytest.mark.django_db(transaction=True)
def test_what_waits_too_long_is_missed_and_counted(sent_messages, now):
    task = job(every=60, misfire_policy="skip", misfire_grace_seconds=30)
    task.runs.all().delete()
    ScheduledTask.objects.filter(pk=task.pk).keep(next_run_at=now + HOUR)
    slots = [now - 10 * 60 * S, now - 5 * 60 * S, now]
    for slot in slots:
        waiting(slot, task=task, trigger="schedule", slot=slot, publish_at=now - S)
    sent_messages()
    done = tick(now)
    assert (done.missed, done.published) == (2, 1)
    assert len(sent_messages()) == 1


@pytest.mark.django_db(transaction=True)
def test_between_the_batches_it_plans_again_when_that_took_long(sent_messages, monkeypatch, now):
    """New slots have come due meanwhile."""
    monkeypatch.setattr(publisher, "take", partial(publisher.take, limit=1))
    for n in range(3):
        waiting(now - n * S)
    due(now)
    clock, planned = [0.0], []
    real, publish = planner.due_batches, publisher.publish

    def slow(runs, moment):
        clock[0] += 20.0
        return publish(runs, moment)

    monkeypatch.setattr(ticking.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(publisher, "publish", slow)
    monkeypatch.setattr(planner, "due_batches", lambda m: planned.append(clock[0]) or real(m))
    done = tick(now)
    # 20 s for what was planned; then 20 s for each that waits, and the plan again after the second
    assert planned == [0.0, 60.0]
    assert (done.published, len(sent_messages())) == (5, 5)


# The broker ---------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_with_the_broker_away_all_is_planned_and_nothing_more_is_tried(
    broken_broker, monkeypatch, now, caplog
):
    monkeypatch.setattr(planner, "PLANNED_AT_ONCE", 1)
    tasks = [due(now, f"job {n}") for n in range(3)]
    left = waiting(now)
    tries, publish = [], publisher.publish
    monkeypatch.setattr(
        publisher, "publish", lambda runs, m: tries.append(len(runs)) or publish(runs, m)
    )
    done = tick(now)
    assert (done.planned, done.published, tries) == (6, 0, [2])
    assert done.finished_at is not None  # the next one tries again; this one did what it could
    assert "broker" in done.error
    assert set(TaskRun.objects.values_list("status", flat=True)) == {"planned"}
    assert {task.runs.count() for task in tasks} == {2}
    left.refresh_from_db()
    assert left.publish_at == now - S  # not taken for nothing
    assert [r.action for r in caplog.records if getattr(r, "action", "") == "broker_away"] == [
        "broker_away"
    ]


# Resume -------------------------------------------------------------------------------------------


def paused(name, until, **columns):
    task = job(name)
    task.pause(until=until, by="ada")
    if columns:
        ScheduledTask.objects.filter(pk=task.pk).keep(**columns)
    return task


def test_those_whose_time_has_come_are_resumed_and_no_others(now):
    tasks = {
        "passed": paused("passed", now - S),
        "now": paused("now", now),
        "to come": paused("to come", now + S),
        "open": paused("open", None),
        "finished": paused("finished", now - S, state_reason="finished"),
    }
    tick(now)
    enabled = {
        name for name, task in tasks.items() if ScheduledTask.objects.get(pk=task.pk).enabled
    }
    assert enabled == {"passed", "now"}


def test_one_that_cannot_be_resumed_stays_paused_and_the_others_resume(now, caplog):
    before, bad, after = (paused(name, now - S) for name in ("a", "b", "c"))
    ScheduledTask.objects.filter(pk=bad.pk).keep(ends_at=now - HOUR, starts_at=now - 2 * HOUR)
    tick(now)
    states = ScheduledTask.objects.order_by("pk").values_list("enabled", "paused_until")
    assert list(states) == [(True, None), (False, None), (True, None)]
    assert "Scheduled task b cannot be resumed" in caplog.text
    caplog.clear()
    tick(now + 60 * S)  # it is not tried every minute
    assert "cannot be resumed" not in caplog.text
    assert before.pk < bad.pk < after.pk


def test_a_schedule_whose_next_slot_lies_outside_the_calendar_is_computed_again(now):
    task = due(now)
    ScheduledTask.objects.filter(pk=task.pk).keep(
        next_run_at=now.replace(year=9999, month=12, day=31, hour=23, minute=59, second=59)
        + timedelta(microseconds=999999)
    )
    tick(now)
    task.refresh_from_db()
    assert task.next_run_at == now + 120 * S


def test_while_everything_is_paused_a_tick_plans_nothing_and_is_a_tick(now):
    due(now)
    pause_everything()
    done = tick(now)
    assert (done.planned, done.finished_at is not None) == (0, True)


# Rescue -------------------------------------------------------------------------------------------


def test_a_rescue_pass_leaves_a_record_of_its_kind_and_notices_even_where_it_failed(
    monkeypatch, now
):
    noticed = []
    monkeypatch.setattr(ticking.notices, "notice", noticed.append)
    record = rescue_pass(now)
    assert (record.kind, record.started_at, noticed) == ("rescue", now, [now])
    assert record.finished_at is not None
    monkeypatch.setattr(ticking.rescue, "rescue", lambda now: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rescue_pass(now)
    assert noticed == [now, now]
    assert Tick.objects.filter(kind="rescue", finished_at=None).count() == 1
