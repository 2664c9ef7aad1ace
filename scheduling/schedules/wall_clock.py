"""Which times a wall clock shows when a cron expression matches, with no zone in sight.

Wall times are seconds since 1970, days are days since 1970. The time of day is three sorted tuples;
croniter walks the days (naive, mutable: one a walk), for it knows the calendar of `L` and `n#k`.
"""

from bisect import bisect_left
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from heapq import merge
from itertools import takewhile

from croniter import croniter

from scheduling.schedules.cron_parts import FIELD
from scheduling.schedules.cron_text import Fields
from scheduling.schedules.errors import ScheduleError, shortened
from scheduling.schedules.zones import DAY

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a wall clock has no zone
# The Gregorian calendar knows no longer gap than 40 years (29 February on a given weekday).
_MAX_GAP_YEARS = 41


@dataclass(frozen=True, slots=True)
class Times:
    """The matching times of a day. The nth is found by mixed-radix arithmetic, not by a table."""

    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    seconds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.hours) * len(self.minutes) * len(self.seconds)

    def __getitem__(self, n: int) -> int:
        """The nth time of the day, in seconds since midnight."""
        n, second = divmod(n, len(self.seconds))
        hour, minute = divmod(n, len(self.minutes))
        return self.hours[hour] * 3600 + self.minutes[minute] * 60 + self.seconds[second]

    def rank(self, time: int) -> int:
        """How many times of the day come before `time`."""
        rest = time
        rank = 0
        for values, unit in ((self.hours, 3600), (self.minutes, 60), (self.seconds, 1)):
            value, rest = divmod(rest, unit)
            below = bisect_left(values, value)
            rank = rank * len(values) + below
            if below == len(values) or values[below] != value:
                return rank * self._size_below(unit)
        return rank

    def _size_below(self, unit: int) -> int:
        """How many times share one hour (3600), one minute (60), one second (1)."""
        sizes = {3600: len(self.minutes) * len(self.seconds), 60: len(self.seconds), 1: 1}
        return sizes[unit]


@dataclass(frozen=True, slots=True)
class Days:
    """The matching days: those of any of the croniter `members`, if they are `within`.

    `members`: five-field expressions at midnight, each of which restricts only one of the two day
    fields, because croniter can neither mix `n#k` with plain weekdays nor decide AND and OR by
    the text. `within`: days of the month, 0 for the last one; None for no restriction.
    `weekly`: the weekdays (0 = Sunday), if the rule looks at nothing else; else None. Most
    schedules are weekly, and for them arithmetic answers in O(1) what croniter would count out.
    """

    members: tuple[str, ...]
    within: frozenset[int] | None
    weekly: frozenset[int] | None

    def on_or_after(self, day: int) -> int | None:
        """The first matching day from `day` on; None if the calendar ends before."""
        if self.weekly is None:
            return _neighbour(self, day - 1, False)
        return next(day + n for n in range(7) if self._in_week(day + n))

    def on_or_before(self, day: int) -> int | None:
        """The last matching day up to `day`; None if the calendar begins after."""
        if self.weekly is None:
            return _neighbour(self, day + 1, True)
        return next(day - n for n in range(7) if self._in_week(day - n))

    def count(self, first: int, last: int) -> int:
        """How many days match in [first, last]. O(1) if weekly, else O(matching days)."""
        if self.weekly is None:
            return sum(1 for _ in takewhile(lambda day: day <= last, self.walk(first - 1)))
        weeks, rest = divmod(max(last - first + 1, 0), 7)
        odd = sum(self._in_week(first + n) for n in range(rest))
        return weeks * len(self.weekly) + odd

    def walk(self, day: int, backwards: bool = False) -> Iterator[int]:
        """The matching days strictly after (before) `day`, nearest first."""
        previous = None
        streams = [_stream(member, day, backwards) for member in self.members]
        for match in merge(*streams, reverse=backwards):
            if match != previous and self._is_within(match):
                yield match
            previous = match

    def _in_week(self, day: int) -> bool:
        # 1 January 1970 was a Thursday, 4
        return self.weekly is not None and (day + 4) % 7 in self.weekly

    def _is_within(self, day: int) -> bool:
        if self.within is None:
            return True
        date = _EPOCH + timedelta(days=day)
        is_last = date.day == monthrange(date.year, date.month)[1]
        return date.day in self.within or (is_last and 0 in self.within)


@lru_cache(maxsize=16_384)
def _neighbour(days: Days, day: int, backwards: bool) -> int | None:
    return next(days.walk(day, backwards), None)


