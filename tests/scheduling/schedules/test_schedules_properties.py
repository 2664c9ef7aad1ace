"""Random schedules around every kind of clock change, against the brute-force oracle."""

import random
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduling.schedules import Cron, Interval, ScheduleError, missed, newest, slots_between
from tests.scheduling.schedules.oracle import (
    EPOCH,
    Oracle,
    Window,
    from_seconds,
    to_seconds,
    transitions,
)

CHANGES = [
    ("America/New_York", 2024),
    ("Europe/London", 2023),
    ("Europe/Berlin", 2025),
    ("Australia/Lord_Howe", 2024),  # half an hour
    ("America/Sao_Paulo", 2018),  # at midnight
    ("America/Havana", 2023),  # at midnight
    ("Asia/Beirut", 2022),  # at midnight
    ("Africa/Casablanca", 2024),  # around Ramadan
    ("Asia/Tehran", 2022),
    ("Pacific/Apia", 2011),  # a whole day skipped
    ("Antarctica/Troll", 2022),  # two hours
    ("America/St_Johns", 2008),  # at 00:01
    ("Europe/Dublin", 2024),  # winter time is the saving time
    ("Asia/Manila", 1844),  # a whole day skipped, local mean time with odd seconds
    ("America/Juneau", 1867),  # a whole day repeated, likewise
    ("Pacific/Kwajalein", 1969),  # a whole day repeated
]
STILL = ["Asia/Shanghai", "Asia/Kolkata", "UTC"]
HOUR, DAY = 3600, 86_400


@lru_cache
def windows(step: int, reach: int) -> tuple[tuple[Window, int], ...]:
    """For each clock change a window of `reach` seconds on both sides, and the change itself."""
    found = [(name, change) for name, year in CHANGES for change in transitions(name, year)]
    found += [(name, to_seconds(datetime(2024, 2, 29, tzinfo=UTC))) for name in STILL]
    # before the reach, the oracle needs two days to see what an overlap repeats
    return tuple(
        (Window(name, change - reach - min(reach, DAY), change + reach, step), change)
        for name, change in found
    )


class Expressions:
    """Random expressions that match often enough within a window to tell something."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def item(self, low: int, high: int, stepped: bool = True) -> str:
        a, b = sorted((self.random.randint(low, high), self.random.randint(low, high)))
        n = self.random.choice((1, 2, 3, 5, 7, 15, 30))
        forms = [f"{a}", f"{a}-{b}", f"{a}-{b}/{n}", f"*/{n}", f"{b}"]
        return self.random.choice([*forms, f"{a}/{n}"] if stepped else forms)

    def field(self, low: int, high: int, star: float) -> str:
        if self.random.random() < star:
            return "*"
        return ",".join(self.item(low, high) for _ in range(self.random.choice((1, 1, 2))))

    def day(self, star: float) -> str:
        if self.random.random() < star:
            return self.random.choice("*?")
        items = [self.item(1, 31) for _ in range(self.random.choice((1, 2, 2, 5)))]
        return ",".join(items + ["L"] * (self.random.random() < 0.3))

    def weekday(self, star: float) -> str:
        if self.random.random() < star:
            return self.random.choice("*?")
        n, k = self.random.randint(0, 7), self.random.randint(1, 5)
        names = ("MON-FRI", "SAT,SUN", "Tue", "fri", "0", "7", "5-7")
        items = [self.item(0, 7, stepped=False), f"{n}#{k}", f"{n}L", *names]
        return ",".join(self.random.choices(items, k=self.random.choice((1, 1, 2, 3, 8))))

    def five(self, hours: tuple[int, int] = (0, 23), star: float = 0.7) -> str:
        minute, hour = self.field(0, 59, 0.15), self.field(*hours, 0.25)
        month = self.field(1, 12, 0.9)
        return f"{minute} {hour} {self.day(star)} {month} {self.weekday(star)}"

    def six(self, hours: tuple[int, int]) -> str:
        return f"{self.field(0, 59, 0.1)} {self.five(hours, 0.9)}"


def check(cron: Cron, window: Window, after: int, until: int, rng: random.Random) -> int:
    """Compare every question with the oracle's list; returns how many slots were compared."""
    expected = window.slots(cron.expression, after, until)
    start, end = from_seconds(after), from_seconds(until)
    assert list(slots_between(cron, start, end)) == expected, cron
    assert newest(cron, start, end, 5) == expected[-5:], cron
    span = missed(cron, start, end)
    assert (span.count if span else 0) == len(expected), cron
    if span:
        assert (span.first, span.last) == (expected[0], expected[-1]), cron
    for _ in range(4):
        moment = rng.randint(after, until)
        check_moment(Cron(cron.expression, cron.timezone), moment, start, end, expected)
    return len(expected)


