"""Every slot becomes exactly one row: run, missed or skipped. Time is passed in."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from dispatcher.models import TaskRun
from dispatcher.plan import planner
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.schedules import slots_between

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
NOW = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
S = timedelta(seconds=1)


def row(every=10, *, since=timedelta(0), name="job", **columns):
    """An interval schedule whose slots are NOW - since + k * every, planned by nobody yet."""
    start = NOW - since
    columns = {"starts_at": start, "armed_at": start - S, "created_at": start} | columns
    task = ScheduledTask(name=name, task=OK, kind="interval", interval_seconds=every, **columns)
    return ScheduledTask.objects.bulk_create([task])[0]


def plan(now=NOW):
    result = planner.Planned()
    for ids in planner.due_batches(now):
        result.add(planner.plan_batch(ids, now))
    return result


def slots(**filters):
    return list(TaskRun.objects.filter(**filters).order_by("slot").values_list("slot", flat=True))


def test_it_plans_each_slot_up_to_the_horizon():
    row(10)
    result = plan()
    assert slots(status="planned") == [NOW + 10 * S * k for k in range(10)]  # 12:00:00 … 12:01:30
    assert result.planned == len(result.runs) == 10
    assert ScheduledTask.objects.get().next_run_at == NOW + 100 * S


def test_planning_twice_makes_nothing_twice():
    row(10)
    plan()
    assert plan().planned == 0
    assert TaskRun.objects.count() == 10


def test_the_next_minute_goes_on_where_the_last_one_ended():
    row(10)
    plan()
    assert plan(NOW + 60 * S).planned == 6
    assert slots() == [NOW + 10 * S * k for k in range(16)]


def test_a_run_is_leased_to_its_planner_and_carries_what_travels():
    row(60, args=[1], kwargs={"x": 2}, queue="slow", priority=3, time_limit=9, expires_seconds=30)
    plan()
    run = TaskRun.objects.order_by("slot")[0]
    assert run.publish_at == NOW + 30 * S
    assert (run.args, run.kwargs, run.queue, run.priority, run.time_limit) == (
        [1],
        {"x": 2},
        "slow",
        3,
        9,
    )
    assert run.expires_at == run.slot + 30 * S
    assert (run.attempt, run.trigger, run.revision) == (0, "schedule", 1)


def test_run_latest_runs_the_newest_and_writes_one_row_for_the_missed():
    row(10, since=timedelta(hours=1))
    plan()
    missed = TaskRun.objects.get(status="missed")
    assert (missed.slot, missed.last_slot, missed.slot_count) == (
        NOW - timedelta(hours=1),
        NOW - 10 * S,
        360,
    )
    assert (missed.reason, missed.finished_at) == ("misfire", NOW)
    assert slots(status="planned")[0] == NOW
    assert ScheduledTask.objects.get().slots_used == 370


def test_run_latest_runs_what_is_late_within_its_grace():
    row(10, since=50 * S)
    plan()
    assert not TaskRun.objects.filter(status="missed").exists()
    assert slots(status="planned")[0] == NOW - 50 * S


def test_run_all_catches_up_oldest_first():
    row(10, since=timedelta(hours=1), misfire_policy="run_all")
    result = plan()
    assert [run.slot for run in result.runs][:2] == [
        NOW - timedelta(hours=1),
        NOW - timedelta(hours=1) + 10 * S,
    ]
    assert len(result.runs) == 370


def test_run_all_misses_what_is_older_than_the_newest_thousand():
    row(1, since=timedelta(hours=1), misfire_policy="run_all")
    plan()
    missed = TaskRun.objects.get(status="missed")
    assert missed.slot_count == 3601 - 1000
    assert len(slots(status="planned")) == 1000 + 90
    assert slots(status="planned")[0] == missed.last_slot + S


def test_skip_misses_all_that_is_late_and_runs_what_is_not():
    row(10, since=timedelta(hours=1), misfire_policy="skip")
    plan()
    assert TaskRun.objects.get(status="missed").last_slot == NOW - 70 * S
    assert slots(status="planned")[0] == NOW - 60 * S  # 60 s is the grace, and not older than it


def test_a_late_one_time_job_still_runs_under_run_latest():
    late = NOW - timedelta(hours=3)
    ScheduledTask.objects.bulk_create(
        [ScheduledTask(name="once", task=OK, kind="one_time", run_at=late, armed_at=late - S)]
    )
    plan()
    assert slots(status="planned") == [late]


def test_a_late_one_time_job_is_missed_under_skip():
    late = NOW - timedelta(hours=3)
    ScheduledTask.objects.bulk_create(
        [
            ScheduledTask(
                name="once",
                task=OK,
                kind="one_time",
                run_at=late,
                armed_at=late - S,
                misfire_policy="skip",
            )
        ]
    )
    plan()
    assert slots(status="missed") == [late]
    assert not TaskRun.objects.filter(status="planned").exists()


@pytest.mark.parametrize("policy", ["run_latest", "run_all", "skip"])
@pytest.mark.parametrize("down", [0, 45, 61, 3600, 7 * 86400])
def test_every_slot_is_accounted_for_exactly_once(policy, down):
    task = row(7, since=timedelta(seconds=down), misfire_policy=policy)
    for minute in range(3):
        plan(NOW + minute * 60 * S)
    expected = list(
        slots_between(task.schedule(), task.armed_at, NOW + timedelta(seconds=2 * 60 + 90))
    )
    accounted = sum(TaskRun.objects.values_list("slot_count", flat=True))
    assert accounted == len(expected)
    assert slots(slot_count=1)[-1] == expected[-1]


def test_max_runs_counts_slots_and_finishes_after_the_last_one():
    row(10, max_runs=3)
    plan()
    assert slots() == [NOW, NOW + 10 * S, NOW + 20 * S]
    assert ScheduledTask.objects.get().enabled is True  # its last slot is still to come
    plan(NOW + 60 * S)
    task = ScheduledTask.objects.get()
    assert (task.enabled, task.state_reason, task.slots_used) == (False, "finished", 3)


def test_max_runs_counts_missed_slots_too():
    row(10, since=timedelta(hours=1), max_runs=5)
    plan()
    assert TaskRun.objects.get(status="missed").slot_count == 4
    assert len(slots(status="planned")) == 1
    assert ScheduledTask.objects.get().slots_used == 5


def test_a_skipped_slot_leaves_a_row_that_says_so():
    row(60, skip_slots=[NOW.isoformat()])
    result = plan()
    assert slots(status="skipped", reason="skipped_by_hand") == [NOW]
    assert NOW not in [run.slot for run in result.runs]


def test_jitter_moves_the_start_and_not_the_slot_and_is_the_same_each_time():
    task = row(60, jitter_seconds=40)
    plan()
    for run in TaskRun.objects.all():
        assert run.slot <= run.start_at < run.slot + 40 * S
        assert run.start_at == task.start_of(run.slot)


def test_garbage_is_set_aside_and_the_others_go_on():
    good = [row(60, name=f"good {n}") for n in range(3)]
    bad = row(60, name="bad")
    ScheduledTask.objects.filter(pk=bad.pk).keep(
        kind="cron", cron_expression="rubbish", interval_seconds=None
    )
    result = plan()
    assert result.set_aside == 1
    assert set(TaskRun.objects.values_list("scheduled_task", flat=True)) == {t.pk for t in good}
    bad.refresh_from_db()
    assert (bad.state_reason, bad.enabled) == ("set_aside", True)
    assert "cron" in bad.state_reason_params["message"]
    assert plan(NOW + 60 * S).set_aside == 0  # not tried again every minute


def test_a_row_that_was_set_aside_is_tried_again_after_a_day():
    task = row(3600)
    ScheduledTask.objects.filter(pk=task.pk).set_aside("x", "y", NOW - timedelta(days=1, seconds=1))
    assert plan().planned == 1
    assert ScheduledTask.objects.get().state_reason == ""


def test_a_slot_that_has_its_run_already_does_not_stop_the_batch():
    task = row(10, name="moved back")
    other = row(10, name="other")
    plan()
    with transaction.atomic():
        ScheduledTask.objects.filter(pk=task.pk).keep(next_run_at=NOW + 50 * S)
    result = plan(NOW + 60 * S)
    assert result.set_aside == 0
    for each in (task, other):
        assert slots(scheduled_task=each) == [NOW + 10 * S * k for k in range(16)]


def test_a_next_run_at_that_is_no_slot_of_the_rule_is_not_believed():
    task = row(10)
    plan()
    ScheduledTask.objects.filter(pk=task.pk).keep(next_run_at=NOW + 103 * S)
    plan(NOW + 60 * S)
    assert slots() == [NOW + 10 * S * k for k in range(16)]


def test_a_lost_next_run_at_is_computed_from_what_is_recorded():
    task = row(10)
    plan()
    ScheduledTask.objects.filter(pk=task.pk).keep(next_run_at=None)
    plan(NOW + 95 * S)
    assert slots() == [NOW + 10 * S * k for k in range(19)]


def test_a_one_time_job_planned_ahead_is_left_alone_until_its_slot_has_come(caplog):
    at = NOW + 60 * S
    odd = {"args": [1, "a\u00e9\\\t\n"], "kwargs": {"k": None}}  # what a bulk format may garble
    columns = {"task": OK, "kind": "one_time", "run_at": at, "next_run_at": at} | odd
    ScheduledTask.objects.bulk_create(
        [ScheduledTask(name=f"once {n}", armed_at=NOW - S, **columns) for n in range(3)]
    )
    assert plan(NOW).planned == 3
    run = TaskRun.objects.all()[0]
    assert (run.args, run.kwargs, run.result) == (odd["args"], odd["kwargs"], None)
    assert plan(NOW + 20 * S).planned == 0
    assert set(ScheduledTask.objects.values_list("enabled", "slots_used")) == {(True, 1)}
    assert plan(NOW + 61 * S).planned == 0
    states = set(ScheduledTask.objects.values_list("enabled", "state_reason"))
    assert states == {(False, "finished")}
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_rule_that_ended_behind_our_back_finishes():
    task = row(10)
    plan()
    ScheduledTask.objects.filter(pk=task.pk).keep(ends_at=NOW + 95 * S)
    plan(NOW + 60 * S)
    plan(NOW + 120 * S)
    task.refresh_from_db()
    assert (task.enabled, task.state_reason, task.next_run_at) == (False, "finished", None)


def test_a_slot_that_a_raw_insert_took_is_left_as_it_is():
    tasks = [row(60, name=f"job {n}") for n in range(3)]
    columns = {"name": "x", "task": OK, "scheduled_for": NOW, "start_at": NOW, "planned_at": NOW}
    TaskRun.objects.create(scheduled_task=tasks[1], slot=NOW, **columns)
    result = plan()
    assert (result.planned, result.set_aside, TaskRun.objects.count()) == (5, 0, 6)


@pytest.mark.django_db(transaction=True)
def test_four_planners_at_once_plan_each_slot_once():
    now = database_now()
    start = (now - timedelta(seconds=30)).replace(microsecond=0)
    for n in range(60):
        task = ScheduledTask(
            name=f"job {n}",
            task=OK,
            kind="interval",
            interval_seconds=5,
            starts_at=start,
            armed_at=start - S,
        )
        ScheduledTask.objects.bulk_create([task])
    barrier, errors = threading.Barrier(4), []

    def work():
        try:
            barrier.wait()
            plan(now)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    plan(now)  # rows that were locked by another at the time
    expected = list(slots_between(task.schedule(), start - S, now + timedelta(seconds=90)))
    for task in ScheduledTask.objects.all():
        assert slots(scheduled_task=task) == expected
        assert task.slots_used == len(expected)
