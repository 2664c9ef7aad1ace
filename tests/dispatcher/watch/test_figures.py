"""What the overview asks."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dispatcher.models import TaskRun, Tick
from dispatcher.watch import figures
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.rows import OK, fails, job, run_at, tick_at, worker

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


# Outcomes -----------------------------------------------------------------------------------------


def test_runs_are_counted_in_the_hour_in_which_they_were_made():
    first = NOW.replace(minute=0) - 2 * HOUR
    run_at(first - SECOND)  # before
    run_at(first)
    run_at(first + 59 * MINUTE, status="failed")
    run_at(first + HOUR)
    run_at(first + HOUR, status="missed")
    run_at(first + 2 * HOUR, status="running")  # no outcome yet
    run_at(first + 3 * HOUR)  # after
    hours = figures.outcomes(first, 3)
    assert [hour.start for hour in hours] == [first, first + HOUR, first + 2 * HOUR]
    seen = [{status: n for status, n in hour.counts.items() if n} for hour in hours]
    assert seen == [{"succeeded": 1, "failed": 1}, {"succeeded": 1, "missed": 1}, {}]
    assert [hour.total for hour in hours] == [2, 2, 0]


def test_all_hours_are_counted_in_one_query_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(figures.ended, "HOUR_LIMIT", 3)
    for _ in range(5):
        run_at(NOW)
    run_at(NOW, status="failed")
    with CaptureQueriesContext(connection) as captured:
        (hour,) = figures.outcomes(NOW, 1)
    assert len(captured) == 1
    assert (hour.counts["succeeded"], hour.counts["failed"], hour.is_capped) == (3, 1, True)


# Lateness -----------------------------------------------------------------------------------------


def test_percentiles_by_nearest_rank():
    values = [timedelta(seconds=n) for n in range(1, 101)]
    assert [figures.percentile(values, p) / SECOND for p in (50, 95, 99)] == [50, 95, 99]
    assert [figures.percentile(values[:1], p) / SECOND for p in (50, 99)] == [1, 1]
    assert figures.percentile(values[:3], 50) / SECOND == 2


def test_lateness_is_of_the_newest_runs_that_schedules_started(monkeypatch):
    monkeypatch.setattr(figures.ended, "SAMPLE", 4)
    run_at(NOW - 5 * MINUTE, late=HOUR)  # the fifth newest: not in the sample
    for n, status in enumerate(("failed", "succeeded", "running", "lost"), 1):
        run_at(NOW - n * MINUTE, status=status, late=n * SECOND)
    late = figures.lateness(NOW)
    assert (late.size, late.since) == (4, NOW - 4 * MINUTE)
    assert [late.p50, late.p95, late.p99] == [2 * SECOND, 4 * SECOND, 4 * SECOND]


@pytest.mark.parametrize(
    "columns",
    [
        {"slot": None, "trigger": "manual"},  # nobody set a time for it
        {"attempt": 2},  # the retry has moved its start
        {"retries": 1},
        {"at": NOW - timedelta(hours=25)},
        {"status": "missed"},
    ],
)
def test_lateness_leaves_out_what_no_schedule_started_on_time(columns):
    run_at(**{"at": NOW, "late": HOUR, **columns})
    assert figures.lateness(NOW) == figures.Lateness()


# Alive --------------------------------------------------------------------------------------------


def test_the_last_tick_is_the_newest_that_came_to_its_end():
    assert figures.last_tick() is None
    tick_at(NOW - 3 * MINUTE)
    ended = tick_at(NOW - 2 * MINUTE)
    tick_at(NOW - MINUTE, finished_at=None, error="ValueError")
    tick_at(NOW, kind=Tick.Kind.RESCUE)
    assert figures.last_tick() == ended


def test_dispatchers_are_those_that_ticked_lately_and_workers_those_that_live():
    now = database_now()
    tick_at(now - 10 * MINUTE, dispatcher="gone")
    tick_at(now - MINUTE, dispatcher="b")
    tick_at(now, dispatcher="a")
    worker(now, "dispatcher")
    worker(now, "celery", alive=False)
    living = worker(now, "celery", "mail")
    assert figures.dispatchers(now) == ["a", "b"]
    assert figures.workers(now) == [living]


def test_waiting_runs_are_a_backlog_after_two_minutes():
    late = NOW - 3 * MINUTE
    run_at(late, status="published", queue="mail")
    run_at(late - MINUTE, status="planned", queue="mail")
    run_at(late, status="retrying", queue="slow")
    run_at(NOW - MINUTE, status="published", queue="mail")  # not late yet
    run_at(late, status="published", queue="turns", reason="takes_turns")
    run_at(late, status="published", queue="waits", waits=7)
    run_at(late, status="running", queue="runs")
    found = [(row.queue, row.count, row.since) for row in figures.waiting(NOW)]
    assert found == [("mail", 2, late - MINUTE), ("slow", 1, late)]


def test_the_depth_of_the_queues_is_asked_once_in_some_seconds(sent_messages):
    from project.celery import app

    figures.alive._depths.clear()
    app.send_task(OK, queue="celery")
    first = figures.depths(["celery", "no such queue"])
    assert {depth.queue: depth.ready for depth in first} == {
        "celery": 1,
        "dispatcher": 0,
        "no such queue": 0,
    }
    app.send_task(OK, queue="celery")
    assert figures.depths(["celery", "no such queue"]) is first
    figures.alive._depths.clear()
    (celery,) = (d for d in figures.depths(["celery"]) if d.queue == "celery")
    assert celery.ready == 2


def test_a_broker_that_is_away_is_told_at_once(broken_broker):
    figures.alive._depths.clear()
    before = database_now()
    assert figures.depths(["celery"]) is None
    assert database_now() - before < timedelta(seconds=2)
    figures.alive._depths.clear()


# What needs somebody ------------------------------------------------------------------------------


def test_failing_schedules_come_with_their_newest_failure_the_newest_first():
    now = database_now()
    once, often, recovered, deleted = (job(name) for name in ("once", "often", "back", "gone"))
    first = run_at(now - 3 * MINUTE, often, "failed", exception="ValueError: first")
    run_at(now - 2 * MINUTE, often, "lost", exception="ValueError: newest")
    run_at(now - MINUTE, often, "running")
    runs = {task: run_at(now - MINUTE, task, "failed") for task in (once, recovered, deleted)}
    fails(often, first, now - 3 * MINUTE)
    for task, run in runs.items():
        fails(task, run, now - MINUTE, recovered_at=now if task is recovered else None)
    deleted.delete()

    found = [(row.task.name, row.run.status, row.since, row.said) for row in figures.failing()]

    assert found == [
        ("once", "failed", now - MINUTE, ""),
        ("often", "lost", now - 3 * MINUTE, "ValueError: newest"),
    ]


def test_schedules_that_are_set_aside_are_found_the_newest_first():
    now = database_now()
    job("well")
    rows = [job("a"), job("b"), job("c")]
    for n, row in enumerate(rows):
        ScheduledTask.objects.filter(pk=row.pk).set_aside("x", "why", now + n * SECOND)
    rows[0].pause()
    assert [row.name for row in figures.set_aside()] == ["c", "b"]


def test_running_lists_the_longest_first_and_counts_to_a_limit(monkeypatch):
    monkeypatch.setattr(figures.open_runs, "SAMPLE", 12)
    monkeypatch.setattr(figures.open_runs, "SHOWN", 2)
    made = [run_at(NOW - n * MINUTE, status="running") for n in range(15)]
    listed = figures.running()
    assert [run.pk for run in listed.rows] == [made[14].pk, made[13].pk]
    assert (listed.count, listed.is_capped, listed.unlisted) == (12, True, 10)


# The hour to come ---------------------------------------------------------------------------------


def test_upcoming_has_what_is_planned_already_and_what_is_not():
    now = database_now()
    soon = now + timedelta(seconds=40)
    create = ScheduledTask.objects.create_one_time
    planned = create("planned", OK, soon)  # within the horizon: its run exists already
    assert TaskRun.objects.filter(scheduled_task=planned.pk, slot=soon).exists()
    create("later", OK, now + 30 * MINUTE)
    create("too late", OK, now + 61 * MINUTE)
    create("paused", OK, now + 20 * MINUTE).pause()
    job("every ten minutes", every=600, starts_at=now.replace(microsecond=0) + 5 * MINUTE)
    rows, more = figures.upcoming(now)
    assert [row.task.name for row in rows] == ["planned", "every ten minutes", "later"]
    assert [len(row.slots) for row in rows] == [1, 6, 1]
    assert rows[0].slots == [soon]
    assert not more


def test_a_frequent_schedule_is_many_and_a_broken_one_harms_nobody():
    now = database_now()
    job("often", every=5)
    ScheduledTask.objects.create_cron("broken", OK, "* * * * *")
    ScheduledTask.objects.filter(name="broken").keep(timezone="Mars/Olympus")
    (row,), _more = figures.upcoming(now)
    assert (row.task.name, row.many) == ("often", True)
    assert len(row.slots) == figures.DOTS


def test_only_the_next_schedules_are_listed(monkeypatch):
    monkeypatch.setattr(figures.ahead, "SHOWN", 2)
    now = database_now()
    for n in range(1, 8):
        ScheduledTask.objects.create_one_time(f"in {n}", OK, now + n * 5 * MINUTE)
    rows, more = figures.upcoming(now)
    assert [row.task.name for row in rows] == ["in 1", "in 2", "in 3", "in 4"]
    assert more
