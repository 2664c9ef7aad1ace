"""Cron: the set of instants that a cron expression means in a time zone (docs: CRON.md).

The zone's clock is cut into stretches of constant offset, and each stretch owns a range of wall
times: a wildcard job all that the clock shows in it, a fixed-time job those that no earlier stretch
has shown, beginning with the ones that the clock skipped. A wall time `w` of a stretch then means
the instant `max(stretch.start, w - stretch.offset)`: the maximum moves skipped times to the first
instant after the gap. With that, gaps and overlaps of any length need no further cases.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from scheduling.schedules.cron_parts import FIELD
from scheduling.schedules.cron_text import read
from scheduling.schedules.errors import ScheduleError, ScheduleWarning
from scheduling.schedules.suggesting import advised, doubts
from scheduling.schedules.wall_clock import WallClock, wall_clock
from scheduling.schedules.zones import (
    DAY,
    FIRST,
    LAST,
    Stretch,
    instant_of,
    moment_of,
    stretch_at,
    utc,
    zone,
)

# Clocks are less than a day away from UTC, so two clocks of one zone differ by less than this.
_WIDEST_SHIFT = 2 * DAY


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a zone; ScheduleError (`cron_expression`, `timezone`) if it is wrong.

    The error and the `warnings` carry as `suggestions` what the text probably meant.
    """

    expression: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if not isinstance(self.expression, str):
            raise ScheduleError("not_text", FIELD)
        if not isinstance(self.timezone, str):
            zone(self.timezone)  # refuses
        try:
            _timetable(self.expression, self.timezone)
        except ScheduleError as error:
            raise (advised(error, self.expression) if error.field == FIELD else error) from None

    @property
    def wildcard(self) -> bool:
        """Whether it runs by the clock's face (in both passes), not once per matching time."""
        return _timetable(self.expression, self.timezone).wildcard

    @property
    def warnings(self) -> tuple[ScheduleWarning, ...]:
        """What is accepted but probably not meant."""
        return doubts(self.expression)

    def shown_within(self, first: int, last: int) -> int | None:
        """The first matching wall time in [first, last), whatever the zone makes of it.

        Wall times are seconds since 1970 as in `zones`; None if no time there matches.
        """
        wall = _timetable(self.expression, self.timezone).clock.from_(first)
        return wall if wall is not None and wall < last else None

    def next_after(self, moment: datetime) -> datetime | None:
        """The first slot strictly after an aware moment, in UTC; None past the year 9999."""
        return _timetable(self.expression, self.timezone).next_after(utc(moment))

    def latest_at(self, moment: datetime) -> datetime | None:
        """The newest slot at or before an aware moment, in UTC. Costs as much as `next_after`."""
        latest = min(instant_of(utc(moment)), LAST - 1)
        instant = _timetable(self.expression, self.timezone).last_until(latest)
        return None if instant is None else moment_of(instant)

    def count(self, after: datetime, until: datetime) -> int:
        """How many slots lie in (after, until].

        O(days that match), or O(years) if only the weekday restricts them; never O(slots).
        """
        first = max(instant_of(utc(after)) + 1, FIRST)
        last = min(instant_of(utc(until)), LAST - 1)
        return _timetable(self.expression, self.timezone).count(first, last)


@lru_cache(maxsize=4096)
def _timetable(expression: str, timezone: str) -> "_Timetable":
    """Read once per pair. Refusals are not remembered: wrong text would fill the memory."""
    fields = read(expression)
    zone(timezone)
    return _Timetable(wall_clock(fields), timezone, fields.wildcard)


class _Timetable:
    """What a Cron computes with: instants (UTC seconds), and the one answer it remembers."""

    def __init__(self, clock: WallClock, timezone: str, wildcard: bool) -> None:
        self.clock = clock
        self.timezone = timezone
        self.wildcard = wildcard
        # [low, high) is known to have `high` as its next slot. Read and replaced as one tuple, so
        # that threads need no lock. It makes many jobs with one schedule cost one computation.
        self._remembered: tuple[datetime, datetime] | None = None

    def next_after(self, moment: datetime) -> datetime | None:
        remembered = self._remembered
        if remembered and remembered[0] <= moment < remembered[1]:
            return remembered[1]
        instant = self.first_from(max(instant_of(moment) + 1, FIRST))
        if instant is None:
            return None
        slot = moment_of(instant)
        if remembered and remembered[1] == slot:
            moment = min(moment, remembered[0])
        self._remembered = (moment, slot)
        return slot

    def first_from(self, instant: int) -> int | None:
        """The first slot at or after an instant."""
        while instant < LAST:
            stretch = stretch_at(self.timezone, instant)
            wall = self.clock.from_(self._wall_of(stretch, instant))
            if wall is None:
                return None
            if wall < stretch.end + stretch.offset:
                return max(stretch.start, wall - stretch.offset)
            # Between here and `wall` nothing matches; later stretches may be passed over, unless
            # one of them could repeat wall times from before `instant`.
            near = stretch.end - instant < _WIDEST_SHIFT
            instant = stretch.end if near else max(stretch.end, wall - _WIDEST_SHIFT)
        return None

    def last_until(self, instant: int) -> int | None:
        """The last slot at or before an instant."""
        while instant >= FIRST:
            stretch = stretch_at(self.timezone, instant)
            wall = self.clock.until(instant + stretch.offset)
            if wall is None:
                return None
            if wall >= self._first_wall(stretch):
                return max(stretch.start, wall - stretch.offset)
            near = instant - stretch.start < _WIDEST_SHIFT
            earlier = stretch.start - 1
            instant = earlier if near else min(earlier, wall + _WIDEST_SHIFT)
        return None

    def count(self, first: int, last: int) -> int:
        """How many slots lie in [first, last]."""
        total = 0
        for stretch in self._stretches(first, last):
            start = max(first, stretch.start)
            wall = self._wall_of(stretch, start)
            landing = stretch.start + stretch.offset
            if wall < landing:  # skipped times: together they are one slot, at the landing
                skipped = self.clock.from_(wall)
                total += skipped is not None and skipped <= landing
                wall = landing + 1
            total += self.clock.count(wall, min(last, stretch.end - 1) + stretch.offset)
        return total

    def _stretches(self, first: int, last: int) -> Iterator[Stretch]:
        while first <= last:
            stretch = stretch_at(self.timezone, first)
            yield stretch
            first = stretch.end

    def _first_wall(self, stretch: Stretch) -> int:
        """The first wall time that a stretch owns."""
        return stretch.start + (stretch.offset if self.wildcard else stretch.before)

    def _wall_of(self, stretch: Stretch, instant: int) -> int:
        """The first wall time of a stretch whose slot is at or after an instant in it."""
        first = self._first_wall(stretch)
        return first if instant == stretch.start else max(first, instant + stretch.offset)
