"""The geometry of the small charts: where a bar or a dot lies. Templates draw them as SVG.

Every chart is drawn in a box of its own units that stretches to the width of the page, so it has
no text in it; and beside every chart the page has a table that says the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from dispatcher.models import Status
from dispatcher.watch.figures import DOTS, HOUR, OUTCOMES, Hour, Upcoming
from scheduling.words import in_zone

#: The box of the bars: ten units for each, a hundred for the highest.
BAR, HEIGHT = 10, 100
#: The least height of a bar that is not empty: one failure among ten thousand must be seen.
LEAST = 2.0


@dataclass(frozen=True)
class Segment:
    """One outcome of one hour. Coordinates are texts: a template would write numbers as the
    language of the reader does."""

    status: str
    title: str
    x: str
    y: str
    height: str


def bars(hours: Sequence[Hour], labels: Sequence[str]) -> list[list[Segment]]:
    """A stacked bar for each hour, good outcomes at the foot."""
    highest = max([hour.total for hour in hours] + [1])
    return [
        _segments(hour, label, n * BAR + 1, highest)
        for n, (hour, label) in enumerate(zip(hours, labels, strict=True))
    ]


def _segments(hour: Hour, label: str, x: int, highest: int) -> list[Segment]:
    present = [(status.value, hour.counts[status.value]) for status in OUTCOMES]
    heights = [max(HEIGHT * count / highest, LEAST) if count else 0.0 for _s, count in present]
    over = max(sum(heights) - HEIGHT, 0)  # what the least heights took is the tallest's
    heights[heights.index(max(heights))] -= over
    segments, top = [], float(HEIGHT)
    for (status, count), height in zip(present, heights, strict=True):
        top -= height
        if count:
            title = f"{label}: {count} {Status(status).label}"
            segments.append(Segment(status, title, str(x), f"{top:.2f}", f"{height:.2f}"))
    return segments


def clock(moment: datetime) -> str:
    """`09:00`, on the clock of the project."""
    return in_zone(moment, settings.TIME_ZONE).strftime("%H:%M")


def hour_start(now: datetime, hours: int) -> datetime:
    """The full hour, on the clock of the project, with which the last `hours` hours begin."""
    local = in_zone(now, settings.TIME_ZONE)
    into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return now - into - (hours - 1) * HOUR


#: The box of a strip of the hour to come: one unit a second.
STRIP = 3600


def strip(row: Upcoming, now: datetime) -> list[str]:
    """The places of the slots on the strip, in seconds from now."""
    return [str(round((slot - now).total_seconds())) for slot in row.slots[:DOTS]]
