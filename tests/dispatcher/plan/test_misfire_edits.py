"""Edits and pauses in the middle of an outage: no slot is lost, none is doubled."""

import pytest

from scheduling.edits import transaction
from scheduling.models import ScheduledTask
from tests.dispatcher.plan.outages import (
    HOUR,
    MINUTE,
    POLICIES,
    S,
    account,
    decide_due,
    every,
    interval,
    make,
    minutes_of_the_hour,
    plan,
    sent_slots,
    to_run,
    without_broker,
    without_dispatcher,
)

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
@pytest.mark.sampled(8)
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


@pytest.mark.sampled(3)
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
