"""What two expressions have in common: `meaning(fields)` is equal where they run at the same times.

And one question of it: how to say that both day fields must match, where a text says that either
is enough.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from scheduling.schedules.cron_parts import WEEKDAY
from scheduling.schedules.cron_text import Fields, read
from scheduling.schedules.errors import ScheduleError
from scheduling.schedules.wall_clock import wall_clock

_LENGTHS = {2: (28, 29), 4: (30,), 6: (30,), 9: (30,), 11: (30,)}
_WEEKS = {k: frozenset(range(7 * k - 6, 7 * k + 1)) for k in (1, 2, 3, 4)} | {
    5: frozenset((29, 30, 31))
}


class Meaning(NamedTuple):
    """The times of the day, whether the clock's face decides, and the days by kind of month."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    wildcard: bool
    months: frozenset[int]
    days: frozenset[tuple[int, int, int]]  # (length of the month, day, weekday)


def meaning(fields: Fields) -> Meaning:
    """The times at which the fields match."""
    lengths = {length for month in fields.months for length in _LENGTHS.get(month, (31,))}
    days = frozenset(day for length in lengths for day in _days_of(fields, length))
    times = (fields.seconds, fields.minutes, fields.hours)
    return Meaning(*times, fields.wildcard, fields.months, days)


@lru_cache(maxsize=512)
def meaning_of(expression: str) -> Meaning | None:
    """The meaning of a text; None where it is refused."""
    try:
        fields = read(expression)
        wall_clock(fields)
    except ScheduleError:
        return None
    return meaning(fields)


def _days_of(fields: Fields, length: int) -> Iterator[tuple[int, int, int]]:
    join = all if fields.both_days else any
    for day in range(1, length + 1):
        of_month = day in fields.days or (fields.last_day and day == length)
        last = fields.last_weekdays if day > length - 7 else ()
        for weekday in range(7):
            of_week = (
                weekday in fields.weekdays
                or (weekday, (day + 6) // 7) in fields.nths
                or weekday in last
            )
            if join((of_month, of_week)):
                yield length, day, weekday


# Both day fields ----------------------------------------------------------------------------------


def with_both_days(expression: str) -> str | None:
    """The expression that runs only where both day fields match; None where none can say it."""
    fields = read(expression)
    wanted = meaning(replace(fields, both_days=True))
    *before, day, month, weekday = expression.split()
    for day_text, weekday_text in _attempts(fields, day, weekday):
        candidate = " ".join((*before, day_text, month, weekday_text))
        if meaning_of(candidate) == wanted:
            return candidate
    return None


def _attempts(fields: Fields, day: str, weekday: str) -> Iterator[tuple[str, str]]:
    """Texts of the two day fields that may say it, the plainest first."""
    if members := _as_weeks(fields):
        yield "*", members
    if fields.weekdays and not (fields.nths or fields.last_weekdays):
        yield "*", ",".join(f"{WEEKDAY.names[n]}L" for n in sorted(fields.weekdays))
    # A day field that begins with * makes it both; */31 is only the 1st, */7 only Sunday.
    if fields.days >= {1}:
        step = 30 if 31 in fields.days else 31
        rest = _listed(fields.days - {1, step + 1}) + (["L"] if fields.last_day else [])
        yield ",".join((f"*/{step}", *rest)), weekday
    if fields.weekdays >= {0}:
        yield day, ",".join(["*/7", *_other_weekdays(fields)])


def _as_weeks(fields: Fields) -> str:
    """The weekdays as `SAT#1`, where the days of the month are whole weeks; else what fits."""
    weeks = [k for k, days in _WEEKS.items() if days <= fields.days]
    if len(weeks) == 5:
        return ",".join(_weekday_texts(fields, fields.weekdays))
    nths = {(n, k) for n in fields.weekdays for k in weeks} | {
        (n, k) for n, k in fields.nths if k in weeks
    }
    return ",".join(f"{WEEKDAY.names[n]}#{k}" for n, k in sorted(nths))


def _weekday_texts(fields: Fields, plain: frozenset[int]) -> list[str]:
    names = WEEKDAY.names
    return [
        *(names[n] for n in sorted(plain)),
        *(f"{names[n]}#{k}" for n, k in sorted(fields.nths)),
        *(f"{names[n]}L" for n in sorted(fields.last_weekdays)),
    ]


def _other_weekdays(fields: Fields) -> list[str]:
    return _weekday_texts(fields, fields.weekdays - {0})


def _listed(days: frozenset[int]) -> list[str]:
    """`2-7`, `9` …: the days as runs."""
    runs: list[list[int]] = []
    for day in sorted(days):
        if runs and runs[-1][1] == day - 1:
            runs[-1][1] = day
        else:
            runs.append([day, day])
    return [f"{first}-{last}" if first != last else f"{first}" for first, last in runs]
