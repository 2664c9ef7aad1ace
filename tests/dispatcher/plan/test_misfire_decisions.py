"""What is decided of late runs, slot by slot: at the edge of the grace, by policy, in what rows."""

from datetime import timedelta

import pytest

from dispatcher.models import TaskRun
from dispatcher.plan import misfire
from dispatcher.publish import publisher
from scheduling.database import database_now
from scheduling.models import ScheduledTask

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)
MS = timedelta(milliseconds=1)


@pytest.fixture
def now():
    """A whole minute, so that slots and grace are whole seconds apart."""
    return database_now().replace(second=0, microsecond=0)


@pytest.fixture
def task(now):
    return schedule(now)


def schedule(now, policy="run_latest", every=10, **columns):
    """A schedule of an hour ago, all planned up to the horizon."""
    start = now - 3600 * S
    columns = {"armed_at": start, "created_at": start, "next_run_at": now + 100 * S} | columns
    columns |= {"kind": "interval", "interval_seconds": every, "starts_at": start}
    name = f"job {ScheduledTask.objects.count()}"
    row = ScheduledTask(name=name, task=OK, misfire_policy=policy, **columns)
    return ScheduledTask.objects.bulk_create([row])[0]


def planned(task, now, *slots_in, start_in=None, **columns):
    """Runs of slots so many seconds from now, due to be published; returns them, leased."""
    made = []
    for slot_in in slots_in:
        slot = now + slot_in * S
        start_at = slot if start_in is None else now + start_in * S
        defaults = {"scheduled_task": task, "name": task.name, "task": OK, "trigger": "schedule"}
        defaults |= {"slot": slot, "scheduled_for": slot, "start_at": start_at, "queue": "celery"}
        defaults |= {"planned_at": slot - 90 * S, "publish_at": now - S, "revision": 1}
        made.append(TaskRun.objects.create(**defaults | columns))
    return made


def decide(runs, now):
    """As the stages do: lease them, then decide."""
    leased = publisher.take(TaskRun.objects.filter(pk__in=[run.pk for run in runs]), len(runs))
    return misfire.decide_again(leased, now)


def ages(runs, now):
    """How many seconds ago their slots were, oldest first."""
    return sorted((int((now - run.slot) / S) for run in runs), reverse=True)


def rows_missed(now):
    """(seconds since the first slot, since the last, how many), oldest first."""
    found = TaskRun.objects.filter(status="missed").order_by("slot")
    return [
        (int((now - run.slot) / S), int((now - run.last_slot) / S), run.slot_count) for run in found
    ]


# The grace ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["run_latest", "run_all", "skip"])
@pytest.mark.parametrize("grace", [0, 60, 600])
def test_a_run_exactly_as_old_as_its_grace_is_not_late(now, policy, grace):
    task = schedule(now, policy, misfire_grace_seconds=grace)
    runs = planned(task, now, *sorted({-grace, 0}))
    assert decide(runs, now) == (runs, 0)
    before = list(TaskRun.objects.order_by("slot").values_list("planned_at", flat=True))
    assert before == [run.planned_at for run in runs]


@pytest.mark.parametrize(
    ("policy", "runs_on"), [("run_latest", [0]), ("run_all", [60, 0]), ("skip", [0])]
)
def test_a_millisecond_more_is_late(now, policy, runs_on):
    task = schedule(now, policy)
    runs = planned(task, now, -60, 0)
    kept, missed = decide(runs, now + MS)
    assert ages(kept, now) == runs_on
    assert missed == 2 - len(runs_on)


@pytest.mark.parametrize(
    ("policy", "runs_on", "missed"),
    [
        ("run_latest", [10], 3),
        ("run_all", [100, 90, 20, 10], 0),
        ("skip", [20, 10], 2),
    ],
)
def test_one_late_slot_lets_its_policy_decide_over_all_that_are_due(now, policy, runs_on, missed):
    task = schedule(now, policy)
    runs = planned(task, now, -100, -90, -20, -10)
    kept = decide(runs, now)
    assert (ages(kept.runs, now), kept.missed) == (runs_on, missed)
    assert TaskRun.objects.filter(status="planned").count() == len(runs_on)


@pytest.mark.parametrize(
    ("policy", "runs_on"), [("run_latest", [0, -30]), ("skip", [0, -30]), ("run_all", [90, 0, -30])]
)
def test_a_slot_to_come_is_none_of_those_that_are_decided(now, policy, runs_on):
    task = schedule(now, policy)
    runs = planned(task, now, -90, 0, 30)
    assert ages(decide(runs, now).runs, now) == runs_on


