"""Intervals, single times, and the questions that every kind of schedule answers."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from scheduling.schedules import (
    Cron,
    Interval,
    OneTime,
    Schedule,
    ScheduleError,
    Span,
    missed,
    newest,
    slots_between,
    utc_of_local,
)

HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NOON = at("2024-01-01 12:00")


def test_an_interval_begins_with_its_anchor() -> None:
    interval = Interval(HOUR, NOON)
    assert interval.next_after(NOON - timedelta(days=300)) == NOON
    assert interval.next_after(NOON - timedelta(microseconds=1)) == NOON
    assert interval.next_after(NOON) == NOON + HOUR
    assert interval.latest_at(NOON) == NOON
    assert interval.latest_at(NOON - timedelta(microseconds=1)) is None


def test_an_interval_keeps_the_fraction_of_its_anchor() -> None:
    anchor = at("2024-01-01 12:00:00.25")
    assert Interval(HOUR, anchor).next_after(anchor) == at("2024-01-01 13:00:00.25")


def test_an_interval_of_a_day_is_24_hours_of_elapsed_time() -> None:
    berlin = datetime(2025, 3, 29, 9, tzinfo=timezone(timedelta(hours=1)))
    daily = Interval(timedelta(days=1), berlin)
    assert daily.next_after(berlin) == at("2025-03-30 08:00")  # 10:00 in Berlin's summer


def test_an_interval_ends_with_the_calendar() -> None:
    end = datetime.max.replace(tzinfo=UTC)
    interval = Interval(timedelta(days=3650), at("9995-01-01"))
    assert interval.next_after(at("9996-01-01")) is None
    assert interval.latest_at(end) == at("9995-01-01")
    assert interval.next_after(datetime.min.replace(tzinfo=UTC)) == at("9995-01-01")
    assert interval.count(datetime.min.replace(tzinfo=UTC), end) == 1


@pytest.mark.parametrize(
    ("every", "code"),
    [
        (timedelta(0), "interval_too_short"),
        (timedelta(seconds=-5), "interval_too_short"),
        (timedelta(microseconds=999_999), "interval_too_short"),
        (timedelta(seconds=1.5), "fraction_of_second"),
        (timedelta(days=3650, seconds=1), "interval_too_long"),
        (timedelta.max, "interval_too_long"),
        (timedelta.min, "interval_too_short"),
        (60, "not_a_duration"),
        (float("nan"), "not_a_duration"),
        ("1 hour", "not_a_duration"),
        (None, "not_a_duration"),
        (True, "not_a_duration"),
    ],
)
def test_an_interval_refuses_what_is_no_whole_number_of_seconds_up_to_ten_years(
    every: object, code: str
) -> None:
    with pytest.raises(ScheduleError) as refusal:
        Interval(every, NOON)  # type: ignore[arg-type]
    assert (refusal.value.code, refusal.value.field) == (code, "interval_seconds")
    assert len(str(refusal.value)) <= 300


def test_the_limits_of_an_interval_are_allowed() -> None:
    assert Interval(timedelta(seconds=1), NOON).next_after(NOON) == NOON + timedelta(seconds=1)
    assert Interval(timedelta(days=3650), NOON).next_after(NOON) == NOON + timedelta(days=3650)


BAD_MOMENTS = [
    (NOON.replace(tzinfo=None), "naive_moment"),
    ("2024-01-01T12:00Z", "not_a_moment"),
    (None, "not_a_moment"),
    (NOON.date(), "not_a_moment"),
    (1_700_000_000, "not_a_moment"),
    ("x" * 10_000, "not_a_moment"),
    (datetime.max.replace(tzinfo=timezone(-HOUR)), "moment_out_of_range"),
    (datetime.min.replace(tzinfo=timezone(HOUR)), "moment_out_of_range"),
]


@pytest.mark.parametrize(("moment", "code"), BAD_MOMENTS)
def test_it_refuses_what_is_no_moment(moment: object, code: str) -> None:
    with pytest.raises(ScheduleError) as at_anchor:
        Interval(HOUR, moment)  # type: ignore[arg-type]
    with pytest.raises(ScheduleError) as at_run:
        OneTime(moment)  # type: ignore[arg-type]
    assert (at_anchor.value.code, at_anchor.value.field) == (code, "starts_at")
    assert (at_run.value.code, at_run.value.field) == (code, "run_at")
    assert len(str(at_run.value)) <= 300


@pytest.mark.parametrize("schedule", [Cron("* * * * *"), Interval(HOUR, NOON), OneTime(NOON)])
def test_a_question_about_a_naive_moment_is_refused(schedule: Schedule) -> None:
    naive = NOON.replace(tzinfo=None)
    with pytest.raises(ScheduleError):
        schedule.next_after(naive)
    with pytest.raises(ScheduleError):
        schedule.latest_at(naive)
    with pytest.raises(ScheduleError):
        missed(schedule, NOON, naive)
    with pytest.raises(ScheduleError):
        newest(schedule, naive, NOON, 1)
    with pytest.raises(ScheduleError):
        list(slots_between(schedule, NOON, naive))


def test_one_time_has_one_slot() -> None:
    once = OneTime(NOON)
    assert once.next_after(NOON - HOUR) == NOON
    assert once.next_after(NOON) is None
    assert once.latest_at(NOON) == NOON
    assert once.latest_at(NOON - HOUR) is None
    assert missed(once, NOON - HOUR, NOON) == Span(NOON, NOON, 1)
    assert missed(once, NOON, NOON + HOUR) is None


def test_schedules_are_values_in_utc() -> None:
    elsewhere = NOON.astimezone(timezone(5 * HOUR))
    assert OneTime(elsewhere) == OneTime(NOON)
    assert hash(Interval(HOUR, elsewhere)) == hash(Interval(HOUR, NOON))
    assert OneTime(elsewhere).run_at.tzinfo is UTC
    assert len({OneTime(NOON), OneTime(elsewhere), Interval(HOUR, NOON), Cron("* * * * *")}) == 3


def test_the_span_between_is_open_at_its_beginning_and_closed_at_its_end() -> None:
    hourly: list[Schedule] = [Cron("0 * * * *"), Interval(HOUR, at("2024-01-01"))]
    for schedule in hourly:
        until = NOON + 3 * HOUR
        expected = [NOON + HOUR, NOON + 2 * HOUR, until]
        assert list(slots_between(schedule, NOON, until)) == expected
        assert missed(schedule, NOON, until) == Span(NOON + HOUR, until, 3)
        assert newest(schedule, NOON, until, 2) == expected[1:]
        assert newest(schedule, NOON, until, 1000) == expected
        assert newest(schedule, NOON, until, 0) == []
        assert newest(schedule, until, NOON, 5) == []
        assert missed(schedule, until, NOON) is None
        assert missed(schedule, NOON, NOON + HOUR / 2) is None
        assert list(slots_between(schedule, until, NOON)) == []


def test_a_local_time_is_taken_at_its_first_pass() -> None:
    repeated = datetime(2024, 11, 3, 1, 30)
    assert utc_of_local(repeated, "America/New_York") == at("2024-11-03 05:30")
    assert utc_of_local(repeated.replace(fold=1), "America/New_York") == at("2024-11-03 05:30")
    assert utc_of_local(repeated, "Asia/Kolkata") == at("2024-11-02 20:00")


def test_a_local_time_that_the_clock_skips_is_refused_with_its_neighbours() -> None:
    skipped = datetime(2024, 3, 10, 2, 30)
    with pytest.raises(ScheduleError, match="2024-03-10 01:59 and 2024-03-10 03:00") as refusal:
        utc_of_local(skipped, "America/New_York")
    assert (refusal.value.code, refusal.value.field) == ("skipped_local_time", "run_at")
    apia = datetime(2011, 12, 30, 9, 0)
    with pytest.raises(ScheduleError, match="2011-12-29 23:59 and 2011-12-31 00:00"):
        utc_of_local(apia, "Pacific/Apia", "starts_at")
