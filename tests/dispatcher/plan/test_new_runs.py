"""What a slot or a request becomes before anybody saves it: each column, and nobody else's."""

from datetime import UTC, datetime, timedelta

import pytest

from dispatcher.models import TaskRun, Trigger
from dispatcher.plan import new_runs
from scheduling.models import ScheduledTask
from scheduling.schedules import Span

OK = "tests.integration.tasks_app.tasks.ok"
NOW = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
S = timedelta(seconds=1)

TRAVELS = {
    "name": "job",
    "task": OK,
    "revision": 7,
    "args": [1],
    "kwargs": {"x": 2},
    "queue": "slow",
    "priority": 0,
    "time_limit": 9,
    "soft_time_limit": 8,
}


def definition(**columns):
    rule = {"kind": "interval", "interval_seconds": 60, "starts_at": NOW, "created_at": NOW}
    return ScheduledTask(pk=5, **(TRAVELS | rule | columns))


def values(run, *names):
    return tuple(getattr(run, name) for name in names)


def test_all_that_travels_is_copied():
    run = new_runs.slot_run(definition(), NOW, NOW)
    assert {name: getattr(run, name) for name in TRAVELS} == TRAVELS
    assert values(run, "scheduled_task_id", "trigger", "triggered_via", "planned_at") == (
        5,
        "schedule",
        "schedule",
        NOW,
    )
    assert values(run, "slot", "scheduled_for", "start_at") == (NOW, NOW, NOW)
    assert values(run, "status", "attempt", "finished_at", "expires_at") == (
        "planned",
        0,
        None,
        None,
    )


def test_what_is_asked_for_by_hand_has_no_slot():
    run = new_runs.new_run(
        definition(), Trigger.MANUAL, scheduled_for=NOW, start_at=NOW + S, now=NOW - S
    )
    assert values(run, "slot", "trigger", "start_at", "planned_at") == (
        None,
        "manual",
        NOW + S,
        NOW - S,
    )


def test_without_a_queue_the_route_of_the_task_is_asked(monkeypatch):
    monkeypatch.setattr("scheduling.registry.queue_for", lambda name: f"route of {name}")
    assert new_runs.slot_run(definition(queue=""), NOW, NOW).queue == f"route of {OK}"
    assert new_runs.slot_run(definition(), NOW, NOW).queue == "slow"


def test_the_jitter_moves_the_start_and_nothing_else():
    task = definition(jitter_seconds=50, expires_seconds=90)
    run = new_runs.slot_run(task, NOW + 60 * S, NOW)
    assert run.start_at == task.start_of(NOW + 60 * S) != NOW + 60 * S
    assert values(run, "slot", "scheduled_for") == (NOW + 60 * S, NOW + 60 * S)
    assert run.expires_at == NOW + 150 * S


@pytest.mark.parametrize(
    ("start", "publish_at"),
    [
        (-3600, 30),  # late: leased to its maker, who publishes it now
        (0, 30),
        (90, 30),  # the horizon itself
        (91, 1),  # beyond it: when the horizon reaches it
        (3690, 3600),
    ],
)
def test_a_run_is_leased_to_its_maker_or_waits_for_the_horizon(start, publish_at):
    assert new_runs.publish_time(NOW + start * S, NOW) == NOW + publish_at * S
    run = new_runs.new_run(
        definition(), Trigger.MANUAL, scheduled_for=NOW, start_at=NOW + start * S, now=NOW
    )
    assert run.publish_at == NOW + publish_at * S


@pytest.mark.parametrize(
    ("expires", "late", "missed"),
    [(None, 3600, False), (60, 59, False), (60, 60, True), (60, 61, True), (1, 0, False)],
)
def test_a_slot_whose_expiry_has_come_is_missed(expires, late, missed):
    run = new_runs.slot_run(definition(expires_seconds=expires), NOW - late * S, NOW)
    expected = ("missed", "expired", None, NOW) if missed else ("planned", "", NOW + 30 * S, None)
    assert values(run, "status", "reason", "publish_at", "finished_at") == expected


def test_a_slot_that_was_skipped_by_hand_is_skipped_even_where_it_expired():
    skipped = [NOW.isoformat(), (NOW + S).isoformat()]
    task = definition(skip_slots=skipped, expires_seconds=1)
    for slot in (NOW, NOW + S):
        run = new_runs.slot_run(task, slot, NOW + 60 * S)
        assert values(run, "status", "reason", "publish_at", "finished_at") == (
            "skipped",
            "skipped_by_hand",
            None,
            NOW + 60 * S,
        )
    assert new_runs.slot_run(task, NOW + 2 * S, NOW).status == "planned"


def test_a_missed_span_says_its_first_its_last_and_their_number():
    first, last = NOW - 600 * S, NOW - 60 * S
    run = new_runs.missed_run(definition(expires_seconds=5), Span(first, last, 10), NOW, "edited")
    assert isinstance(run, TaskRun) and run._state.adding
    assert values(run, "slot", "scheduled_for", "start_at", "last_slot", "slot_count") == (
        first,
        first,
        first,
        last,
        10,
    )
    assert values(run, "status", "reason", "publish_at", "finished_at", "trigger") == (
        "missed",
        "edited",
        None,
        NOW,
        "schedule",
    )
