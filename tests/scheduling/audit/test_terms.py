"""Which slots there should have been: where one rule ends and the next begins, to the instant."""

from datetime import UTC, datetime, timedelta

import pytest

from scheduling.audit import Term, expected, explains, term_of
from scheduling.audit.terms import COLUMNS, terms
from scheduling.models import ScheduledTask
from scheduling.schedules import Interval, OneTime

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)
AHEAD = timedelta(seconds=90)


def minutes(*numbers):
    return [NOON + n * MINUTE for n in numbers]


def term(start, end, every=1, **options):
    """From minute `start` to minute `end`, a slot each `every` minutes."""
    schedule = options.pop("schedule", Interval(every * MINUTE, NOON - HOUR))
    columns = {"starts_at": None, "ends_at": None, "max_runs": None, "tzdata": ""}
    columns |= {"invalid": False, "set_aside": False} | options
    return Term(NOON + start * MINUTE, NOON + end * MINUTE, schedule, **columns)


EVER = (NOON - 10 * HOUR, NOON + 10 * HOUR)


def test_a_slot_at_an_edit_belongs_to_the_old_rule():
    old, new = term(0, 4, every=2), term(4, 7)
    assert list(old.slots(*EVER)) == minutes(2, 4)
    assert list(new.slots(*EVER)) == minutes(5, 6, 7)
    assert list(expected([old, new], *EVER)) == minutes(2, 4, 5, 6, 7)
    assert (old.count(), new.count()) == (2, 3)


@pytest.mark.parametrize("before", [0, 1, 3, 4, 5])
def test_all_slots_after_a_moment_are_those_of_the_terms_since_then(before):
    found = [term(0, 4, every=2), term(4, 7)]
    rest = [slot for slot in minutes(2, 4, 5, 6, 7) if slot > NOON + before * MINUTE]
    assert list(expected(found, NOON + before * MINUTE, EVER[1])) == rest
    assert list(expected(found, NOON + before * MINUTE, NOON + 6 * MINUTE)) == rest[:-1]


def test_a_moment_belongs_to_the_term_that_it_ends():
    found = [term(0, 4), term(4, 7), term(7, 9)]
    assert term_of(found, NOON - HOUR) is found[0]
    assert term_of(found, NOON + 4 * MINUTE) is found[0]
    assert term_of(found, NOON + 4 * MINUTE + INSTANT) is found[1]
    assert term_of(found, NOON + 7 * MINUTE) is found[1]
    assert term_of(found, NOON + HOUR) is found[2]


def test_the_window_of_a_schedule_includes_both_its_ends():
    bounded = term(0, 60, starts_at=NOON + 2 * MINUTE, ends_at=NOON + 4 * MINUTE)
    assert list(bounded.slots(*EVER)) == minutes(2, 3, 4)
    assert bounded.count() == 3
    assert [bounded.has_slot(slot) for slot in minutes(1, 2, 4, 5)] == [False, True, True, False]


def test_a_rule_has_its_slots_whenever_it_was_in_force():
    short = term(0, 1)
    assert short.has_slot(NOON + 30 * MINUTE)
    assert not short.has_slot(NOON + 30 * MINUTE + INSTANT)
    assert not term(0, 1, schedule=None).has_slot(NOON)


def test_no_slot_is_expected_where_there_is_no_rule():
    resting = term(0, 60, schedule=None)
    assert list(resting.slots(*EVER)) == []
    assert resting.count() == 0


def test_of_the_slots_that_are_left_those_of_before_are_used_up():
    limited = term(0, 60)
    limited.allowed = 3
    assert list(limited.slots(*EVER)) == minutes(1, 2, 3)
    assert list(limited.slots(NOON + 2 * MINUTE, EVER[1])) == minutes(3)
    assert list(limited.slots(NOON + 3 * MINUTE, EVER[1])) == []
    assert list(limited.slots(NOON + 30 * MINUTE, EVER[1])) == []
    assert limited.count() == 3
    limited.allowed = 100
    assert limited.count() == 60
    limited.allowed = 0
    assert list(limited.slots(*EVER)) == []


# From the trail ----------------------------------------------------------------------------------


def entry(minute, kind="~", **columns):
    """A row of the trail, `minute` minutes after noon."""
    row = ScheduledTask(
        name="job", task="x", kind="interval", interval_seconds=60,
        created_at=NOON, armed_at=NOON - MINUTE,
    )  # fmt: skip
    told = {name: getattr(row, name, None) for name in COLUMNS}
    told |= {"history_date": NOON + minute * MINUTE, "history_type": kind, "tzdata": "2026a"}
    return told | {"enabled": True, "state_reason": ""} | columns


def slots(entries, until=10):
    found = terms(entries, NOON + until * MINUTE)
    return list(expected(found, *EVER))


