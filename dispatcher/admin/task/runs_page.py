"""The page of a scheduled task's runs: how it has been doing, and when it runs next.

Everything is drawn from its newest SAMPLE runs, read by the index (scheduled task, id): a schedule
that runs every five seconds has half a million of them in a month.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models.functions import Left
from django.utils.translation import gettext as _

from dispatcher.admin.kit import charts
from dispatcher.admin.kit.html import status_link
from dispatcher.admin.kit.read_only import LARGE
from dispatcher.admin.run.page import lateness
from dispatcher.models import Status, TaskRun
from dispatcher.reasons import describe
from dispatcher.watch.figures import OUTCOMES, Hour, percentile
from scheduling.models import ScheduledTask
from scheduling.stop import current_stop
from scheduling.words import duration_text, in_zone, moment_text, upcoming_or_problem

#: How many of its runs the plots are of, how many are listed, and how many slots to come.
SAMPLE, LISTED, COMING = 500, 20, 10
#: The most bars of the outcomes.
BARS = 30
ZERO = timedelta(0)
#: The columns of a run that the plots are made of.
READ = (
    "status",
    "attempt",
    "retries",
    "scheduled_for",
    "start_at",
    "started_at",
    "finished_at",
    "scheduled_task",
)


def context(task: ScheduledTask, now: datetime) -> dict[str, Any]:
    newest = list(task.runs.only(*READ).order_by("-pk")[:SAMPLE])[::-1]
    ended = [run for run in newest if run.is_ended]
    return {
        "since": moment_text(newest[0].scheduled_for, task.timezone) if newest else "",
        "sample": len(newest),
        "is_all": len(newest) < SAMPLE,
        "legend": _legend(ended),
        "success": _success(ended),
        "outcome_labels": [status.label for status in OUTCOMES],
        "outcomes": outcomes(ended, task.timezone),
        "plots": [
            plot
            for plot in (
                _plot(_("Duration"), ended, lambda run: run.duration, task.timezone),
                _plot(_("Late by"), newest, lateness, task.timezone),
            )
            if plot is not None
        ],
        "listed": _listed(task),
        **_coming(task, now),
    }


def _legend(runs: Sequence[TaskRun]) -> list[tuple[str, Any, int]]:
    counts = Counter(run.status for run in runs)
    return [(s.value, s.label, counts[s]) for s in OUTCOMES if counts[s]]


def _success(runs: Sequence[TaskRun]) -> str:
    """Of those that came to an end by their own work."""
    worked = [run.status for run in runs if run.started_at is not None]
    if not worked:
        return ""
    return f"{100 * worked.count(Status.SUCCEEDED) / len(worked):.4g} %"


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


def _plot(
    name: str, runs: Sequence[TaskRun], value: Callable[[TaskRun], timedelta | None], zone: str
) -> Plot | None:
    known = [(run, v) for run in runs if run.started_at and (v := value(run)) is not None]
    if not known:
        return None
    values = sorted(v for _run, v in known)
    times = [run.scheduled_for for run, _v in known]
    first, span = min(times), max(max(times) - min(times), timedelta(seconds=1))
    highest = max(values[-1], timedelta(milliseconds=10))
    dots = []
    for run, v in known:
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


# Lists --------------------------------------------------------------------------------------------


def _listed(task: ScheduledTask) -> list[dict[str, Any]]:
    rows = task.runs.defer(*LARGE).annotate(said=Left("exception", 120)).order_by("-pk")[:LISTED]
    return [
        {
            "badge": status_link(run.status, run.pk),
            "time": moment_text(run.scheduled_for, task.timezone),
            "slots": run.slot_count,
            "took": duration_text(run.duration),
            "late": duration_text(lateness(run)),
            "trigger": run.get_trigger_display(),
            "said": run.said  # type: ignore[attr-defined]
            or (describe(run.reason, run.reason_params) if run.reason else ""),
        }
        for run in rows
    ]


def _coming(task: ScheduledTask, now: datetime) -> dict[str, Any]:
    slots, problem = upcoming_or_problem(task, COMING, now, current_stop() is not None)
    zones = [task.timezone] + ([] if task.timezone == "UTC" else ["UTC"])
    return {
        "zones": zones,
        "coming": [[moment_text(slot, name) for name in zones] for slot in slots],
        "no_slots": problem,
        "skipped": [moment_text(slot, task.timezone) for slot in skipped_slots(task, now)],
    }


def skipped_slots(task: ScheduledTask, now: datetime) -> list[datetime]:
    """The slots to come that are skipped by hand."""
    try:
        found = [datetime.fromisoformat(text) for text in task.skip_slots]
        return sorted(slot for slot in found if slot > now)
    except (TypeError, ValueError):
        return []