def test_each_schedule_is_decided_by_its_own_grace_and_policy(now):
    patient = schedule(now, "skip", misfire_grace_seconds=600)
    strict, latest = schedule(now, "skip"), schedule(now, "run_latest")
    runs = [run for task in (patient, strict, latest) for run in planned(task, now, -90, -80)]
    kept = decide(runs, now)
    assert {(run.scheduled_task_id, *ages([run], now)) for run in kept.runs} == {
        (patient.pk, 90),
        (patient.pk, 80),
        (latest.pk, 80),
    }
    assert kept.missed == 3


# Jitter -------------------------------------------------------------------------------------------


def test_late_is_counted_from_the_start_that_jitter_has_put_off(now):
    task = schedule(now, "skip", jitter_seconds=1800)
    in_time = planned(task, now, -1700, start_in=-60)
    late = planned(task, now, -1600, start_in=-61)
    kept = decide([*in_time, *late], now)
    assert (kept.runs, kept.missed) == (in_time, 1)


# What else waits ----------------------------------------------------------------------------------


def test_what_waits_beside_them_is_decided_with_them(now):
    """It would be published by this tick, a moment later."""
    task = schedule(now)
    (mine,) = planned(task, now, -90)
    planned(task, now, -80, -70, -10)
    kept = decide([mine], now)
    assert (kept.runs, kept.missed) == ([], 3)
    assert ages(TaskRun.objects.filter(status="planned"), now) == [10]


@pytest.mark.parametrize(
    "columns",
    [
        {"publish_at": "leased"},
        {"status": "published"},
        {"attempt": 1},
        {"reason": "takes_turns"},
        {"waits": 1},
        {"trigger": "manual"},
        {"trigger": "backfill"},
        {"trigger": "rerun"},
    ],
    ids=lambda columns: " ".join(map(str, *columns.items())),
)
def test_what_another_process_has_or_no_slot_asked_for_is_left(now, columns):
    task = schedule(now, "skip")
    (mine,) = planned(task, now, -90)
    if columns == {"publish_at": "leased"}:
        columns = {"publish_at": now + 1800 * S}
    (other,) = planned(task, now, -80, **columns)
    assert decide([mine], now).missed == 1
    status = other.status
    other.refresh_from_db()
    assert (other.status, other.slot_count) == (status, 1)


def test_other_schedules_are_left(now):
    task, other = schedule(now, "skip"), schedule(now, "skip")
    (mine,) = planned(task, now, -90)
    (theirs,) = planned(other, now, -90)
    assert decide([mine], now).missed == 1
    theirs.refresh_from_db()
    assert theirs.status == "planned"


def test_runs_of_no_schedule_and_of_one_that_is_gone_go_on(now):
    task = schedule(now, "skip")
    orphans = planned(task, now, -90, -80)
    TaskRun.objects.filter(pk=orphans[0].pk).update(scheduled_task=None)
    TaskRun.objects.filter(pk=orphans[1].pk).update(scheduled_task=987_654)
    orphans = list(TaskRun.objects.order_by("slot"))
    assert decide(orphans, now) == (orphans, 0)


# Which is the newest ------------------------------------------------------------------------------


def test_a_newer_slot_without_a_run_yet_is_the_newest(now):
    task = schedule(now, next_run_at=now)
    runs = planned(task, now, -90, -10)
    assert decide(runs, now) == ([], 2)


def test_a_slot_that_is_not_planned_and_to_come_is_not_waited_for(now):
    task = schedule(now, next_run_at=now + S)
    runs = planned(task, now, -90, -10)
    assert ages(decide(runs, now).runs, now) == [10]


@pytest.mark.parametrize("next_in", [0, 100, None])
def test_under_run_all_what_is_not_planned_yet_displaces_nothing(now, next_in):
    task = schedule(now, "run_all", next_run_at=None if next_in is None else now + next_in * S)
    runs = planned(task, now, -90, -10)
    assert ages(decide(runs, now).runs, now) == [90, 10]


def test_the_newest_may_be_one_of_many_in_a_row(now):
    """A row of missed slots that ends after the late run began."""
    task = schedule(now)
    (late,) = planned(task, now, -90)
    planned(
        task, now, -200, status="missed", last_slot=now - 20 * S, slot_count=19, publish_at=None
    )
    TaskRun.objects.filter(status="missed").update(slot=now - 80 * S, slot_count=7)
    assert decide([late], now).missed == 1


def test_run_all_catches_up_on_the_newest_of_its_limit(now, monkeypatch):
    assert misfire.CATCH_UP_LIMIT == 1000
    monkeypatch.setattr(misfire, "CATCH_UP_LIMIT", 3)
    task = schedule(now, "run_all")
    runs = planned(task, now, -100, -90, -80, -70, -10, 30)
    kept = decide(runs, now)
    assert (ages(kept.runs, now), kept.missed) == ([80, 70, 10, -30], 2)
    assert rows_missed(now) == [(100, 90, 2)]


# In what rows -------------------------------------------------------------------------------------


