"""The plots of the page of a scheduled task's runs: outcomes as bars, and one value as dots."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.translation import gettext as _

from dispatcher.admin.kit import charts
from dispatcher.models import TaskRun
from dispatcher.watch.figures import OUTCOMES, Hour, percentile
from scheduling.words import duration_text, in_zone, moment_text

#: The most bars of the outcomes.
BARS = 30
ZERO = timedelta(0)

# Outcomes -----------------------------------------------------------------------------------------

#: The widths of a bar, the first of which the runs fit into BARS of.
STEPS = tuple(
    timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 6 * 60, 24 * 60, 7 * 24 * 60)
)


@dataclass(frozen=True)
class Outcomes:
    """The runs in bars of one width each: per day, where they are of weeks."""

    step: str
    bars: list[list[charts.Segment]]
    width: str
    first: str
    last: str
    rows: list[tuple[str, list[int]]]


def outcomes(runs: Sequence[TaskRun], zone: str) -> Outcomes | None:
    if not runs:
        return None
    first, last = (pick(run.scheduled_for for run in runs) for pick in (min, max))
    step = next((s for s in STEPS if (last - first) / s < BARS - 1), (last - first) / (BARS - 2))
    start = _floor(first, step, zone)
    count = int((last - start) / step) + 1
    hours = [Hour(start + n * step, {s.value: 0 for s in OUTCOMES}) for n in range(count)]
    for run in runs:
        hours[int((run.scheduled_for - start) / step)].counts[run.status] += 1
    labels = [_bar_label(hour.start, step, zone) for hour in hours]
    return Outcomes(
        step=duration_text(step),
        bars=charts.bars(hours, labels),
        width=str(count * charts.BAR),
        first=labels[0],
        last=labels[-1],
        rows=[
            (label, [hour.counts[s.value] for s in OUTCOMES])
            for label, hour in zip(labels, hours, strict=True)
            if hour.total
        ][::-1],
    )


def _floor(moment: datetime, step: timedelta, zone: str) -> datetime:
    """The start of its bar: a bar of a day begins at midnight on the clock of the job."""
    local = in_zone(moment, zone)
    midnight = timedelta(
        hours=local.hour,
        minutes=local.minute,
        seconds=local.second,
        microseconds=local.microsecond,
    )
    return moment - midnight % step if step <= timedelta(days=1) else moment - midnight


def _bar_label(moment: datetime, step: timedelta, zone: str) -> str:
    length = 10 if step >= timedelta(days=1) else 16
    return moment_text(moment, zone)[:length]


# Duration and lateness ----------------------------------------------------------------------------

#: The box of a plot.
WIDTH, HEIGHT = 1000, 100


@dataclass(frozen=True)
class Plot:
    """One value over time: a dot for each run, and the values that tell the most."""

    name: str
    dots: list[tuple[str, str, str]]  # status, path, title
    facts: str
    highest: str
    first: str
    last: str


def plot(
    name: str, runs: Sequence[TaskRun], value: Callable[[TaskRun], timedelta | None], zone: str
) -> Plot | None:
    points = [(run, v) for run in runs if run.started_at and (v := value(run)) is not None]
    if not points:
        return None
    values = sorted(v for _run, v in points)
    times = [run.scheduled_for for run, _v in points]
    first, span = min(times), max(max(times) - min(times), timedelta(seconds=1))
    highest = max(values[-1], timedelta(milliseconds=10))
    dots = []
    for run, v in points:
        x = 8 + (WIDTH - 16) * ((run.scheduled_for - first) / span)
        y = HEIGHT - 4 - (HEIGHT - 8) * (max(v, ZERO) / highest)
        title = f"{moment_text(run.scheduled_for, zone)}: {duration_text(v)}"
        dots.append((run.status, f"M{x:.1f} {y:.1f}h0", title))
    facts = _("median %(p50)s, 95 %% within %(p95)s, longest %(max)s") % {
        "p50": duration_text(percentile(values, 50)),
        "p95": duration_text(percentile(values, 95)),
        "max": duration_text(values[-1]),
    }
    shown = [moment_text(moment, zone)[:16] for moment in (first, max(times))]
    return Plot(name, dots, facts, duration_text(highest), *shown)
