"""The preview: what the form, the API and code say of a rule before it is saved. The rule in words,
its next runs with what the clock does to them, and what is accepted but probably not meant.

It decides nothing: the slots are those of `ScheduledTask.upcoming`, of the row as saving would
leave it.
"""

import copy
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scheduling import registry
from scheduling.models import Kind, ScheduledTask
from scheduling.schedules import Cron, ScheduleError
from scheduling.schedules.clock_changes import ClockNote, clock_notes
from scheduling.schedules.policies import INSTANT
from scheduling.schedules.zones import NAMES
from scheduling.validation import TIMING, in_words
from scheduling.words import wording
from scheduling.words.suggestions import Suggested, cron_suggestions

#: While one of these is wrong there are no next runs to show; "" is the row as a whole.
_DECIDING_WHEN = frozenset((*TIMING, "jitter_seconds", ""))


_CLOCK_SENTENCES = {
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


@dataclass(frozen=True)
class ComingRun:
    """A slot to come: when its run starts (None where the jitter is not known before the schedule
    is saved), and what the clock does to it, in a sentence or ""."""

    slot: datetime
    start: datetime | None
    note: str


@dataclass(frozen=True)
class Preview:
    """What saving a row would lead to: `row` is as saving would leave it."""

    row: ScheduledTask
    #: The rule in words; "" where it is wrong.
    words: str = ""
    #: The next runs; where there are none, `problem` may say why, in a sentence.
    runs: list[ComingRun] = field(default_factory=list)
    problem: str = ""
    warnings: list[str] = field(default_factory=list)
    #: What a cron expression that is refused or in doubt probably meant.
    suggestions: list[Suggested] = field(default_factory=list)


def preview_of(row: ScheduledTask, n: int, now: datetime, wrong: Collection[str] = ()) -> Preview:
    """The preview of a row that is stored, changed or new, with `n` runs. `wrong` are the columns
    at fault, "" for the whole row: it has no runs only if one of them decides when it runs."""
    truth = once_saved(row, now)
    warnings, suggestions = [], []
    if row.kind == Kind.CRON:
        warnings = cron_warnings(row.cron_expression)
        suggestions = cron_suggestions(row.cron_expression, row.timezone, now)
    if not _DECIDING_WHEN.isdisjoint(wrong):
        return Preview(truth, warnings=warnings, suggestions=suggestions)
    runs, problem = coming_runs(truth, n, now, everything_paused=False)
    return Preview(truth, wording.schedule_words(truth), runs, problem, warnings, suggestions)


def coming_runs(
    row: ScheduledTask, n: int, now: datetime, everything_paused: bool
) -> tuple[list[ComingRun], str]:
    """The next `n` runs of a row as it is; or none, and why in a sentence."""
    slots, problem = wording.upcoming_or_problem(row, n, now, everything_paused)
    if not slots:
        return [], problem
    is_start_known = row.pk is not None or not row.jitter_seconds
    runs = [
        ComingRun(slot, row.start_of(slot) if is_start_known else None, note)
        for slot, note in zip(slots, _clock_notes(row, slots, now), strict=True)
    ]
    return runs, problem


# What is probably not meant -----------------------------------------------------------------------


def cron_warnings(expression: str) -> list[str]:
    """What is accepted but probably not meant; nothing for an expression that is refused."""
    try:
        return [in_words(warning) for warning in Cron(expression).warnings]
    except ScheduleError:
        return []


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


# The row once it is saved -------------------------------------------------------------------------


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
    if row.stored is None or row.next_run_at is None or row.next_run_at <= now:
        return 0
    stored = copy.copy(row)
    for name, value in row.stored.items():
        setattr(stored, name, value)
    try:
        span = stored.window().span(now, row.next_run_at - INSTANT)
    except Exception:  # raw SQL: nothing can be told of the old rule
        return 0
    return span.count if span else 0


# What the clock does ------------------------------------------------------------------------------


def _clock_notes(row: ScheduledTask, slots: list[datetime], now: datetime) -> list[str]:
    """What the clock of its zone does to each of the slots, in a sentence or ""."""
    zone = row.timezone if row.timezone in NAMES else "UTC"
    since = max(now, row.starts_at - INSTANT) if row.starts_at else now
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
    return str(_CLOCK_SENTENCES[note.code]) % shown
