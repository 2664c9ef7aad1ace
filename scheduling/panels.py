"""What the form of a scheduled task tells while it is filled in: three small pieces of HTML, made
from what was typed, whether or not the rest of the form is valid."""

import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.template.loader import render_to_string
from django.utils.formats import date_format
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scheduling import registry, wording
from scheduling.clock_changes import ClockNote, clock_notes
from scheduling.cron_text import named
from scheduling.models import Kind, ScheduledTask
from scheduling.schedules import Cron, ScheduleError
from scheduling.stop import current_stop
from scheduling.zones import NAMES

#: How many next runs the form shows.
SHOWN = 10

_INSTANT = timedelta(microseconds=1)

_FIELD_LABELS = {
    "second": gettext_lazy("second"),
    "minute": gettext_lazy("minute"),
    "hour": gettext_lazy("hour"),
    "day of month": gettext_lazy("day of month"),
    "month": gettext_lazy("month"),
    "day of week": gettext_lazy("day of week"),
}

_CLOCK_NOTES = {
    "moved": gettext_lazy("The clock skips %(wall)s that night: it runs at %(shown)s instead."),
    "left_out": gettext_lazy(
        "The clock skips %(first)s to %(last)s on %(day)s: what would fall there does not run."
    ),
    "first_pass": gettext_lazy("The clock shows this time twice that night: this is the first."),
    "second_pass": gettext_lazy("The clock shows this time twice that night: this is the second."),
    "only_pass": gettext_lazy("The clock shows this time twice that night: it runs at the first."),
    "forward": gettext_lazy("The clock has gone forward by %(by)s."),
    "back": gettext_lazy("The clock has gone back by %(by)s."),
}


# The task -----------------------------------------------------------------------------------------


def task_panel(name: str) -> str:
    """Signature and docstring of a known task; for an unknown one a warning."""
    context = {"info": registry.describe(name), "advice": task_advice(name)}
    return render_to_string("scheduling/panels/task.html", context)


def task_advice(name: str) -> str:
    """What to say of a task that this process does not know; it may be right all the same."""
    if not name or registry.is_refused(name) or registry.is_known(name):
        return ""
    names = registry.close_matches(name)
    if names:
        text = _("No task is registered here as “%(task)s”. Did you mean %(names)s?")
    else:
        text = _("No task is registered here as “%(task)s”. If no worker knows it, it fails.")
    return text % {"task": name, "names": _(" or ").join(names)}


# The cron expression ------------------------------------------------------------------------------


def cron_panel(expression: str) -> str:
    """The expression field by field, as it is read, and what is probably not meant."""
    context = {"parts": _parts(expression), "warnings": wording.cron_warnings(expression)}
    return render_to_string("scheduling/panels/cron.html", context)


def _parts(expression: str) -> list[tuple[Any, str, bool]]:
    """(label, text, wrong) of each field; none where there are not five or six."""
    try:
        pairs = named(expression)
    except ScheduleError:
        return []
    wrong = _wrong_part(expression)
    return [(_FIELD_LABELS[name], text, name == wrong) for name, text in pairs]


def _wrong_part(expression: str) -> str:
    try:
        Cron(expression)
    except ScheduleError as error:
        return str(error.params.get("part", ""))
    return ""


# The next runs ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One of the next runs: the slot on three clocks (the viewer's is the browser's to fill in),
    when it starts where that is later, and what the clock does to it."""

    slot: datetime
    local: str
    utc: str
    starts: str
    note: str


def runs_panel(row: ScheduledTask, now: datetime) -> str:
    """The schedule in words and its next runs, as they will be once `row` is saved."""
    truth = once_saved(row, now)
    stopped = getattr(row, "everything_paused", None)  # as read with the row
    slots, problem = wording.upcoming_or_problem(truth, SHOWN, now, False)
    context = {
        "words": capfirst(wording.schedule_words(truth)),
        "lines": [] if problem else _lines(truth, slots, now),
        "problem": problem,
        "zone": truth.timezone,
        "is_utc": truth.timezone == "UTC",
        "enabled": row.enabled,
        "everything_paused": current_stop() is not None if stopped is None else stopped,
        "ends": len(slots) < SHOWN,
        "jitter": wording.exact_duration_text(truth.jitter_seconds or 0),
        "jittered": bool(truth.jitter_seconds),
        "is_new": truth.pk is None,
        "from_now": truth.pk is None and truth.kind == Kind.INTERVAL and not truth.starts_at,
    }
    return render_to_string("scheduling/panels/runs.html", context)


def empty_runs_panel() -> str:
    return render_to_string("scheduling/panels/runs.html", {"waiting": True})


def once_saved(row: ScheduledTask, now: datetime) -> ScheduledTask:
    """The row as saving would leave it, enabled: what a person asks is when it would run."""
    truth = copy.copy(row)
    truth.enabled, truth.state_reason = True, ""
    if truth.pk is None:
        truth.created_at = now  # the anchor of an interval
    elif truth.max_runs is not None:
        truth.slots_used -= _planned_ahead(row, now)
    truth.next_run_at = truth.last_run_at = None  # saving computes them anew, from now
    return truth


def _planned_ahead(row: ScheduledTask, now: datetime) -> int:
    """How many slots to come the stored rule has already used; a new rule gets them back."""
    if row._stored is None or row.next_run_at is None or row.next_run_at <= now:
        return 0
    stored = copy.copy(row)
    for name, value in row._stored.items():
        setattr(stored, name, value)
    try:
        span = stored.window().span(now, row.next_run_at - _INSTANT)
    except Exception:  # raw SQL: nothing can be told of the old rule
        return 0
    return span.count if span else 0


def _lines(row: ScheduledTask, slots: list[datetime], now: datetime) -> list[Line]:
    late = row.jitter_seconds and row.pk is not None
    return [
        Line(
            slot=slot,
            local=_day_and_time(slot, row.timezone),
            utc=_day_and_time(slot, "UTC").removesuffix(" UTC"),
            starts=_start_text(row, slot) if late else "",
            note=note,
        )
        for slot, note in zip(slots, notes(row, slots, now), strict=True)
    ]


def notes(row: ScheduledTask, slots: list[datetime], now: datetime) -> list[str]:
    """What the clock of its zone does to each of the slots, in a sentence or ""."""
    zone = row.timezone if row.timezone in NAMES else "UTC"
    since = max(now, row.starts_at - _INSTANT) if row.starts_at else now
    return [_note_text(note) for note in clock_notes(row.schedule(), zone, slots, since)]


def _day_and_time(moment: datetime, name: str) -> str:
    """`Mon 2026-11-23 09:00:00 CST`, the weekday in the reader's language."""
    local = wording.in_zone(moment, name)
    return f"{date_format(local, 'D')} {wording.moment_text(moment, name)}"


def _start_text(row: ScheduledTask, slot: datetime) -> str:
    """The time of day at which the run of the slot starts; with its date if it is another day."""
    start = wording.in_zone(row.start_of(slot), row.timezone)
    same_day = start.date() == wording.in_zone(slot, row.timezone).date()
    return f"{start:%H:%M:%S}" if same_day else f"{start:%Y-%m-%d %H:%M:%S}"


def _note_text(note: ClockNote | None) -> str:
    if note is None:
        return ""
    shown: dict[str, Any] = {}
    for name, value in note.params.items():
        if isinstance(value, timedelta):
            shown[name] = wording.duration_text(value)
        else:
            shown |= {name: f"{value:%H:%M}", "day": f"{value:%Y-%m-%d}"}
    return str(_CLOCK_NOTES[note.code]) % shown