def _stream(member: str, day: int, backwards: bool) -> Iterator[int]:
    """The days of one croniter expression strictly after (before) `day`."""
    start = _EPOCH + timedelta(days=day)
    iterator = croniter(member, start, max_years_between_matches=_MAX_GAP_YEARS)
    step = iterator.get_prev if backwards else iterator.get_next
    while True:
        try:
            midnight: datetime = step(datetime)
        except (ValueError, OverflowError):  # CroniterBadDateError is a ValueError: no more dates
            return
        yield (midnight - _EPOCH).days


@dataclass(frozen=True, slots=True)
class WallClock:
    """The set of matching wall times."""

    days: Days
    times: Times

    def from_(self, wall: int) -> int | None:
        """The first match at or after `wall`."""
        day, time = divmod(wall, DAY)
        rank = self.times.rank(time)
        if rank == len(self.times):
            day, rank = day + 1, 0
        found_day = self.days.on_or_after(day)
        if found_day is None:
            return None
        return found_day * DAY + self.times[rank if found_day == day else 0]

    def until(self, wall: int) -> int | None:
        """The last match at or before `wall`."""
        day, time = divmod(wall, DAY)
        rank = self.times.rank(time + 1)
        if rank == 0:
            day, rank = day - 1, len(self.times)
        found_day = self.days.on_or_before(day)
        if found_day is None:
            return None
        return found_day * DAY + self.times[(rank if found_day == day else len(self.times)) - 1]

    def count(self, first: int, last: int) -> int:
        """How many matches lie in [first, last]."""
        if last < first:
            return 0
        (first_day, first_time), (last_day, last_time) = divmod(first, DAY), divmod(last, DAY)
        total = self.days.count(first_day, last_day) * len(self.times)
        if self.days.on_or_after(first_day) == first_day:
            total -= self.times.rank(first_time)
        if self.days.on_or_before(last_day) == last_day:
            total -= len(self.times) - self.times.rank(last_time + 1)
        return total


def wall_clock(fields: Fields) -> WallClock:
    """The wall times of an expression; ScheduleError if no day ever matches."""
    if not _can_come(fields):
        raise ScheduleError("never_comes", FIELD, text=shortened(fields.days_text))
    return WallClock(_days(fields), Times(fields.hours, fields.minutes, fields.seconds))


def _can_come(fields: Fields) -> bool:
    """Whether some day of some year matches.

    Every weekday falls on every day of the year sooner or later (the calendar has all fourteen
    kinds of year), so it is enough to look at the day of the month and the length of the month.
    """
    lengths = {28 if month == 2 else monthrange(2001, month)[1] for month in fields.months}
    if 2 in fields.months:
        lengths.add(29)
    join = all if fields.both_days else any
    return any(
        join((_by_month(fields, day, length), _by_weekday(fields, day, length)))
        for length in lengths
        for day in range(1, length + 1)
    )


def _by_month(fields: Fields, day: int, length: int) -> bool:
    return day in fields.days or (fields.last_day and day == length)


def _by_weekday(fields: Fields, day: int, length: int) -> bool:
    nth = (day + 6) // 7
    return (
        bool(fields.weekdays)
        or any(k == nth for _, k in fields.nths)
        or (bool(fields.last_weekdays) and day > length - 7)
    )


def _days(fields: Fields) -> Days:
    """Put the day fields into expressions that croniter reads as they are meant."""
    by_month, by_weekday = _croniter_members(fields)
    if not fields.both_days:
        return Days(by_month + by_weekday, within=None, weekly=None)
    any_day, any_weekday = len(fields.days) == 31, len(fields.weekdays) == 7
    plain = any_weekday or not (fields.nths or fields.last_weekdays)
    weekly = fields.weekdays if any_day and plain and len(fields.months) == 12 else None
    if any_weekday:
        return Days(by_month, within=None, weekly=weekly)
    within = None if any_day else fields.days | ({0} if fields.last_day else set())
    return Days(by_weekday, within=within, weekly=weekly)


def _croniter_members(fields: Fields) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Expressions for the day of month alone, and for the day of week alone.

    They list every value, for croniter misreads some ranges, and keep `L` apart: it takes 2 to 31
    and `L`, 31 items, for the whole month. It writes the last Friday `L5`, not `5L`.
    """
    months = _listed(fields.months, 12)
    of_month = (_listed(fields.days, 31), "L" if fields.last_day else "")
    of_week = (
        _listed(fields.weekdays, 7),
        ",".join(f"{day}#{k}" for day, k in sorted(fields.nths)),
        ",".join(f"L{day}" for day in sorted(fields.last_weekdays)),
    )
    return (
        tuple(f"0 0 {text} {months} *" for text in of_month if text),
        tuple(f"0 0 * {months} {text}" for text in of_week if text),
    )


def _listed(values: frozenset[int], size: int) -> str:
    return "*" if len(values) == size else ",".join(map(str, sorted(values)))
