"""An hour without beat, without dispatcher, without broker: what became of each slot.

The hour lies in the past: the clock of the planner is an argument, and rows are what an outage
leaves. What is expected is counted here, without asking the product for a slot.
"""

import threading
from datetime import datetime
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import run_finished, run_now
from dispatcher.models import TaskRun
from dispatcher.plan import misfire
from dispatcher.publish import publisher
from dispatcher.tick import tick
from dispatcher.upkeep.rescue import rescue
from scheduling.models import ScheduledTask
from scheduling.schedules.policies import Misfire, overtaken
from tests.dispatcher.plan.outages import (
    HOUR,
    KINDS,
    MINUTE,
    OK,
    OUTAGES,
    POLICIES,
    S,
    account,
    cron,
    decide_due,
    interval,
    plan,
    sent_slots,
    stored,
    to_run,
    without_beat,
    without_broker,
    without_dispatcher,
)


@pytest.mark.django_db(transaction=True)
@pytest.mark.sampled(8)
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


@pytest.mark.sampled(3)
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
    assert {run.pk for run in misfire.decide_again(due, end).runs} == planned


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
    assert misfire.decide_again([run], end) == ([run], 0)


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
    kept = misfire.decide_again(due, end)
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
                publisher.publish(misfire.decide_again(runs, end).runs, end)
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
    publisher.publish(misfire.decide_again(yours, end).runs, end)
    publisher.publish(misfire.decide_again(mine, end).runs, end)
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
    assert queries(misfire.decide_again, ahead, end) == 0
    due = list(TaskRun.objects.filter(slot=end))
    assert queries(misfire.decide_again, due, end + 30 * S) == 1

    start = end - 10 * MINUTE
    rule = {"kind": "interval", "interval_seconds": 3600, "created_at": start}
    ScheduledTask.objects.bulk_create(
        ScheduledTask(name=f"job {number}", task=OK, armed_at=start - S, **rule)
        for number in range(1, 1001)
    )
    plan(start)
    late = list(TaskRun.objects.filter(slot=start))
    assert len(late) == 1000
    assert queries(misfire.decide_again, late, end) <= 8
    ScheduledTask.objects.update(misfire_policy="skip")
    assert queries(misfire.decide_again, late, end) <= 8
    assert TaskRun.objects.filter(slot=start, status="missed").count() == 1000


def queries(action, *arguments):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        action(*arguments)
    return len(captured)


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
