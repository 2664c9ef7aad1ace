"""What to say of a rule before it is saved: what is probably not meant, and what the clock does to
its slots. For the form and the API."""

import copy
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scheduling import registry
from scheduling.edits import TIMING
from scheduling.models import ScheduledTask
from scheduling.schedules.clock_changes import ClockNote, clock_notes
from scheduling.schedules.zones import NAMES
from scheduling.words import wording

#: While one of these is wrong there are no next runs to show.
SCHEDULE_FIELDS = (*TIMING, "jitter_seconds")

_INSTANT = timedelta(microseconds=1)

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


def notes(row: ScheduledTask, slots: list[datetime], now: datetime) -> list[str]:
    """What the clock of its zone does to each of the slots, in a sentence or ""."""
    zone = row.timezone if row.timezone in NAMES else "UTC"
    since = max(now, row.starts_at - _INSTANT) if row.starts_at else now
    return [_note_text(note) for note in clock_notes(row.schedule(), zone, slots, since)]


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