def test_consecutive_slots_are_one_row_and_a_slot_between_them_makes_two(now):
    task = schedule(now, "skip")
    runs = planned(task, now, -150, -140, -130, -110, -100, -70)
    assert decide(runs, now) == ([], 6)
    assert rows_missed(now) == [(150, 130, 3), (110, 100, 2), (70, 70, 1)]
    assert TaskRun.objects.count() == 3
    missed = TaskRun.objects.all()
    assert set(missed.values_list("status", "reason")) == {("missed", "misfire")}
    assert set(missed.values_list("publish_at", "waits", "holds")) == {(None, None, None)}
    assert None not in missed.values_list("finished_at", flat=True)


def test_slots_of_two_schedules_are_never_one_row(now):
    runs = [run for n in range(2) for run in planned(schedule(now, "skip"), now, -90, -80)]
    assert decide(runs, now) == ([], 4)
    assert rows_missed(now) == [(90, 80, 2), (90, 80, 2)]


def test_slots_of_a_rule_that_cannot_be_read_are_rows_of_their_own(now):
    task = schedule(now, "skip")
    runs = planned(task, now, -90, -80)
    garbage = {"kind": "cron", "cron_expression": "garbage", "interval_seconds": None}
    ScheduledTask.objects.filter(pk=task.pk).keep(**garbage)
    assert decide(runs, now) == ([], 2)
    assert rows_missed(now) == [(90, 90, 1), (80, 80, 1)]


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 6])
def test_a_group_longer_than_a_batch_is_cut_and_no_slot_lost(now, monkeypatch, batch):
    monkeypatch.setattr(misfire, "DECIDED_AT_ONCE", batch)
    task, other = schedule(now, "skip"), schedule(now, "skip")
    runs = planned(task, now, -140, -130, -120, -110, -100) + planned(other, now, -90, -80)
    assert decide(runs, now) == ([], 7)
    rows = rows_missed(now)
    assert sum(count for _, _, count in rows) == 7
    assert all(count <= batch for _, _, count in rows)
    assert all(first - last == (count - 1) * 10 for first, last, count in rows)
    longest = [min(batch, 5 - start) for start in range(0, 5, batch)]
    assert [count for first, _, count in rows if first >= 100] == longest


def test_at_most_a_batch_is_ended_in_one_transaction(now, monkeypatch):
    monkeypatch.setattr(misfire, "DECIDED_AT_ONCE", 3)
    sizes, miss = [], misfire._miss
    monkeypatch.setattr(
        misfire, "_miss", lambda groups: sizes.append(sum(map(len, groups))) or miss(groups)
    )
    task = schedule(now, "skip")
    runs = planned(task, now, -190, -170, -160, -140, -130, -120, -110, -90)
    assert decide(runs, now) == ([], 8)
    assert max(sizes) <= 3 and sum(sizes) == 8


def test_a_run_that_started_meanwhile_is_left_and_divides_the_row(now):
    task = schedule(now, "skip")
    runs = planned(task, now, -120, -110, -100, -90, -80)
    TaskRun.objects.filter(pk=runs[2].pk).update(status="running", attempt=1, publish_at=None)
    assert misfire.decide_again(runs, now).missed == 4
    assert rows_missed(now) == [(120, 110, 2), (90, 80, 2)]
    assert TaskRun.objects.get(pk=runs[2].pk).status == "running"


# Those that run all the same ----------------------------------------------------------------------


def test_what_is_caught_up_on_was_decided_now_and_the_others_when_they_were_planned(now):
    """By that the gate lets them take turns instead of skipping one another."""
    task = schedule(now, "run_all")
    runs = planned(task, now, -100, -90, -60, -10)
    (beside,) = planned(schedule(now), now, -10)
    before = database_now()
    decide([*runs, beside], now)
    planned_at = [TaskRun.objects.get(pk=run.pk).planned_at for run in runs]
    # A transaction's time on PostgreSQL is that of its start, a moment before.
    assert all(at > before - 60 * S for at in planned_at[:2])
    assert planned_at[2:] == [run.planned_at for run in runs[2:]]
    beside.refresh_from_db()
    assert beside.planned_at == now - 100 * S


def test_the_newest_that_is_late_itself_catches_up(now):
    task = schedule(now)
    runs = planned(task, now, -100, -90)
    kept = decide(runs, now)
    assert ages(kept.runs, now) == [90]
    (run,) = TaskRun.objects.filter(status="planned")
    assert run.planned_at > run.slot + 60 * S


def test_what_started_meanwhile_keeps_the_time_of_its_decision(now):
    task = schedule(now, "run_all")
    (run,) = planned(task, now, -100)
    TaskRun.objects.filter(pk=run.pk).update(attempt=1, status="running")
    misfire.decide_again([run], now)
    run.refresh_from_db()
    assert run.planned_at == now - 190 * S
