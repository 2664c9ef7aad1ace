"""The life of a run: the phases that it went through as a strip, and its moments as a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from dispatcher.models import RunAttempt, Status, TaskRun
from scheduling.words import duration_text, moment_text

ZERO = timedelta(0)


@dataclass(frozen=True)
class Phase:
    """A time between two steps; `kind` is its colour."""

    kind: str
    label: str
    start: datetime
    end: datetime

    @property
    def title(self) -> str:
        took = duration_text(self.end - self.start)
        return _("%(phase)s: %(time)s") % {"phase": self.label, "time": took}


def phases(run: TaskRun, attempts: Sequence[RunAttempt], now: datetime) -> list[Phase]:
    """The phases from the plan to the end, or to now: waiting for its time, for a worker, running,
    between attempts. What has no length is left out."""
    lived: list[Phase] = []
    end = run.finished_at or now
    tried = [(row.attempt, row.started_at, row.finished_at) for row in attempts]
    if run.claimed_at is not None and is_its_own(run, attempts):
        tried.append((run.attempt, run.claimed_at, end))
    first = run.started_at or end
    due = run.start_at if run.start_at <= first else run.scheduled_for  # a retry moves the start
    due = min(max(due, run.planned_at), first)
    lived.append(Phase("ahead", _("waiting for its time"), run.planned_at, due))
    lived.append(Phase("waiting", _("waiting for a worker"), due, first))
    last = first
    for number, start, stop in tried:
        if start is None:
            continue
        lived.append(Phase("between", _("until the next attempt"), last, start))
        label = _("running") if len(tried) == 1 else _("attempt %(n)d") % {"n": number}
        lived.append(Phase("running", label, start, stop))
        last = stop
    if run.started_at is not None:  # it retries, or was cancelled when it was about to
        lived.append(Phase("between", _("until the next attempt"), last, end))
    return [phase for phase in lived if phase.end > phase.start]


def is_its_own(run: TaskRun, attempts: Sequence[RunAttempt]) -> bool:
    """Whether the last claim is of the present attempt, and not of one that has a row already."""
    return run.status != Status.RETRYING and run.claimed_at not in {
        row.started_at for row in attempts
    }


#: The width of the strip in its own units, and the least that a phase takes of it.
WIDTH, LEAST = 1000, 8


def strip(lived: list[Phase]) -> list[tuple[Phase, str, str]]:
    """Each phase with its place on the strip, `x` and `width`; the shortest can still be seen."""
    if not lived:
        return []
    total = sum((phase.end - phase.start for phase in lived), ZERO)
    room = WIDTH - LEAST * len(lived)
    x, placed = 0.0, []
    for phase in lived:
        width = LEAST + room * ((phase.end - phase.start) / total)
        placed.append((phase, f"{x:.1f}", f"{width:.1f}"))
        x += width
    return placed


def steps(run: TaskRun) -> list[tuple[str, str, str, str]]:
    """The moments of the run in their order: step, time, after the step before, a note."""
    reached: list[tuple[datetime | None, str, str]] = [
        (run.planned_at, _("planned"), ""),
        (run.published_at, _("published"), _("handed to the broker")),
        (run.scheduled_for, _("scheduled for"), ""),
        (run.last_slot, _("last slot of %(n)d") % {"n": run.slot_count}, ""),
        (_moved_start(run), _("to start at"), ""),
        (run.started_at, _("started"), _late_text(run)),
        (run.finished_at, _("finished"), ""),
        (None if run.is_ended else run.expires_at, _("expires"), ""),
    ]
    moments = sorted(
        ((moment, step, note) for moment, step, note in reached if moment is not None),
        key=lambda row: row[0],
    )
    shown, before = [], None
    for moment, step, note in moments:
        after = "" if before is None else f"+ {duration_text(moment - before)}"
        shown.append((step, moment_text(moment), after, note))
        before = moment
    return shown


def _moved_start(run: TaskRun) -> datetime | None:
    """The start of the run where it is not its slot: jitter, or a retry."""
    return run.start_at if run.start_at != run.scheduled_for else None


def lateness(run: TaskRun) -> timedelta | None:
    """How late the run started; None also where a retry has moved `start_at` past the first
    start."""
    late = run.lateness
    return None if late is None or late < ZERO else late


def _late_text(run: TaskRun) -> str:
    late = lateness(run)
    return "" if late is None else _("late by %(time)s") % {"time": duration_text(late)}


def life(run: TaskRun, attempts: Sequence[RunAttempt], now: datetime) -> SafeString:
    placed = strip(phases(run, attempts, now))
    context = {"placed": placed, "steps": steps(run), "ended": run.is_ended}
    return render_to_string("admin/dispatcher/taskrun/life.html", context)
