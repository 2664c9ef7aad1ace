"""The brute-force reading of CRON.md, to which the product's answers are compared.

It walks over instants, asks zoneinfo what the clock shows, and compares field by field. It shares
no code with the product and knows neither croniter nor transitions.
"""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()  # noqa: SIM905
WEEKDAYS = "SUN MON TUE WED THU FRI SAT".split()  # noqa: SIM905


def to_seconds(moment: datetime) -> int:
    return int((moment - EPOCH) / timedelta(seconds=1))


def from_seconds(seconds: int) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def value(text: str) -> int:
    if text in MONTHS:
        return MONTHS.index(text) + 1
    return WEEKDAYS.index(text) if text in WEEKDAYS else int(text)


def values(text: str, low: int, high: int) -> set[int]:
    """`*`, `?`, a, a-b, with steps, and lists of them."""
    found: set[int] = set()
    for item in text.split(","):
        base, _, step = item.partition("/")
        if base in "*?":
            first, last = low, high
        elif "-" in base:
            first, last = (value(end) for end in base.split("-"))
        else:
            first = value(base)
            last = high if step else first
        found.update(range(first, last + 1, int(step or 1)))
    return found


class Oracle:
    """One expression, read naively."""

    def __init__(self, expression: str) -> None:
        texts = expression.upper().split()
        self.has_seconds = len(texts) == 6
        clock = texts[:-3]
        *_, self.day, self.month, self.weekday = texts
        self.wildcard = any(text[0] == "*" for text in clock)
        self.both = self.day[0] in "*?" or self.weekday[0] in "*?"
        self.seconds = values(clock[0], 0, 59) if self.has_seconds else {0}
        self.minutes = values(clock[-2], 0, 59)
        self.hours = values(clock[-1], 0, 23)
        self.months = values(self.month, 1, 12)

    def day_matches(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_month = any(self._is_day(item, day) for item in self.day.split(","))
        by_week = any(self._is_weekday(item, day) for item in self.weekday.split(","))
        return (by_month and by_week) if self.both else (by_month or by_week)

    @staticmethod
    def _is_day(item: str, day: date) -> bool:
        if item == "L":
            return day.day == monthrange(day.year, day.month)[1]
        return day.day in values(item, 1, 31)

    @staticmethod
    def _is_weekday(item: str, day: date) -> bool:
        weekday = day.isoweekday() % 7
        if "#" in item:
            n, k = item.split("#")
            return weekday == value(n) % 7 and (day.day - 1) // 7 + 1 == int(k)
        if item.endswith("L"):
            in_a_week = day + timedelta(days=7)
            return weekday == value(item[:-1]) % 7 and in_a_week.month != day.month
        return weekday in {n % 7 for n in values(item, 0, 6 if item[0] in "*?" else 7)}

    def time_matches(self, time: int) -> bool:
        return (
            time // 3600 in self.hours
            and time // 60 % 60 in self.minutes
            and time % 60 in self.seconds
        )


@dataclass
class Window:
    """What a zone's clock shows from `start` to `end` (UTC seconds), walked once.

    `shown`: (instant, wall time) of every step; `firsts`: (instant, wall time) for each wall time
    at its first pass, or at the first instant after the gap that skipped it.
    """

    timezone: str
    start: int
    end: int
    step: int  # 60: only whole wall minutes are kept, enough for five fields

    def __post_init__(self) -> None:
        self.shown: list[tuple[int, int]] = []
        self.firsts: list[tuple[int, int]] = []
        place = ZoneInfo(self.timezone)
        unseen: int | None = None  # the first whole wall step that was not shown yet
        for instant in range(self.start, self.end + 1, self._stride(place)):
            local = from_seconds(instant).astimezone(place)
            wall = to_seconds(local.replace(tzinfo=UTC))
            whole = wall - wall % self.step
            if wall == whole:
                self.shown.append((instant, wall))
            unseen = whole if unseen is None else unseen
            self.firsts.extend((instant, step) for step in range(unseen, wall + 1, self.step))
            unseen = max(unseen, whole + self.step)

    def _stride(self, place: ZoneInfo) -> int:
        """Seconds where local mean time has odd seconds, as before about 1900."""
        ends = (from_seconds(end).astimezone(place).utcoffset() for end in (self.start, self.end))
        return 1 if any((end or timedelta()).seconds % 60 for end in ends) else self.step

    def slots(self, expression: str, after: int, until: int) -> list[datetime]:
        """The slots in (after, until], of which the window must hold more than enough before."""
        oracle = Oracle(expression)
        pairs = self.shown if oracle.wildcard else self.firsts
        good = {day: oracle.day_matches((EPOCH + timedelta(days=day)).date()) for day in self.days}
        found = {
            instant
            for instant, wall in pairs
            if after < instant <= until
            and good[wall // 86400]
            and oracle.time_matches(wall % 86400)
        }
        return [from_seconds(instant) for instant in sorted(found)]

    @property
    def days(self) -> range:
        return range((self.start - 86400) // 86400, (self.end + 86400) // 86400 + 1)


def transitions(timezone: str, year: int) -> Iterator[int]:
    """The instants (to the minute) of one year at which the clock is changed."""
    place = ZoneInfo(timezone)

    def offset(instant: int) -> timedelta | None:
        return from_seconds(instant).astimezone(place).utcoffset()

    start = to_seconds(datetime(year, 1, 1, tzinfo=UTC))
    for day in range(start, start + 366 * 86400, 86400):
        if offset(day) != offset(day + 86400):
            minutes = range(day + 60, day + 86400 + 1, 60)
            yield next(minute for minute in minutes if offset(minute) != offset(day))
