"""Time zones: which names count, and how a zone's clock runs as stretches of constant offset.

Instants are whole seconds of UTC since 1970; a wall time is what a clock on the wall shows,
counted the same way (instant + offset). The Python calendar ends at the years 1 and 9999, and a
zone's clock is up to a day away from UTC, so only `FIRST <= instant < LAST` is served.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple
from zoneinfo import TZPATH, ZoneInfo

import tzdata  # type: ignore[import-untyped]

from scheduling.schedules.advice import Suggestion
from scheduling.schedules.errors import ScheduleError, shortened
from scheduling.schedules.zone_names import NAMES as NAMES
from scheduling.schedules.zone_names import zones_meant

DAY = 86_400
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
FIRST = (datetime(1, 1, 3, tzinfo=UTC) - EPOCH) // _SECOND
LAST = (datetime(9999, 12, 30, tzinfo=UTC) - EPOCH) // _SECOND


class Stretch(NamedTuple):
    """A time of constant offset: instants [start, end), `offset` in force, `before` just earlier.

    `before == offset` where the stretch begins with a calendar year and not with a clock change.
    """

    start: int
    end: int
    offset: int
    before: int


def zone(name: object, field: str = "timezone") -> ZoneInfo:
    """The zone of that exact name; ScheduleError for every other value."""
    if isinstance(name, str) and name in NAMES:
        try:
            return ZoneInfo(name)
        except (ValueError, OSError, KeyError):  # listed, but its file is damaged
            raise ScheduleError("unknown_timezone", field, text=shortened(name)) from None
    meant = [Suggestion(timezone=zone) for zone in zones_meant(name)]
    raise ScheduleError(_code_of(name, meant), field, text=shortened(name)).advised(meant)


@cache
def tzdata_version() -> str:
    """Which time zone rules this process computes with: `2026a`, or "" where nothing says so.

    As zoneinfo does: the system's where it has them, else those of the package `tzdata`.
    """
    for directory in map(Path, TZPATH):
        if (directory / "UTC").exists():
            return _system_version(directory)
    return str(tzdata.IANA_VERSION)


def _system_version(directory: Path) -> str:
    """The first line of tzdata.zi is `# version 2026a`."""
    try:
        with (directory / "tzdata.zi").open() as file:
            return file.readline().rpartition(" ")[2].strip()[:20]
    except OSError:
        return ""


def _code_of(name: object, meant: list[Suggestion]) -> str:
    same = isinstance(name, str) and name.strip().lower() in {z.timezone.lower() for z in meant}
    return "timezone_case" if same else "unknown_timezone"


def instant_of(moment: datetime) -> int:
    """The whole second in which an aware UTC `moment` lies."""
    return (moment - EPOCH) // _SECOND


def moment_of(instant: int) -> datetime:
    """The aware UTC datetime of an instant."""
    return EPOCH + timedelta(seconds=instant)


def utc(moment: object, field: str = "moment") -> datetime:
    """`moment` in UTC; ScheduleError if it is no datetime, has no zone or leaves the calendar.

    `field` is the field of ScheduledTask at fault, or `moment` for the argument of a question.
    """
    if not isinstance(moment, datetime):
        raise ScheduleError("not_a_moment", field, text=shortened(moment))
    if moment.tzinfo is UTC:
        return moment
    if moment.utcoffset() is None:
        raise ScheduleError("naive_moment", field, text=moment.isoformat(" "))
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError):
        text = moment.isoformat(" ")
        raise ScheduleError("moment_out_of_range", field, text=text) from None


def utc_of_local(local: datetime, timezone: str, field: str = "run_at") -> datetime:
    """The instant of a wall time that a person typed; of a repeated one, the first pass.

    ScheduleError `skipped_local_time` for a wall time in a gap, with the nearest valid minutes.
    """
    place = zone(timezone)
    wall = local.replace(tzinfo=place, fold=0)
    moment = utc(wall, field)
    shown = moment.astimezone(place)
    if shown.replace(tzinfo=None) == local.replace(tzinfo=None, fold=0):
        return moment
    # In a gap fold=0 reads the old offset, so the clock shows a time just as far past the gap.
    gap = stretch_at(timezone, instant_of(moment))
    raise ScheduleError(
        "skipped_local_time",
        field,
        text=local.isoformat(" "),
        timezone=timezone,
        before=_wall_text(gap.start + gap.before - 60),
        after=_wall_text(gap.start + gap.offset),
    )


def _wall_text(wall: int) -> str:
    return moment_of(wall).strftime("%Y-%m-%d %H:%M")


def stretch_at(timezone: str, instant: int) -> Stretch:
    """The stretch in which an instant lies (`FIRST <= instant < LAST`)."""
    stretches = _stretches(timezone, moment_of(instant).year)
    return stretches[bisect_right(stretches, instant, key=lambda stretch: stretch.start) - 1]


@lru_cache(maxsize=4096)
def _stretches(timezone: str, year: int) -> tuple[Stretch, ...]:
    """The stretches of one UTC year, in order. About 0.3 ms, then remembered.

    zoneinfo shows no transitions, so offsets are sampled daily and each change is bisected. In
    tzdata 2026 no two changes of any zone's offset are less than seven days apart.
    """
    place = zone(timezone)
    start = max(FIRST, instant_of(datetime(year, 1, 1, tzinfo=UTC)))
    end = LAST if year == 9999 else instant_of(datetime(year + 1, 1, 1, tzinfo=UTC))
    starts = [start, *_clock_changes(place, start, end)]
    return tuple(
        Stretch(begin, stop, _offset(place, begin), _offset(place, begin - 1))
        for begin, stop in zip(starts, [*starts[1:], end], strict=True)
    )


def _clock_changes(place: ZoneInfo, start: int, end: int) -> Iterator[int]:
    """The instants in (start, end) at which the offset changes."""
    for low in range(start, end, DAY):
        high = min(low + DAY, end - 1)
        if _offset(place, low) != _offset(place, high):
            yield _first_change(place, low, high)


def _first_change(place: ZoneInfo, low: int, high: int) -> int:
    """The first instant in (low, high] with another offset than `low`; `high` has another."""
    old = _offset(place, low)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(place, middle) == old:
            low = middle
        else:
            high = middle
    return high


def _offset(place: ZoneInfo, instant: int) -> int:
    """Seconds that the local clock is ahead of UTC at an instant."""
    offset = moment_of(instant).astimezone(place).utcoffset()
    assert offset is not None  # ZoneInfo always knows one
    return offset // _SECOND
