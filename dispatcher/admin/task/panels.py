"""What the form of a scheduled task tells while it is filled in: three small pieces of HTML, made
from what was typed, whether or not the rest of the form is valid."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.template.loader import render_to_string
from django.utils.formats import date_format
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy

from scheduling import registry
from scheduling.database import database_now
from scheduling.models import Kind, ScheduledTask
from scheduling.schedules import Cron, ScheduleError
from scheduling.schedules.cron_text import named
from scheduling.stop import current_stop
from scheduling.words import (
    ComingRun,
    Preview,
    Suggested,
    cron_suggestions,
    cron_warnings,
    preview_of,
    task_advice,
    wording,
    zone_suggestions,
)

#: How many next runs the form shows.
SHOWN = 10

_FIELD_LABELS = {
    "second": gettext_lazy("second"),
    "minute": gettext_lazy("minute"),
    "hour": gettext_lazy("hour"),
    "day of month": gettext_lazy("day of month"),
    "month": gettext_lazy("month"),
    "day of week": gettext_lazy("day of week"),
}


# The task -----------------------------------------------------------------------------------------


def task_panel(name: str) -> str:
    """Signature and docstring of a known task; for an unknown one a warning."""
    context = {"info": registry.describe(name), "advice": task_advice(name)}
    return render_to_string("dispatcher/panels/task.html", context)


# The cron expression ------------------------------------------------------------------------------


def cron_panel(expression: str, zone: str, now: datetime) -> str:
    """The expression field by field, as it is read, what is probably not meant, and what is."""
    context = {
        "parts": _parts(expression),
        "warnings": cron_warnings(expression),
        "suggestions": _offered(cron_suggestions(expression, zone, now)),
    }
    return render_to_string("dispatcher/panels/cron.html", context)


def zone_panel(zone: str, expression: str, now: datetime) -> str:
    """The zones that a name which is none may mean."""
    context = {"suggestions": _offered(zone_suggestions(zone, expression, now))}
    return render_to_string("dispatcher/panels/suggestions.html", context)


def _offered(suggestions: list[Suggested]) -> list[dict[str, Any]]:
    """Suggestions as buttons that fill the fields of the form, with the next runs."""
    return [
        {
            "label": suggestion.expression
            or (suggestion.timezone if suggestion.kind == Kind.CRON else suggestion.meaning),
            "meaning": suggestion.meaning,
            "runs": [wording.moment_text(run, suggestion.timezone) for run in suggestion.next_runs],
            "fields": {
                "kind": suggestion.kind,
                "cron_expression": suggestion.expression,
                "interval_seconds": suggestion.interval_seconds or "",
                "timezone": suggestion.timezone,
                "starts_at": _wall_time(suggestion.starts_at, suggestion.timezone),
                "ends_at": _wall_time(suggestion.ends_at, suggestion.timezone),
            },
        }
        for suggestion in suggestions
    ]


def _wall_time(moment: datetime | None, zone: str) -> str:
    return f"{wording.in_zone(moment, zone):%Y-%m-%d %H:%M:%S}" if moment else ""


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


def stored_panel(row: ScheduledTask) -> str:
    """The panel of a row as it is stored."""
    now = getattr(row, "read_at", None) or database_now()
    return runs_panel(preview_of(row, SHOWN, now), row)


def runs_panel(preview: Preview, row: ScheduledTask) -> str:
    """The schedule in words and its next runs, or nothing while the rule is wrong; `row` says
    whether they run at all."""
    if not preview.words:
        return empty_runs_panel()
    truth = preview.row
    stopped = getattr(row, "everything_paused", None)  # as read with the row
    context = {
        "words": capfirst(preview.words),
        "lines": [_line(run, truth) for run in preview.runs],
        "problem": preview.problem,
        "zone": truth.timezone,
        "is_utc": truth.timezone == "UTC",
        "enabled": row.enabled,
        "everything_paused": current_stop() is not None if stopped is None else stopped,
        "ends": len(preview.runs) < SHOWN,
        "jitter": wording.exact_duration_text(truth.jitter_seconds or 0),
        "jittered": bool(truth.jitter_seconds),
        "is_new": truth.pk is None,
        "from_now": truth.pk is None and truth.kind == Kind.INTERVAL and not truth.starts_at,
    }
    return render_to_string("dispatcher/panels/runs.html", context)


def empty_runs_panel() -> str:
    return render_to_string("dispatcher/panels/runs.html", {"waiting": True})


def _line(run: ComingRun, row: ScheduledTask) -> Line:
    starts_later = row.jitter_seconds and run.start is not None
    return Line(
        slot=run.slot,
        local=_day_and_time(run.slot, row.timezone),
        utc=_day_and_time(run.slot, "UTC").removesuffix(" UTC"),
        starts=_start_text(run, row.timezone) if starts_later else "",
        note=run.note,
    )


def _day_and_time(moment: datetime, name: str) -> str:
    """`Mon 2026-11-23 09:00:00 CST`, the weekday in the reader's language."""
    local = wording.in_zone(moment, name)
    return f"{date_format(local, 'D')} {wording.moment_text(moment, name)}"


def _start_text(run: ComingRun, zone: str) -> str:
    """The time of day at which the run of the slot starts; with its date if it is another day."""
    start, slot = (wording.in_zone(moment, zone) for moment in (run.start or run.slot, run.slot))
    same_day = start.date() == slot.date()
    return f"{start:%H:%M:%S}" if same_day else f"{start:%Y-%m-%d %H:%M:%S}"
