"""Retention takes what it may and nothing beside it: of others' runs, attempts, records."""

from datetime import timedelta
from uuid import UUID

import pytest

from dispatcher.models import Failing, RunAttempt, TaskRun, Tick, Worker
from dispatcher.models.run import run_id_at
from dispatcher.upkeep import detach
from dispatcher.upkeep import prune as pruning
from dispatcher.upkeep.detach import detach_orphans
from dispatcher.upkeep.prune import is_behind, prune, prune_hourly
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.rows import OK, fails, run_at, worker

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
S = timedelta(seconds=1)


@pytest.fixture
def now():
    return database_now()


def job(name, **columns):
    """A schedule whose own runs are not in the way."""
    task = ScheduledTask.objects.create_interval(name, OK, 86_400)
    TaskRun.objects.filter(scheduled_task=task).delete()
    ScheduledTask.objects.filter(pk=task.pk).keep(**columns)
    return ScheduledTask.objects.get(pk=task.pk)


def aged(now, days, status="succeeded", task=None, **columns):
    return run_at(now - days * DAY, task, status, **{"slot": None} | columns)


def left():
    return set(TaskRun.objects.values_list("pk", flat=True))


def pks(*runs):
    return {run.pk for run in runs}


# Runs ---------------------------------------------------------------------------------------------


def test_the_age_of_a_run_is_that_of_its_id_to_the_millisecond(now):
    edge = run_id_at(now - 30 * DAY)
    young = aged(now, 30, id=UUID(int=edge.int + 1))
    aged(now, 30, id=UUID(int=edge.int - 1))
    assert prune(now) == 1
    assert left() == pks(young)


def test_only_the_attempts_of_what_goes_go_with_it(now):
    old, young = aged(now, 40), aged(now, 20)
    for run in (old, young):
        RunAttempt.objects.create(run=run, attempt=1, status="failed", finished_at=now)
    assert prune(now) == 1
    assert [attempt.run_id for attempt in RunAttempt.objects.all()] == [young.pk]


def test_what_one_schedule_keeps_is_not_measured_by_anothers_runs(now):
    rare, busy = job("rare"), job("busy")
    newest = aged(now, 100, "skipped", rare, slot=now - 100 * DAY)
    success = aged(now, 200, "succeeded", rare)
    aged(now, 1, "succeeded", busy, slot=now - DAY)
    prune(now)
    assert left() >= pks(newest, success)


def test_a_failure_is_kept_only_where_failures_are_counted(now):
    counting, plain = job("counting", pause_after_failures=3), job("plain")
    kept = [aged(now, 200, status, counting) for status in ("failed", "lost")]
    for status in ("failed", "lost"):
        aged(now, 200, status, plain)
    aged(now, 200, "missed", counting)
    prune(now)
    assert left() == pks(*kept)


def test_failures_before_the_last_success_are_not_counted_any_more(now):
    task = job("job", pause_after_failures=3)
    aged(now, 300, "failed", task)
    success = aged(now, 200, "succeeded", task)
    after = aged(now, 100, "failed", task)
    prune(now)
    assert left() == pks(success, after)


def test_a_schedule_that_is_not_enabled_keeps_nothing(now):
    task = job("job", enabled=False, state_reason="paused", pause_after_failures=3)
    aged(now, 300, "succeeded", task, slot=now - 300 * DAY)
    aged(now, 200, "failed", task)
    prune(now)
    assert left() == set()


def test_all_batches_of_all_kinds_go_in_one_pass(now, monkeypatch):
    monkeypatch.setattr(pruning, "DELETED_AT_ONCE", 3)
    for status in ("succeeded", "cancelled", "failed", "missed"):
        for _ in range(7):
            aged(now, 100, status)
    kept = aged(now, 10)
    assert is_behind(now) is True
    assert prune(now) == 28
    assert left() == pks(kept)
    assert is_behind(now) is False


# When ---------------------------------------------------------------------------------------------


