"""Retention: what is old goes, in bounded time; what a schedule decides by stays."""

from datetime import timedelta
from random import randrange
from uuid import UUID

import pytest
from django.core.management import call_command

from dispatcher.models import RunAttempt, Status, TaskRun, Tick, Worker
from dispatcher.models.status import ENDED
from dispatcher.tick import tick
from dispatcher.upkeep import detach
from dispatcher.upkeep import prune as pruning
from dispatcher.upkeep.prune import is_behind, prune, prune_hourly
from dispatcher.worker.pause_failing import pause_if_failing
from scheduling.database import database_now
from scheduling.models import ScheduledTask

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
DAY = timedelta(days=1)


def job(name="job", every=400 * 86_400, **options):
    """A schedule that is two years old and has its slots every 400 days."""
    task = ScheduledTask.objects.create_interval(name, OK, every, **options)
    past = database_now().replace(microsecond=0) - 700 * DAY
    columns = {"starts_at": past, "armed_at": past}
    ScheduledTask.objects.filter(pk=task.pk).keep(**columns)
    return ScheduledTask.objects.get(pk=task.pk)


def aged(days, status, task=None, slot=None, **columns):
    """A run that was made and ended `days` ago; its id says so."""
    at = database_now() - days * DAY
    pk = UUID(int=(int(at.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | randrange(2**60))
    defaults = {
        "pk": pk,
        "scheduled_task": task,
        "name": "job",
        "task": OK,
        "trigger": "schedule" if slot else "manual",
        "slot": slot,
        "status": status,
        "scheduled_for": slot or at,
        "start_at": at,
        "planned_at": at,
        "finished_at": at if status in ENDED else None,
    }
    return TaskRun.objects.create(**defaults | columns)


def left():
    return set(TaskRun.objects.values_list("pk", flat=True))


@pytest.mark.parametrize(
    ("status", "days"),
    [(s, 30) for s in ("succeeded", "cancelled", "skipped")]
    + [(s, 90) for s in ("failed", "lost", "missed")],
)
def test_each_end_is_kept_for_its_time(status, days):
    young, old = aged(days - 1, status), aged(days + 1, status)
    RunAttempt.objects.create(run=old, attempt=1, status="failed", finished_at=database_now())
    assert prune(database_now()) == 1
    assert left() == {young.pk}
    assert not RunAttempt.objects.exists()


@pytest.mark.parametrize("status", [s for s in Status if s not in ENDED])
def test_what_has_not_ended_stays(status):
    run = aged(400, status)
    assert prune(database_now()) == 0
    assert left() == {run.pk}


def test_the_settings_decide(settings):
    settings.SCHEDULER_RUN_RETENTION_DAYS, settings.SCHEDULER_FAILURE_RETENTION_DAYS = 3, 5
    kept = [aged(2, "succeeded"), aged(4, "failed")]
    aged(4, "succeeded"), aged(6, "failed")
    prune(database_now())
    assert left() == {run.pk for run in kept}


# What schedules decide by -------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["succeeded", "missed", "failed", "skipped"])
def test_the_slot_that_a_rare_schedule_had_last_does_not_come_again(status):
    task = job()
    newest = task.starts_at + 400 * DAY
    aged(700, "cancelled", task, slot=task.starts_at)
    run = aged(300, status, task, slot=newest, finished_at=newest)
    prune(database_now())
    assert left() == {run.pk}
    ScheduledTask.objects.filter(pk=task.pk).keep(next_run_at=None)  # set aside, say, and mended
    tick()
    assert left() == {run.pk}
    assert ScheduledTask.objects.get(pk=task.pk).next_run_at == newest + 400 * DAY


def test_a_planned_slot_to_come_does_not_make_the_last_one_forgotten():
    task = job()
    run = aged(300, "skipped", task, slot=task.starts_at + 400 * DAY)
    ahead = aged(0, "planned", task, slot=task.starts_at + 800 * DAY)
    prune(database_now())
    assert left() == {run.pk, ahead.pk}


def test_failures_with_an_old_success_between_them_are_not_in_a_row():
    task = job(pause_after_failures=2)
    aged(80, "failed", task)
    aged(50, "succeeded", task)
    aged(20, "failed", task)
    prune(database_now())
    assert pause_if_failing(task) is False


def test_failures_in_a_row_are_counted_however_rare():
    task = job(pause_after_failures=2)
    aged(500, "succeeded", task)
    aged(400, "failed", task)
    aged(100, "lost", task)
    prune(database_now())
    assert pause_if_failing(task) is True


def test_only_the_newest_success_is_kept():
    task = job()
    for days in (60, 50, 40):
        newest = aged(days, "succeeded", task)
    prune(database_now())
    assert left() == {newest.pk}


def test_a_schedule_that_is_over_or_gone_needs_no_run():
    over = job("over")
    aged(300, "succeeded", over, slot=over.starts_at)
    aged(300, "failed", over, slot=over.starts_at + DAY)
    ScheduledTask.objects.filter(pk=over.pk).keep(enabled=False, state_reason="finished")
    aged(300, "succeeded", scheduled_task_id=987_654)
    aged(300, "succeeded")
    prune(database_now())
    assert left() == set()


# Time ---------------------------------------------------------------------------------------------


def test_a_pass_that_is_out_of_time_goes_on_in_the_next(monkeypatch):
    monkeypatch.setattr(pruning, "DELETED_AT_ONCE", 4)
    for _ in range(10):
        aged(40, "succeeded")
    now = database_now()
    assert [prune(now, seconds=0) for _ in range(4)] == [4, 4, 2, 0]


def test_detaching_is_out_of_time_too(monkeypatch):
    monkeypatch.setattr(detach, "DETACHED_AT_ONCE", 4)
    for _ in range(10):
        aged(1, "succeeded", scheduled_task_id=987_654)
    now = database_now()
    for detached in (4, 8, 10):
        prune(now, seconds=0)
        assert TaskRun.objects.filter(scheduled_task=None).count() == detached


def test_the_first_tick_of_an_hour_prunes_and_the_others_do_not():
    hour = database_now().replace(minute=0, second=0, microsecond=0)
    aged(40, "succeeded")
    Tick.objects.create(started_at=hour - timedelta(seconds=30))
    first, second = hour + timedelta(seconds=1), hour + timedelta(seconds=61)
    Tick.objects.create(started_at=first)
    assert prune_hourly(first) == 1
    aged(40, "succeeded")
    Tick.objects.create(started_at=second)
    assert prune_hourly(second) == 0


def test_it_is_behind_when_something_is_a_day_too_old():
    aged(30.5, "succeeded"), aged(90.5, "failed"), aged(89, "failed")
    kept = job()
    aged(300, "succeeded", kept)  # its newest success
    assert is_behind(database_now()) is False
    aged(31.5, "skipped")
    assert is_behind(database_now()) is True


def test_the_record_of_ticks_and_of_stopped_workers_goes_after_a_week():
    now = database_now()
    for days in (6, 8):
        at = now - days * DAY
        Tick.objects.create(started_at=at)
        columns = {"hostname": "w@here", "pid": 1, "started_at": at, "seen_at": at}
        Worker.objects.create(id=UUID(int=days), **columns)
    alive = Worker.objects.create(
        id=UUID(int=1),
        hostname="long@here",
        pid=1,
        started_at=now - 30 * DAY,
        seen_at=now,
        lease_until=now + timedelta(seconds=45),
    )
    prune(now)
    assert Tick.objects.count() == 1
    assert set(Worker.objects.values_list("pk", flat=True)) == {UUID(int=6), alive.pk}


def test_the_command_has_all_the_time(monkeypatch, capsys):
    monkeypatch.setattr(pruning, "DELETED_AT_ONCE", 4)
    for _ in range(10):
        aged(40, "succeeded")
    call_command("prune_runs")
    assert capsys.readouterr().out == "10 rows were deleted.\n"
