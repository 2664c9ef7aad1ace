"""The three kinds of schedule, and the questions that one may ask of any of them.

A schedule is a frozen value: a set of instants (UTC) without a clock or a database. Everything
that shows or decides a time asks `next_after`, or what is proved equal to asking it repeatedly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scheduling.schedules.cron import Cron
from scheduling.schedules.errors import ScheduleError, shortened
from scheduling.schedules.zones import utc

_TICK = timedelta.resolution
_LAST_MOMENT = datetime.max.replace(tzinfo=UTC)
# Ten years of 365 days, so that the limit is a fixed number of seconds (315,360,000).
MAX_INTERVAL = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Interval:
    """Slots at `anchor + k * every`, k = 0, 1, 2, …, in elapsed time.

    `every`: whole seconds, from one second to 3650 days. `anchor`: aware, kept in UTC.
    ScheduleError (`interval_seconds`, `starts_at`) if they are wrong.
    """

    every: timedelta
    anchor: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "anchor", utc(self.anchor, "starts_at"))
        _check_every(self.every)

    def next_after(self, moment: datetime) -> datetime | None:
        """The first slot strictly after an aware moment; None past the year 9999. O(1)."""
        since = utc(moment) - self.anchor
        return self._slot(max(since // self.every + 1, 0))

    def latest_at(self, moment: datetime) -> datetime | None:
        """The newest slot at or before an aware moment; None before the anchor. O(1)."""
        since = utc(moment) - self.anchor
        return self._slot(since // self.every)

    def count(self, after: datetime, until: datetime) -> int:
        """How many slots lie in (after, until]. O(1)."""
        first, last = (utc(moment) - self.anchor for moment in (after, until))
        return max(last // self.every - max(first // self.every, -1), 0)

    def _slot(self, k: int) -> datetime | None:
        if k < 0 or k * self.every > _LAST_MOMENT - self.anchor:
            return None
        return self.anchor + k * self.every


def _check_every(every: object) -> None:
    field = "interval_seconds"
    if not isinstance(every, timedelta):
        raise ScheduleError("not_a_duration", field, text=shortened(every))
    if every > MAX_INTERVAL:
        raise ScheduleError("interval_too_long", field, limit=MAX_INTERVAL.days)
    if every < timedelta(seconds=1):
        raise ScheduleError("interval_too_short", field)
    if every.microseconds:
        raise ScheduleError("fraction_of_second", field, text=shortened(str(every)))


@dataclass(frozen=True, slots=True)
class OneTime:
    """One slot. `run_at`: aware, kept in UTC; ScheduleError (`run_at`) if it is wrong."""

    run_at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "run_at", utc(self.run_at, "run_at"))

    def next_after(self, moment: datetime) -> datetime | None:
        """The slot, if it is strictly after an aware moment."""
        return self.run_at if self.run_at > utc(moment) else None

    def latest_at(self, moment: datetime) -> datetime | None:
        """The slot, if it is at or before an aware moment."""
        return self.run_at if self.run_at <= utc(moment) else None

    def count(self, after: datetime, until: datetime) -> int:
        """How many slots lie in (after, until]: 0 or 1."""
        return int(utc(after) < self.run_at <= utc(until))


Schedule = Cron | Interval | OneTime


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive slots, told by the `first`, the `last` and their `count`."""

    first: datetime
    last: datetime
    count: int


def slots_between(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    """The slots in (after, until], oldest first, computed as they are asked for."""
    end = utc(until)
    slot = schedule.next_after(after)
    while slot is not None and slot <= end:
        yield slot
        slot = schedule.next_after(slot)


def missed(schedule: Schedule, after: datetime, until: datetime) -> Span | None:
    """The slots in (after, until] as one Span, None if there are none; costs one `count`."""
    first = schedule.next_after(after)
    last = schedule.latest_at(until)
    if first is None or last is None or first > last:
        return None
    return Span(first, last, schedule.count(after, until))


def newest(schedule: Schedule, after: datetime, until: datetime, n: int) -> list[datetime]:
    """The newest slots in (after, until], at most `n`, oldest first. O(n)."""
    newest_first: list[datetime] = []
    beginning = utc(after)
    slot = schedule.latest_at(until) if n > 0 else None
    while slot is not None and slot > beginning:
        newest_first.append(slot)
        slot = schedule.latest_at(slot - _TICK) if len(newest_first) < n else None
    return newest_first[::-1]