def test_a_rescue_pass_is_no_tick_that_has_pruned(now):
    hour = now.replace(minute=0, second=0, microsecond=0)
    aged(now, 40)
    Tick.objects.create(kind=Tick.Kind.RESCUE, started_at=hour + S)
    assert prune_hourly(hour + 10 * S) == 1


@pytest.mark.parametrize(
    ("tick_in", "pruned"), [(-1, 1), (0, 0), (5, 0), (10, 1), (11, 1)], ids=str
)
def test_the_first_tick_since_the_hour_began_prunes(now, tick_in, pruned):
    """The tick itself, and one that began later, have not pruned before it."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    aged(now, 40)
    Tick.objects.create(started_at=hour + tick_in * S)
    assert prune_hourly(hour + 10 * S) == pruned


def test_the_hourly_pass_is_bounded_in_time(now, monkeypatch):
    monkeypatch.setattr(pruning, "DELETED_AT_ONCE", 4)
    monkeypatch.setattr(pruning, "SECONDS", 0.0)
    for _ in range(10):
        aged(now, 40)
    assert prune_hourly(now) == 4
    assert TaskRun.objects.count() == 6


# Records ------------------------------------------------------------------------------------------


def test_records_of_ticks_go_after_their_time_and_those_of_rescue_with_them(now):
    for kind in (Tick.Kind.TICK, Tick.Kind.RESCUE):
        for days in (6.9, 7.1):
            Tick.objects.create(kind=kind, started_at=now - days * DAY)
    assert prune(now) == 2
    assert all(tick.started_at > now - 7 * DAY for tick in Tick.objects.all())


def test_a_worker_that_lives_stays_however_long_it_was_not_seen(now):
    old = {"seen_at": now - 8 * DAY, "started_at": now - 9 * DAY}
    alive = worker(now, **old)
    young = worker(now, alive=False, seen_at=now - 6 * DAY)
    worker(now, alive=False, **old)
    worker(now, **old | {"lease_until": None, "stopped_at": now - 8 * DAY})
    assert prune(now) == 2
    assert set(Worker.objects.values_list("pk", flat=True)) == {alive.pk, young.pk}


def test_what_was_noticed_of_a_schedule_goes_with_it(now):
    here, gone = job("here"), job("gone")
    for task in (here, gone):
        fails(task, aged(now, 1, "failed", task), now)
    ScheduledTask.objects.filter(pk=gone.pk)._raw_delete("default")
    assert prune(now) == 1
    assert Failing.objects.get().scheduled_task_id == here.pk


# Runs of schedules that are gone ------------------------------------------------------------------


@pytest.mark.parametrize("gone", [{0}, {5}, {1, 2}, {0, 2, 4}, {3, 4, 5}, set(range(6)), set()])
@pytest.mark.parametrize("without_runs", [set(), {0, 3}])
def test_the_runs_of_what_is_gone_are_detached_and_no_others(now, gone, without_runs):
    tasks = [job(f"job {number}") for number in range(6)]
    for number, task in enumerate(tasks):
        if number not in without_runs:
            for _ in range(2):
                aged(now, 1, task=task)
    loose = aged(now, 1)
    ScheduledTask.objects.filter(pk__in=[tasks[n].pk for n in gone])._raw_delete("default")

    assert detach_orphans() == 2 * len(gone - without_runs)
    there = set(TaskRun.objects.exclude(pk=loose.pk).values_list("scheduled_task", flat=True))
    expected = {tasks[n].pk for n in set(range(6)) - gone - without_runs}
    assert there - {None} == expected
    assert detach_orphans() == 0


def test_detached_runs_keep_their_names_and_all_of_them_are_detached(now, monkeypatch):
    monkeypatch.setattr(detach, "DETACHED_AT_ONCE", 3)
    for _ in range(8):
        aged(now, 1, scheduled_task_id=987_654, name="as it was called")
    assert detach_orphans() == 8
    assert set(TaskRun.objects.values_list("scheduled_task", "name")) == {
        (None, "as it was called")
    }