def check_moment(
    cron: Cron, moment: int, start: datetime, end: datetime, expected: list[datetime]
) -> None:
    """The answers at a moment in the middle, where nothing is remembered from a walk."""
    middle = from_seconds(moment)
    behind = [slot for slot in expected if slot <= middle]
    ahead = [slot for slot in expected if slot > middle]
    if ahead:
        assert cron.next_after(middle) == ahead[0], (cron, middle)
    if behind:
        assert cron.latest_at(middle) == behind[-1], (cron, middle)
    assert cron.count(start, middle) == len(behind), (cron, middle)
    assert cron.count(middle, end) == len(ahead), (cron, middle)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("seed", range(4))
def test_five_fields_agree_with_a_walk_over_every_minute(seed: int) -> None:
    made, slots = Expressions(seed), 0
    for window, change in windows(60, 36 * HOUR):
        for _ in range(7):
            cron = accepted(made.five(), window.timezone)
            if cron is not None:
                slots += check(cron, window, change - 36 * HOUR, change + 36 * HOUR, made.random)
    assert slots > 5_000  # the comparison was about something


@pytest.mark.sampled(2)
@pytest.mark.parametrize("seed", range(2))
def test_six_fields_agree_with_a_walk_over_every_second(seed: int) -> None:
    made, slots = Expressions(seed), 0
    for window, change in windows(1, 2 * HOUR):
        if window.timezone in {"America/Juneau", "Pacific/Kwajalein"}:
            continue  # repeats a day: more than this window sees
        hour = (window.shown[len(window.shown) // 2][1] // HOUR) % 24
        for _ in range(3):
            cron = accepted(made.six((max(hour - 2, 0), min(hour + 2, 23))), window.timezone)
            if cron is not None:
                slots += check(cron, window, change - 2 * HOUR, change + 2 * HOUR, made.random)
    assert slots > 10_000


def accepted(expression: str, timezone: str) -> Cron | None:
    """None for the few random expressions of which no day ever comes."""
    try:
        return Cron(expression, timezone)
    except ScheduleError as error:
        assert error.code in {"never_comes", "reversed_range"}, expression
        return None


@pytest.mark.sampled(2)
@pytest.mark.parametrize("seed", range(2))
def test_days_agree_with_a_walk_over_two_years(seed: int) -> None:
    made = Expressions(seed + 100)
    for _ in range(25):
        expression = f"0 0 {made.day(0.3)} {made.field(1, 12, 0.6)} {made.weekday(0.3)}"
        cron = accepted(expression, "UTC")
        if cron is None:
            assert not any(Oracle(expression).day_matches(day) for day in days(1996, 12)), (
                expression
            )
            continue
        start = made.random.choice((1899, 1970, 1999, 2023, 2099))
        oracle = Oracle(expression)
        expected = [midnight(day) for day in days(start, 2) if oracle.day_matches(day)]
        before, end = midnight(date(start, 1, 1)) - timedelta(1), midnight(date(start + 1, 12, 31))
        assert list(slots_between(cron, before, end)) == expected, cron
        assert newest(cron, before, end, 2000) == expected, cron
        assert cron.count(before, end) == len(expected), cron


def days(year: int, years: int) -> list[date]:
    first = date(year, 1, 1)
    return [first + timedelta(n) for n in range((date(year + years, 1, 1) - first).days)]


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


MOMENTS = st.integers(-(10**15), 10**15).map(lambda n: EPOCH + timedelta(microseconds=n * 3))


@given(MOMENTS, st.integers(1, 10**6), st.integers(-30, 60), st.integers(0, 40))
@settings(deadline=None)
def test_an_interval_is_its_arithmetic_progression(
    anchor: datetime, seconds: int, offset: int, length: int
) -> None:
    every = timedelta(seconds=seconds)
    interval = Interval(every, anchor)
    after = anchor + every * offset + every / 3
    until = after + every * length
    slots = [anchor + every * k for k in range(offset + length + 2)]
    expected = [slot for slot in slots if after < slot <= until]
    assert list(slots_between(interval, after, until)) == expected
    assert newest(interval, after, until, 7) == expected[-7:]
    assert interval.count(after, until) == len(expected)
    assert interval.latest_at(until) == max((slot for slot in slots if slot <= until), default=None)