def test_the_first_rule_counts_from_its_arming_and_each_other_from_its_edit():
    found = terms([entry(0, "+"), entry(3), entry(5)], NOON + 10 * MINUTE)
    assert [each.start for each in found] == minutes(-1, 3, 5)
    assert [each.end for each in found] == minutes(3, 5, 10)
    assert {each.tzdata for each in found} == {"2026a"}


def test_an_edit_after_the_end_ends_nothing_earlier():
    found = terms([entry(0, "+"), entry(30)], NOON + 10 * MINUTE)
    assert found[0].end == NOON + 10 * MINUTE


def test_slots_follow_the_rule_that_was_in_force():
    changed = {"interval_seconds": 120}
    assert slots([entry(0, "+"), entry(3, **changed)], 8) == minutes(0, 1, 2, 3, 4, 6, 8)


@pytest.mark.parametrize(
    "rest",
    [
        {"enabled": False, "state_reason": "paused"},
        {"enabled": False, "state_reason": ""},
        {"kind": "-"},
        {"interval_seconds": None},
    ],
)
def test_nothing_is_expected_while_it_rests_is_gone_or_has_no_rule(rest):
    kind = rest.pop("kind", "~")
    assert slots([entry(0, "+"), entry(3, kind, **rest)]) == minutes(0, 1, 2, 3)
    found = terms([entry(0, "+"), entry(3, kind, **rest)], NOON + HOUR)
    assert found[1].invalid == ("interval_seconds" in rest)


def test_a_finished_rule_says_itself_that_nothing_is_left():
    finished = {"enabled": False, "state_reason": "finished"}
    assert slots([entry(0, "+"), entry(3, **finished)], 5) == minutes(0, 1, 2, 3, 4, 5)


def test_a_term_that_was_set_aside_says_so():
    found = terms([entry(0, "+"), entry(3, state_reason="set_aside")], NOON + HOUR)
    assert [each.set_aside for each in found] == [False, True]


def test_max_runs_counts_over_all_rules_whichever_they_were():
    limited = {"max_runs": 5}
    edited = [entry(0, "+", **limited), entry(2, **limited, interval_seconds=120)]
    assert slots(edited, 30) == minutes(0, 1, 2, 4, 6)
    raised = [*edited, entry(20, max_runs=7)]
    assert slots(raised, 30) == minutes(0, 1, 2, 4, 6, 21, 22)
    lowered = [entry(0, "+"), entry(5, max_runs=4)]  # more than four are there already
    assert slots(lowered, 30) == minutes(0, 1, 2, 3, 4, 5)
    freed = [entry(0, "+", max_runs=2), entry(5)]
    assert slots(freed, 7) == minutes(0, 1, 6, 7)


# Runs that are there although no slot is expected -------------------------------------------------


@pytest.mark.parametrize(
    ("slot", "planned", "explained"),
    [
        (NOON + 5 * MINUTE, NOON + 4 * MINUTE, True),  # planned, and then edited
        (NOON + 5 * MINUTE, NOON, True),
        (NOON + 5 * MINUTE, NOON - INSTANT, False),
        (NOON + 5 * MINUTE, NOON + 4 * MINUTE + INSTANT, False),  # the new rule has it not
        (NOON + 4 * MINUTE, NOON + 3 * MINUTE, False),  # the old rule's own
        (NOON + 5 * MINUTE + INSTANT, NOON + 4 * MINUTE, False),  # no slot of any rule
        (NOON + 6 * MINUTE, NOON + 4 * MINUTE, False),  # too far ahead
    ],
)
def test_a_run_is_explained_by_a_rule_that_an_edit_has_replaced(slot, planned, explained):
    old, new = term(0, 4), term(4, 60, schedule=OneTime(NOON + HOUR))
    assert explains([old, new], slot, planned, AHEAD) is explained


def test_a_run_may_be_planned_as_far_ahead_as_the_horizon_and_no_farther():
    old, new = term(0, 4), term(4, 60, schedule=None)
    slot, planned = NOON + 5 * MINUTE, NOON + 4 * MINUTE
    assert explains([old, new], slot, planned, MINUTE)
    assert not explains([old, new], slot, planned, MINUTE - INSTANT)


@pytest.mark.parametrize("invalid", [True, False])
def test_slots_of_a_rule_that_could_not_be_read_may_have_runs_of_the_next(invalid):
    spoilt, mended = term(0, 4, schedule=None, invalid=invalid), term(4, 60)
    for slot in minutes(3, 4):
        assert explains([spoilt, mended], slot, NOON + 5 * MINUTE, AHEAD) is invalid
    assert not explains([spoilt, mended], NOON + 3 * MINUTE, NOON + 3 * MINUTE, AHEAD)
