"""An hour without beat, without dispatcher, without broker: what became of each slot.

The hour lies in the past: the clock of the planner is an argument, and rows are what an outage
leaves. What is expected is counted here, without asking the product for a slot.
"""

import threading
from collections import Counter
from datetime import datetime, timedelta
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import run_finished, run_now
from dispatcher.models import TaskRun
from dispatcher.plan import misfire, planner
from dispatcher.publish import publisher
from dispatcher.tick import tick
from dispatcher.upkeep.rescue import rescue
from scheduling.database import database_now
from scheduling.edits import transaction
from scheduling.models import ScheduledTask
from scheduling.schedules.policies import CATCH_UP_LIMIT, Misfire, overtaken

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
POLICIES = ("run_latest", "run_all", "skip")

# Schedules, and their slots counted naively ------------------------------------------------------


def every(seconds, start):
    """The slots of an interval, as a function of (after, until)."""

    def slots(after, until):
        count = int((until - start).total_seconds() // seconds)
        found = [start + k * seconds * S for k in range(count + 1)]
        return [slot for slot in found if after < slot <= until]

    return slots


def minutes_of_the_hour(step):
    """The slots of `*/step * * * *`: every minute is looked at."""

    def slots(after, until):
        minute = after.replace(second=0, microsecond=0)
        found = []
        while minute <= until:
            if minute > after and minute.minute % step == 0:
                found.append(minute)
            minute += MINUTE
        return found

    return slots


def once(at):
    return lambda after, until: [at] if after < at <= until else []


def interval(start, seconds=5, **columns):
    rule = {"kind": "interval", "interval_seconds": seconds}
    return make(start, **rule, **columns), every(seconds, start)


def cron(start, step=7, **columns):
    rule = {"kind": "cron", "cron_expression": f"*/{step} * * * *"}
    return make(start, **rule, **columns), minutes_of_the_hour(step)


def one_time(start, **columns):
    at = start + 61 * S  # planned by the last tick before the outage
    return make(start, kind="one_time", run_at=at, **columns), once(at)


def one_time_later(start, **columns):
    at = start + 30 * MINUTE  # in the middle of the outage
    return make(start, kind="one_time", run_at=at, **columns), once(at)


KINDS = (interval, cron, one_time, one_time_later)


def make(start, name="job", **columns):
    """A row as it was created at `start`."""
    columns = {"armed_at": start - S, "created_at": start} | columns
    return ScheduledTask.objects.bulk_create([ScheduledTask(name=name, task=OK, **columns)])[0]


# What an outage leaves ---------------------------------------------------------------------------


def plan(now):
    for ids in planner.due_batches(now):
        planner.plan_batch(ids, now)


def without_beat(start, end):
    """The last tick before it was whole, and its runs have run."""
    plan(start)
    for run in TaskRun.objects.filter(status="planned"):
        TaskRun.objects.filter(pk=run.pk).update(
            status="succeeded", publish_at=None, finished_at=run.start_at + S, attempt=1
        )


def without_dispatcher(start, end):
    """It died in its last tick, between the plan and the publishing."""
    plan(start)


def without_broker(start, end):
    """The dispatcher ticked each minute, and could publish nothing."""
    for minute in range(int((end - start) / MINUTE)):
        plan(start + minute * MINUTE)


OUTAGES = (without_beat, without_dispatcher, without_broker)


# What became of each slot ------------------------------------------------------------------------


def account(expected, since, until):
    """{slot: status}; AssertionError unless each of the expected slots is in exactly one row, and
    no row holds another one."""
    count, status = Counter(), {}
    for run in TaskRun.objects.exclude(slot=None).order_by("slot"):
        inside = [slot for slot in expected if run.slot <= slot <= (run.last_slot or run.slot)]
        assert len(inside) == run.slot_count, (run.slot, run.last_slot, run.slot_count)
        assert inside[0] == run.slot
        count.update(inside)
        status |= dict.fromkeys(inside, run.status)
    wanted = [slot for slot in expected if since <= slot <= until]
    assert {slot: count[slot] for slot in wanted} == dict.fromkeys(wanted, 1)
    assert set(count.values()) <= {1}
    return {slot: status[slot] for slot in wanted}


def to_run(policy, undecided, end):
    """Which of the slots up to `end` run in the end, of those that were late or came meanwhile."""
    if not undecided or undecided[0] >= end - 60 * S:
        return undecided
    if policy == "run_latest":
        return undecided[-1:]
    if policy == "run_all":
        return undecided[-CATCH_UP_LIMIT:]
    return [slot for slot in undecided if slot >= end - 60 * S]


@pytest.fixture
def end():
    return database_now().replace(microsecond=0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.sampled(3)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outage", OUTAGES)
def test_after_an_hour_each_slot_runs_or_is_missed_by_its_policy(
    sent_messages, end, outage, kind, policy
):
    start = end - HOUR
    _, slots = kind(start, misfire_policy=policy)
    outage(start, end)
    expected = slots(start - S, end + 90 * S)
    done = [slot for slot, status in stored().items() if status == "succeeded"]
    tick(end)
    became = account(expected, start, end + 90 * S)
    undecided = [slot for slot in expected if slot <= end and slot not in done]
    running = to_run(policy, undecided, end) + [slot for slot in expected if slot > end]
    assert {slot for slot, status in became.items() if status == "missed"} == (
        set(undecided) - set(running)
    )
    assert {slot for slot, status in became.items() if status == "published"} == set(running)
    assert sent_slots(sent_messages()) == sorted(running)


def stored():
    return dict(TaskRun.objects.values_list("slot", "status"))


def sent_slots(messages):
    slots = {str(pk): slot for pk, slot in TaskRun.objects.values_list("pk", "slot")}
    return sorted(slots[message["headers"]["run_id"]] for message in messages)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("outage", OUTAGES)
def test_consecutive_missed_slots_of_an_hour_are_one_row(sent_messages, end, outage):
    start = end - HOUR
    interval(start, misfire_policy="skip")
    outage(start, end)
    tick(end)
    missed = list(
        TaskRun.objects.filter(status="missed")
        .order_by("slot")
        .values_list("slot", "last_slot", "slot_count", "reason")
    )
    late_until = end - 65 * S  # 12 slots of the last minute, and the one exactly 60 s old, run
    assert (
        missed
        == {
            # 19 slots up to start + 90 s were planned and have run
            without_beat: [(start + 95 * S, late_until, 689, "misfire")],
            # the planner decides what has no run yet, the publisher what has
            without_dispatcher: [
                (start, start + 90 * S, 19, "misfire"),
                (start + 95 * S, late_until, 689, "misfire"),
            ],
            without_broker: [(start, late_until, 708, "misfire")],
        }[outage]
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("outage", OUTAGES)
def test_run_all_catches_up_on_the_newest_thousand(sent_messages, end, outage):
    start = end - 40 * MINUTE
    _, slots = interval(start, 2, misfire_policy="run_all")
    outage(start, end)
    tick(end)
    became = account(slots(start - S, end + 90 * S), start, end + 90 * S)
    late = [slot for slot in became if slot <= end]
    caught_up = [slot for slot in late if became[slot] == "published"]
    assert caught_up == late[-1000:]
    has_run = 46 if outage is without_beat else 0  # up to start + 90 s
    assert [slot for slot in late if became[slot] == "missed"] == late[has_run:-1000]


@pytest.mark.django_db(transaction=True)
def test_the_slots_of_several_ticks_without_a_broker_run_once_each(sent_messages, end):
    """Decided three minutes before the broker is back, and again afterwards."""
    start = end - 10 * MINUTE
    _, slots = interval(start)
    without_broker(start, end)
    decide_due(end - 3 * MINUTE)
    tick(end)
    became = account(slots(start - S, end + 90 * S), start, end + 90 * S)
    assert [slot for slot in became if slot <= end and became[slot] == "published"] == [end]


def decide_due(now):
    due = publisher.take(TaskRun.objects.publishable(now))
    kept = misfire.decide(due, now).runs
    TaskRun.objects.filter(pk__in=[run.pk for run in kept]).update(publish_at=now)  # not published


# What is decided, and what is not ----------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_grace_counts_from_the_start_so_that_jitter_is_no_lateness(sent_messages, end):
    cron(end - HOUR, 30, jitter_seconds=1500, misfire_policy="skip")
    plan(end - HOUR)
    for run in TaskRun.objects.all():
        TaskRun.objects.filter(pk=run.pk).update(start_at=end - 60 * S, publish_at=end - 150 * S)
        late_by_slot = end - run.slot
        assert late_by_slot > 60 * S or run.slot > end - 60 * S
    planned = set(TaskRun.objects.values_list("pk", flat=True))
    due = publisher.take(TaskRun.objects.publishable(end))
    assert {run.pk for run in misfire.decide(due, end).runs} == planned


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", ["succeeded", "running", "cancelled"])
def test_once_a_newer_slot_was_decided_no_late_one_runs_under_run_latest(
    sent_messages, end, status
):
    start = end - 5 * MINUTE
    _, slots = interval(start, 60)
    without_broker(start, end)
    newest = TaskRun.objects.filter(slot__lte=end).order_by("-slot").first()
    TaskRun.objects.filter(pk=newest.pk).update(status=status, publish_at=None)
    tick(end)
    became = account(slots(start - S, end + 90 * S), start, end + 90 * S)
    assert became.pop(newest.slot) == status
    assert {status for slot, status in became.items() if slot <= end} == {"missed"}


@pytest.mark.django_db(transaction=True)
def test_a_newer_slot_that_nobody_planned_yet_is_the_newest(sent_messages, end):
    """Rescue may come before the tick that plans it."""
    start = end - 5 * MINUTE
    interval(start, 60)
    plan(start)  # up to start + 60 s
    TaskRun.objects.update(status="published", publish_at=end)
    rescue(end)
    assert set(TaskRun.objects.values_list("status", "slot_count")) == {("missed", 2)}
    tick(end)
    assert sent_slots(sent_messages()) == [end, end + 60 * S]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "exempt",
    [
        {"trigger": "manual", "slot": None},
        {"trigger": "backfill", "slot": None},
        {"trigger": "rerun", "slot": None},
        {"reason": "takes_turns"},
        {"waits": 1},
        {"attempt": 1, "status": "retrying"},
    ],
    ids=lambda columns: next(iter(columns)) + "-" + str(next(iter(columns.values()))),
)
def test_what_a_person_asked_for_or_a_gate_has_seen_is_not_decided(sent_messages, end, exempt):
    start = end - 5 * MINUTE
    interval(start, 60, misfire_policy="skip")
    plan(start)
    run = TaskRun.objects.order_by("slot")[0]
    TaskRun.objects.filter(pk=run.pk).update(**exempt)
    run.refresh_from_db()
    assert misfire.decide([run], end) == ([run], 0)


@pytest.mark.django_db(transaction=True)
def test_a_run_whose_message_waits_in_its_queue_is_not_late(sent_messages, end):
    start = end - 5 * MINUTE
    interval(start, 60, misfire_policy="skip")
    plan(start)
    tick(start + 30 * S)  # messages that nobody consumes
    assert set(TaskRun.objects.values_list("status", flat=True)) == {"published"}
    TaskRun.objects.update(publish_at=end)
    rescue(end)
    assert set(TaskRun.objects.values_list("status", flat=True)) == {"published"}
    sent_messages()  # now they are lost
    TaskRun.objects.update(publish_at=end)
    rescue(end)
    assert set(TaskRun.objects.values_list("status", flat=True)) == {"missed"}


@pytest.mark.django_db(transaction=True)
def test_a_late_run_that_runs_all_the_same_takes_turns_as_those_do_that_the_planner_caught_up_on(
    sent_messages, end
):
    start = end - 5 * MINUTE
    interval(start, 60, misfire_policy="run_all", overlap_policy="skip")
    without_broker(start, end)
    tick(end)
    late = TaskRun.objects.filter(slot__lt=end - 60 * S)
    assert late.count() == 4
    assert all(run.planned_at > run.slot + 60 * S for run in late)


@pytest.mark.django_db(transaction=True)
def test_a_run_that_a_worker_claims_meanwhile_divides_the_missed_ones(sent_messages, end):
    start = end - 10 * MINUTE
    _, slots = interval(start, 60, misfire_policy="skip")
    without_broker(start, end)
    due = publisher.take(TaskRun.objects.publishable(end))
    TaskRun.objects.filter(slot=start + 180 * S).update(status="running", attempt=1)
    kept = misfire.decide(due, end)
    assert kept.missed == 8
    missed = TaskRun.objects.filter(status="missed").order_by("slot")
    assert list(missed.values_list("slot", "last_slot", "slot_count")) == [
        (start, start + 120 * S, 3),
        (start + 240 * S, end - 120 * S, 5),
    ]
    account(slots(start - S, end + 90 * S), start, end + 30 * S)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("policy", POLICIES)
def test_four_dispatchers_at_once_lose_no_slot_and_double_none(sent_messages, end, policy):
    start = end - 10 * MINUTE
    _, slots = interval(start, misfire_policy=policy)
    without_broker(start, end)
    errors = []

    def publish():
        try:
            while runs := publisher.take(TaskRun.objects.publishable(end), 15):
                publisher.publish(misfire.decide(runs, end).runs, end)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    became = account(slots(start - S, end + 30 * S), start, end + 30 * S)
    assert "planned" not in became.values()
    due = [slot for slot in became if slot <= end]
    running = [slot for slot in due if became[slot] == "published"]
    # Two may each think of a run within its grace that the other's late ones were decided before.
    assert set(to_run(policy, due, end)) <= set(running)
    assert all(slot >= end - 60 * S for slot in set(running) - set(to_run(policy, due, end)))
    ids = [message["headers"]["run_id"] for message in sent_messages()]
    assert len(ids) == len(set(ids))


@pytest.mark.django_db(transaction=True)
def test_two_dispatchers_that_decide_at_once_lose_no_slot_and_send_the_newest(sent_messages, end):
    start = end - HOUR
    _, slots = interval(start)
    without_broker(start, end)
    mine = publisher.take(TaskRun.objects.publishable(end), 100)
    yours = publisher.take(TaskRun.objects.publishable(end), 1000)
    publisher.publish(misfire.decide(yours, end).runs, end)
    publisher.publish(misfire.decide(mine, end).runs, end)
    account(slots(start - S, end + 30 * S), start, end + 30 * S)
    assert sent_slots(sent_messages())[0] == end


@pytest.mark.django_db(transaction=True)
def test_it_tells_of_each_row_that_it_ends_once_and_after_the_commit(sent_messages, end):
    start = end - 10 * MINUTE
    interval(start, 60, misfire_policy="skip")
    without_broker(start, end)
    heard = []
    hear = partial(lambda run, **signal: heard.append((run.pk, run.status, run.slot_count)))
    run_finished.connect(hear)
    try:
        tick(end)
    finally:
        run_finished.disconnect(hear)
    row = TaskRun.objects.get(status="missed")
    assert heard == [(row.pk, "missed", 9)]


# Cost --------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_it_costs_nothing_before_the_start_one_query_in_time_and_a_handful_when_late(end):
    interval(end - HOUR, 60)
    plan(end)
    ahead = list(TaskRun.objects.filter(slot__gt=end))
    assert queries(misfire.decide, ahead, end) == 0
    due = list(TaskRun.objects.filter(slot=end))
    assert queries(misfire.decide, due, end + 30 * S) == 1

    start = end - 10 * MINUTE
    rule = {"kind": "interval", "interval_seconds": 3600, "created_at": start}
    ScheduledTask.objects.bulk_create(
        ScheduledTask(name=f"job {number}", task=OK, armed_at=start - S, **rule)
        for number in range(1, 1001)
    )
    plan(start)
    late = list(TaskRun.objects.filter(slot=start))
    assert len(late) == 1000
    assert queries(misfire.decide, late, end) <= 8
    ScheduledTask.objects.update(misfire_policy="skip")
    assert queries(misfire.decide, late, end) <= 8
    assert TaskRun.objects.filter(slot=start, status="missed").count() == 1000


def queries(action, *arguments):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        action(*arguments)
    return len(captured)


# Changes in the middle of it ---------------------------------------------------------------------


def clock_of_edits(monkeypatch, now):
    monkeypatch.setattr(transaction, "database_now", lambda: now)


def edit_arguments(task):
    task.kwargs = {"x": 1}
    task.save()


def edit_rule(task):
    task.interval_seconds = 7
    task.save()


def edit_policy(task):
    task.misfire_policy = "run_all"
    task.save()


def change_zone(task):
    task.timezone = "Asia/Kathmandu"
    task.save()


def pause(task):
    task.pause()


def delete(task):
    task.delete()


# In the middle of an outage `on_commit` reaches a broker that is away, as the outage has it.


@pytest.mark.django_db(transaction=True)
@pytest.mark.sampled(3)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("outage", [without_dispatcher, without_broker])
@pytest.mark.parametrize("change", [edit_arguments, edit_rule, edit_policy, pause, delete])
def test_a_change_in_the_middle_loses_no_slot_and_doubles_none(
    broken_broker, monkeypatch, end, change, outage, policy
):
    start, middle = end - 10 * MINUTE, end - 5 * MINUTE
    task, old = interval(start, 5, misfire_policy=policy)
    outage(start, middle)
    clock_of_edits(monkeypatch, middle)
    task = ScheduledTask.objects.get(pk=task.pk)
    change(task)
    new = every(7, start) if change is edit_rule else old
    if change not in (pause, delete):
        (without_broker if outage is without_broker else lambda *_: None)(middle, end)
        plan(end)
        decide_due(end)
    ahead = [] if change in (pause, delete) else new(middle, end + 90 * S)
    expected = old(start - S, middle) + ahead
    became = account(expected, start, end + 90 * S)
    if change in (pause, delete):
        assert set(became.values()) <= {"cancelled", "missed"}
    else:
        assert set(became.values()) <= {"planned", "missed"}
        rule = "run_all" if change is edit_policy else policy
        due = [slot for slot in became if slot <= end and became[slot] == "planned"]
        if rule == "run_latest":
            assert due == [new(start - S, end)[-1]]
        if rule == "skip":
            assert due == [slot for slot in new(start - S, end) if slot >= end - 60 * S]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_pause_and_a_resume_in_the_middle_leave_the_pause_empty(
    broken_broker, monkeypatch, end, policy
):
    start, paused, resumed = end - 12 * MINUTE, end - 9 * MINUTE, end - 3 * MINUTE
    task, slots = interval(start, 5, misfire_policy=policy)
    without_broker(start, paused)
    clock_of_edits(monkeypatch, paused)
    ScheduledTask.objects.get(pk=task.pk).pause()
    clock_of_edits(monkeypatch, resumed)
    ScheduledTask.objects.get(pk=task.pk).resume()
    without_broker(resumed, end)
    plan(end)
    decide_due(end)
    expected = slots(start - S, paused) + slots(resumed, end + 90 * S)
    became = account(expected, start, end + 90 * S)
    assert {became[slot] for slot in slots(start - S, paused)} == {"cancelled"}
    assert {became[slot] for slot in slots(end, end + 90 * S)} == {"planned"}
    late = [slot for slot in slots(resumed, end) if became[slot] == "planned"]
    assert late == to_run(policy, slots(resumed, end), end)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_zone_change_in_the_middle_leaves_the_slots_of_both_zones(
    broken_broker, monkeypatch, end, policy
):
    """Kathmandu is at +05:45: its full and half hours are our quarters."""
    start, middle = end - 4 * HOUR, end - 2 * HOUR
    rule = {"kind": "cron", "cron_expression": "0,30 * * * *", "timezone": "UTC"}
    task = make(start, **rule, misfire_policy=policy)
    for tick_at in range(120):
        plan(start + tick_at * MINUTE)
    clock_of_edits(monkeypatch, middle)
    change_zone(ScheduledTask.objects.get(pk=task.pk))
    for tick_at in range(121):
        plan(middle + tick_at * MINUTE)
    decide_due(end)

    def slots(minutes, after, until):
        return [slot for slot in minutes_of_the_hour(15)(after, until) if slot.minute in minutes]

    expected = slots((0, 30), start - S, middle) + slots((15, 45), middle, end + 90 * S)
    became = account(expected, start, end + 90 * S)
    running = [slot for slot in expected if slot <= end and became[slot] == "planned"]
    assert running == to_run(policy, [slot for slot in expected if slot <= end], end)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("policy", POLICIES)
def test_an_edit_when_the_broker_is_back_does_not_send_what_is_too_late(sent_messages, end, policy):
    """The edit itself publishes what it renews, before any tick could decide."""
    start = end - 10 * MINUTE
    task, slots = interval(start, 60, misfire_policy=policy)
    without_broker(start, end)
    edit_arguments(ScheduledTask.objects.get(pk=task.pk))
    now = ScheduledTask.objects.get(pk=task.pk).updated_at
    became = account(slots(start - S, end + 60 * S), start, end + 60 * S)
    due = [slot for slot in became if slot <= now]
    running = to_run(policy, due, now)
    assert sorted(sent_slots(sent_messages())) == [s for s in became if s in running or s > now]


# The rule alone ----------------------------------------------------------------------------------

NOON = datetime.fromisoformat("2026-03-02T12:00:00+00:00")


@given(
    ages=st.sets(st.integers(0, 5000), max_size=30),
    kept=st.none() | st.integers(0, 5000),
    grace=st.integers(0, 600),
    policy=st.sampled_from(POLICIES),
)
def test_the_rule_over_what_waits(ages, kept, grace, policy):
    slots = sorted(NOON - age * S for age in ages)
    keep_from = None if kept is None else NOON - kept * S
    rule = Misfire(policy=policy, grace=grace * S)
    missed = overtaken([(slot, slot) for slot in slots], keep_from, now=NOON, misfire=rule)
    late = [slot for slot in slots if slot < NOON - grace * S]
    if not late:
        assert missed == []
    elif policy == "skip":
        assert missed == late
    else:
        assert missed == [slot for slot in slots if keep_from and slot < keep_from]


@pytest.mark.django_db(transaction=True)
def test_run_now_beside_late_runs_is_left_alone(sent_messages, end):
    start = end - 5 * MINUTE
    task, _ = interval(start, 60, misfire_policy="skip")
    without_broker(start, end)
    asked_for = run_now(ScheduledTask.objects.get(pk=task.pk))
    TaskRun.objects.filter(pk=asked_for.pk).update(status="planned", start_at=start, publish_at=end)
    tick(end)
    asked_for.refresh_from_db()
    assert asked_for.status == "published"
