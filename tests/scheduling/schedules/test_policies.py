"""What becomes of each slot, against a naive reading of the rules, and at every boundary."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduling.schedules import Cron, Interval, OneTime, Span
from scheduling.schedules.policies import (
    CATCH_UP_LIMIT,
    RERUN_LIMIT,
    Misfire,
    Window,
    jitter,
    overtaken,
    plan_slots,
    retry_delay,
)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
S = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)
GRACE = MINUTE
POLICIES = ("run_latest", "run_all", "skip")


def minutely(**bounds) -> Window:
    return Window(Interval(MINUTE, NOON), **bounds)


# The window --------------------------------------------------------------------------------------


def test_a_window_includes_both_its_ends():
    window = minutely(starts_at=NOON + 5 * MINUTE, ends_at=NOON + 8 * MINUTE)
    slots = [NOON + n * MINUTE for n in (5, 6, 7, 8)]
    everything = (NOON - HOUR, NOON + HOUR)

    assert list(window.between(*everything)) == slots
    assert window.span(*everything) == Span(slots[0], slots[-1], 4)
    assert window.newest(*everything, 2) == slots[-2:]
    assert window.next_after(NOON - HOUR) == slots[0]
    assert window.next_after(slots[-1] - INSTANT) == slots[-1]
    assert window.next_after(slots[-1]) is None
    assert [window.has_slot(NOON + n * MINUTE) for n in range(4, 10)] == [
        False, True, True, True, True, False,
    ]  # fmt: skip


def test_a_window_leaves_out_what_is_an_instant_outside():
    window = minutely(
        starts_at=NOON + 5 * MINUTE + INSTANT,
        ends_at=NOON + 8 * MINUTE - INSTANT,
    )
    assert list(window.between(NOON, NOON + HOUR)) == [NOON + 6 * MINUTE, NOON + 7 * MINUTE]
    assert window.span(NOON, NOON + HOUR) == Span(NOON + 6 * MINUTE, NOON + 7 * MINUTE, 2)
    assert not window.has_slot(NOON + 5 * MINUTE)
    assert not window.has_slot(NOON + 8 * MINUTE)


def test_a_moment_beside_a_slot_is_no_slot():
    assert minutely().has_slot(NOON)
    assert not minutely().has_slot(NOON + INSTANT)
    assert not minutely().has_slot(NOON - INSTANT)


def test_a_window_without_a_moment_in_it_has_no_slot():
    window = minutely(ends_at=NOON - INSTANT)
    assert window.next_after(NOON - HOUR) is None
    assert window.span(NOON - HOUR, NOON + HOUR) is None
    assert window.newest(NOON - HOUR, NOON + HOUR, 5) == []
    assert list(window.between(NOON - HOUR, NOON + HOUR)) == []


@given(
    every=st.sampled_from([1, 2, 3, 7, 60, 61]),
    after=st.integers(-100, 100),
    length=st.integers(-20, 400),
    fraction=st.sampled_from([-1, 0, 1, 250_000]),
    starts=st.none() | st.integers(-100, 300),
    ends=st.none() | st.integers(-100, 300),
    count=st.integers(-1, 60),
)
@settings(deadline=None, max_examples=300)
def test_the_questions_about_a_window_agree_with_a_list(
    every, after, length, fraction, starts, ends, count
):
    starts_at = None if starts is None else NOON + starts * S
    ends_at = None if ends is None else NOON + ends * S
    window = Window(Interval(every * S, NOON), starts_at, ends_at)
    begin = NOON + after * S + fraction * INSTANT
    end = begin + length * S
    slots = [
        slot
        for slot in (NOON + n * every * S for n in range(600))
        if begin < slot <= end
        and (starts_at is None or starts_at <= slot)
        and (ends_at is None or slot <= ends_at)
    ]
    span = Span(slots[0], slots[-1], len(slots)) if slots else None

    assert list(window.between(begin, end)) == slots
    assert window.span(begin, end) == span
    assert window.newest(begin, end, 3) == slots[-3:]
    until = window.until_count(begin, end, count)
    assert list(window.between(begin, until)) == slots[: max(count, 0)]
    if count > 0:
        # so late that all that come up to then are decided, and the next one is not
        assert until == end or until >= slots[count - 1]


def test_slots_a_second_apart_are_cut_at_each_count():
    window = Window(Interval(S, NOON))
    for count in range(1, 60):
        until = window.until_count(NOON - INSTANT, NOON + 59 * S, count)
        assert window.span(NOON - INSTANT, until).count == count


def test_a_downtime_of_years_is_cut_at_the_count_too():
    window = Window(Cron("*/7 * * * * *"))
    until = window.until_count(NOON, NOON + timedelta(days=3650), 100_000)
    span = window.span(NOON, until)
    assert span.count == 100_000
    assert until < window.next_after(span.last)


# The plan ----------------------------------------------------------------------------------------


def plan(policy, first, *, late=timedelta(0), window=None, allowed=None, ahead=90 * S):
    """What is planned `late` after the slot `first`, up to `ahead`."""
    now = first + late
    return plan_slots(
        window or minutely(),
        first,
        now=now,
        horizon=now + ahead,
        misfire=Misfire(policy, GRACE),
        allowed=allowed,
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_a_slot_as_old_as_its_grace_is_in_time(policy):
    plan_in_time = plan(policy, NOON, late=GRACE, ahead=timedelta(0))
    assert plan_in_time.runs == (NOON, NOON + MINUTE)
    assert plan_in_time.missed is None


@pytest.mark.parametrize(
    ("policy", "runs", "missed"),
    [
        ("run_latest", [1], [0]),
        ("run_all", [0, 1], []),
        ("skip", [1], [0]),
    ],
)
def test_a_slot_an_instant_older_than_its_grace_is_late(policy, runs, missed):
    late = plan(policy, NOON, late=GRACE + INSTANT, ahead=timedelta(0))
    assert late.runs == tuple(NOON + n * MINUTE for n in runs)
    assert late.missed == (Span(NOON, NOON, 1) if missed else None)
    assert late.used == 2
    assert late.next_run_at == NOON + 2 * MINUTE


def test_skip_runs_the_slot_that_is_as_old_as_its_grace_beside_a_late_one():
    found = plan("skip", NOON, late=GRACE + MINUTE, ahead=timedelta(0))
    assert found.runs == (NOON + MINUTE, NOON + 2 * MINUTE)
    assert found.missed == Span(NOON, NOON, 1)


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_run_all_catches_up_on_the_newest_thousand_exactly(extra):
    count = CATCH_UP_LIMIT + extra
    found = plan("run_all", NOON, late=(count - 1) * MINUTE, ahead=timedelta(0))
    slots = [NOON + n * MINUTE for n in range(count)]
    assert found.runs == tuple(slots[extra:])
    assert found.missed == (Span(slots[0], slots[extra - 1], extra) if extra else None)
    assert found.used == count


def test_the_limit_of_catching_up_is_a_thousand():
    assert CATCH_UP_LIMIT == 1000


def test_slots_after_now_run_beside_the_newest_late_one():
    found = plan("run_latest", NOON, late=5 * MINUTE + S, ahead=2 * MINUTE)
    assert found.runs == tuple(NOON + n * MINUTE for n in (5, 6, 7))
    assert found.missed == Span(NOON, NOON + 4 * MINUTE, 5)


def test_a_late_slot_is_the_only_one_that_run_latest_needs():
    daily = Window(Interval(timedelta(days=1), NOON))
    found = plan("run_latest", NOON, late=HOUR, window=daily)
    assert (found.runs, found.missed) == ((NOON,), None)
    assert found.next_run_at == NOON + timedelta(days=1)


def test_a_slot_on_the_horizon_is_planned_and_one_after_it_is_not():
    assert plan("skip", NOON, ahead=MINUTE).runs == (NOON, NOON + MINUTE)
    found = plan("skip", NOON, ahead=MINUTE - INSTANT)
    assert (found.runs, found.next_run_at) == ((NOON,), NOON + MINUTE)


@pytest.mark.parametrize("allowed", [0, 1, 2, 3])
def test_the_last_slot_allowed_leaves_no_next_one(allowed):
    found = plan("run_all", NOON, allowed=allowed, ahead=MINUTE)  # two slots up to the horizon
    assert found.runs == tuple(NOON + n * MINUTE for n in range(min(allowed, 2)))
    assert found.used == min(allowed, 2)
    assert found.next_run_at == (NOON + 2 * MINUTE if allowed > 2 else None)


def test_missed_slots_use_up_what_is_allowed():
    found = plan("skip", NOON, late=HOUR, allowed=3)
    assert (found.runs, found.used, found.next_run_at) == ((), 3, None)
    assert found.missed == Span(NOON, NOON + 2 * MINUTE, 3)


def test_the_newest_of_those_allowed_runs_and_not_a_newer_one():
    found = plan("run_latest", NOON, late=HOUR, allowed=3)
    assert found.runs == (NOON + 2 * MINUTE,)
    assert found.missed == Span(NOON, NOON + MINUTE, 2)


def test_a_schedule_that_ended_on_a_slot_has_no_next_one():
    window = minutely(ends_at=NOON + MINUTE)
    found = plan("run_latest", NOON, window=window, ahead=HOUR)
    assert (found.runs, found.next_run_at) == ((NOON, NOON + MINUTE), None)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_schedule_that_ended_before_its_next_slot_has_nothing(policy):
    found = plan(policy, NOON, late=HOUR, window=minutely(ends_at=NOON - INSTANT))
    assert (found.runs, found.missed, found.used, found.next_run_at) == ((), None, 0, None)


def test_a_late_one_time_job_has_nothing_after_it():
    once = Window(OneTime(NOON))
    assert plan("run_latest", NOON, late=HOUR, window=once).runs == (NOON,)
    skipped = plan("skip", NOON, late=HOUR, window=once)
    assert (skipped.runs, skipped.missed) == ((), Span(NOON, NOON, 1))
    assert skipped.next_run_at is None


@given(
    every=st.sampled_from([1, 7, 20, 60, 90, 3600]),
    late=st.integers(-30, 4000),
    fraction=st.sampled_from([-1, 0, 0, 1]),
    ahead=st.sampled_from([0, 1, 90]),
    grace=st.sampled_from([0, 1, 60, 600]),
    ends=st.none() | st.integers(0, 4100),
    allowed=st.none() | st.integers(0, 80),
    policy=st.sampled_from(POLICIES),
)
@settings(deadline=None, max_examples=200)
def test_each_slot_runs_or_is_missed_as_the_rules_say(
    every, late, fraction, ahead, grace, ends, allowed, policy
):
    ends_at = None if ends is None else NOON + ends * S
    window = Window(Interval(every * S, NOON), ends_at=ends_at)
    now = NOON + late * S + fraction * INSTANT
    horizon = now + ahead * S
    found = plan_slots(
        window,
        NOON,
        now=now,
        horizon=horizon,
        misfire=Misfire(policy, grace * S),
        allowed=allowed,
    )

    all_slots = [NOON + n * every * S for n in range(5000 // every + 3)]
    slots = [slot for slot in all_slots if ends_at is None or slot <= ends_at]
    decided = [slot for slot in slots if slot <= horizon][:allowed]
    due = [slot for slot in decided if slot <= now]
    is_late = [slot < now - grace * S for slot in due]
    missed = []
    if any(is_late):
        kept = {"run_latest": due[-1:], "run_all": due[-CATCH_UP_LIMIT:]}
        kept["skip"] = due[sum(is_late) :]
        missed = [slot for slot in due if slot not in set(kept[policy])]
    runs = tuple(slot for slot in decided if slot not in set(missed))

    assert found.runs == runs
    assert found.missed == (Span(missed[0], missed[-1], len(missed)) if missed else None)
    assert found.used == len(decided)
    rest = slots[len(decided) :] if allowed is None or len(decided) < allowed else []
    assert found.next_run_at == (rest[0] if rest else None)


# What could not be published in time -------------------------------------------------------------

SLOTS = [NOON + n * MINUTE for n in range(4)]


def not_run(policy, now, keep_from, *, delay=timedelta(0)):
    waiting = [(slot, slot + delay) for slot in SLOTS]
    return overtaken(waiting, keep_from, now=now, misfire=Misfire(policy, GRACE))


@pytest.mark.parametrize("policy", POLICIES)
def test_what_waits_is_not_late_until_the_grace_has_passed(policy):
    assert not_run(policy, NOON + GRACE, SLOTS[-1]) == []


def test_one_late_slot_leaves_the_newest_only():
    assert not_run("run_latest", NOON + GRACE + INSTANT, SLOTS[-1]) == SLOTS[:-1]


def test_the_slot_from_which_all_are_kept_is_kept_itself():
    assert not_run("run_all", NOON + HOUR, SLOTS[2]) == SLOTS[:2]
    assert not_run("run_all", NOON + HOUR, SLOTS[0]) == []
    assert not_run("run_all", NOON + HOUR, None) == []


def test_a_slot_newer_than_all_that_waits_leaves_none():
    assert not_run("run_latest", NOON + HOUR, SLOTS[-1] + MINUTE) == SLOTS


def test_skip_leaves_what_is_in_time_whatever_is_newest():
    assert not_run("skip", SLOTS[1] + GRACE, SLOTS[-1]) == SLOTS[:1]
    assert not_run("skip", SLOTS[1] + GRACE + INSTANT, None) == SLOTS[:2]


@pytest.mark.parametrize("policy", ["run_latest", "skip"])
def test_a_start_that_jitter_delays_is_late_only_after_that(policy):
    assert not_run(policy, NOON + 2 * GRACE, SLOTS[-1], delay=MINUTE) == []
    assert SLOTS[0] in not_run(policy, NOON + 2 * GRACE + INSTANT, SLOTS[-1], delay=MINUTE)


# Jitter ------------------------------------------------------------------------------------------

MANY = [NOON + n * MINUTE for n in range(2000)]


def test_jitter_fills_its_width_and_never_reaches_the_next_slot():
    found = [jitter(1, slot, 3600, slot + 10 * S) for slot in MANY]
    assert timedelta(0) <= min(found) < 0.1 * S
    assert 9.9 * S < max(found) < 10 * S
    assert 4.5 * S < sum(found, timedelta(0)) / len(found) < 5.5 * S


@pytest.mark.parametrize("following", [None, HOUR])
def test_jitter_is_as_wide_as_asked_where_the_next_slot_is_farther_away(following):
    found = [jitter(1, slot, 20, slot + following if following else None) for slot in MANY]
    assert 19.8 * S < max(found) < 20 * S
    assert min(found) < 0.2 * S


def test_jitter_is_finer_than_a_second():
    assert len({jitter(1, slot, 2, None) for slot in MANY[:100]}) > 50


def test_jitter_differs_by_slot_and_by_seed_and_is_always_the_same():
    by_slot = [jitter(1, slot, 3600, None) for slot in MANY[:100]]
    by_seed = [jitter(seed, NOON, 3600, None) for seed in range(100)]
    assert len(set(by_slot)) > 95
    assert len(set(by_seed)) > 95
    assert by_slot == [jitter(1, slot, 3600, None) for slot in MANY[:100]]
    assert jitter(1, NOON, 3600, None) != jitter(1, NOON + INSTANT, 3600, None)


def test_jitter_outlives_the_process_so_that_a_preview_stays_true():
    assert jitter(7, NOON, 600, None) == timedelta(milliseconds=469_696)


@pytest.mark.parametrize("seconds", [0, -1])
def test_without_jitter_a_run_starts_at_its_slot(seconds):
    assert jitter(1, NOON, seconds, NOON + HOUR) == timedelta(0)


def test_the_smallest_jitter_is_a_second_wide():
    assert 0.9 * S < max(jitter(1, slot, 1, None) for slot in MANY) < S


# Retries -----------------------------------------------------------------------------------------


def delays(base, attempts=range(1, 9), **options):
    return [retry_delay(base, n, **options) / S for n in attempts]


def test_without_backoff_each_wait_is_the_same():
    assert delays(60, backoff=False) == [60] * 8
    assert delays(0, backoff=False) == [0] * 8
    assert delays(86_400, backoff=False) == [86_400] * 8


def test_with_backoff_it_doubles_up_to_an_hour():
    assert delays(60, backoff=True) == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert delays(1, [12, 13, 100], backoff=True) == [2048, 3600, 3600]
    assert delays(0, backoff=True) == [0] * 8


def test_a_wait_of_more_than_an_hour_does_not_double_and_is_not_shortened():
    assert delays(3600, backoff=True) == [3600] * 8
    assert delays(7200, backoff=True) == [7200] * 8


@pytest.mark.parametrize("base", [86_400, 315_360_000])  # a day, and the longest wait, ten years
def test_the_longest_wait_can_be_doubled_a_hundred_times(base):
    assert delays(base, [30, 31, 100], backoff=True) == [base] * 3


def test_a_lost_run_is_started_again_three_times():
    assert RERUN_LIMIT == 3
