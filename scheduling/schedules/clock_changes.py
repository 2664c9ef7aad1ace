"""What a change of the clock does to slots, for a person who looks at a list of them.

Pure: slots in, codes with parameters out. It decides no time; it explains the ones that
`next_after` gave.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from scheduling.schedules.cron import Cron
from scheduling.schedules.values import Schedule
from scheduling.schedules.zones import LAST, Stretch, instant_of, moment_of, stretch_at


@dataclass(frozen=True)
class ClockNote:
    """What the clock did to a slot: `moved`, `left_out`, `first_pass`, `second_pass`, `only_pass`,
    `forward` or `back`. Wall times among the `params` are naive datetimes."""

    code: str
    params: dict[str, Any] = field(default_factory=dict)


def clock_notes(
    schedule: Schedule, timezone: str, slots: Sequence[datetime], since: datetime
) -> list[ClockNote | None]:
    """What to say about each slot, None for most. `since` is a moment before the first."""
    befores = [since, *slots]
    return [
        _note(schedule, timezone, before, slot)
        for before, slot in zip(befores, slots, strict=False)
    ]


def _note(schedule: Schedule, timezone: str, before: datetime, slot: datetime) -> ClockNote | None:
    instant = instant_of(slot)
    stretch = stretch_at(timezone, instant)
    changes = list(_clock_changes(timezone, instant_of(before), instant))
    return (
        _gap(schedule, changes, instant)
        or _repeated(schedule, timezone, stretch, instant)
        or _shifted(timezone, instant_of(before), stretch)
    )


def _clock_changes(timezone: str, after: int, until: int) -> Iterator[Stretch]:
    """The stretches that begin with a change of the clock in (after, until]."""
    stretch = stretch_at(timezone, after)
    while stretch.end <= min(until, LAST - 1):
        stretch = stretch_at(timezone, stretch.end)
        if stretch.before != stretch.offset:
            yield stretch


def _gap(schedule: Schedule, changes: list[Stretch], instant: int) -> ClockNote | None:
    """Whether the clock skipped wall times of a cron schedule since the slot before."""
    if not isinstance(schedule, Cron):
        return None  # it counts elapsed time, or is one instant: nothing of it is skipped
    for change in changes:
        first, last = change.start + change.before, change.start + change.offset
        wall = schedule.shown_within(first, last)
        if wall is None:
            continue
        if not schedule.wildcard and instant == change.start:
            return ClockNote("moved", {"wall": _wall(wall), "shown": _wall(last)})
        if schedule.wildcard:
            return ClockNote("left_out", {"first": _wall(first), "last": _wall(last)})
    return None


def _repeated(
    schedule: Schedule, timezone: str, stretch: Stretch, instant: int
) -> ClockNote | None:
    """Whether the wall time of the slot comes twice, and which time this is."""
    if instant - stretch.start < stretch.before - stretch.offset:
        return ClockNote("second_pass")
    if stretch.end >= LAST:
        return None
    following = stretch_at(timezone, stretch.end)
    if following.start - instant > following.before - following.offset:
        return None
    alone = isinstance(schedule, Cron) and not schedule.wildcard
    return ClockNote("only_pass" if alone else "first_pass")


def _shifted(timezone: str, before: int, stretch: Stretch) -> ClockNote | None:
    """Whether the clock is another one than at the slot before."""
    shift = stretch.offset - stretch_at(timezone, before).offset
    if not shift:
        return None
    return ClockNote("forward" if shift > 0 else "back", {"by": timedelta(seconds=abs(shift))})


def _wall(seconds: int) -> datetime:
    return moment_of(seconds).replace(tzinfo=None)
