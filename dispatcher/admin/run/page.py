"""The page of a run: its life as a timeline, its attempts, its log, and its neighbours."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.template.loader import render_to_string
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from dispatcher import conf
from dispatcher.admin.kit.html import run_url, status_badge
from dispatcher.models import RunAttempt, Status, TaskRun
from dispatcher.reasons import describe
from scheduling.words import duration_text, moment_text

ZERO = timedelta(0)

# Its life -----------------------------------------------------------------------------------------


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
    """From the plan to the end, or to now: waiting for its time, for a worker, running, between
    attempts. What has no length is left out."""
    found: list[Phase] = []
    end = run.finished_at or now
    tried = [(row.attempt, row.started_at, row.finished_at) for row in attempts]
    if run.claimed_at is not None and _is_its_own(run, attempts):
        tried.append((run.attempt, run.claimed_at, end))
    first = run.started_at or end
    due = run.start_at if run.start_at <= first else run.scheduled_for  # a retry moves the start
    due = min(max(due, run.planned_at), first)
    found.append(Phase("ahead", _("waiting for its time"), run.planned_at, due))
    found.append(Phase("waiting", _("waiting for a worker"), due, first))
    last = first
    for number, start, stop in tried:
        if start is None:
            continue
        found.append(Phase("between", _("until the next attempt"), last, start))
        label = _("running") if len(tried) == 1 else _("attempt %(n)d") % {"n": number}
        found.append(Phase("running", label, start, stop))
        last = stop
    if run.started_at is not None:  # it retries, or was cancelled when it was about to
        found.append(Phase("between", _("until the next attempt"), last, end))
    return [phase for phase in found if phase.end > phase.start]


def _is_its_own(run: TaskRun, attempts: Sequence[RunAttempt]) -> bool:
    """Whether the last claim is of the present attempt, and not of one that has a row already."""
    return run.status != Status.RETRYING and run.claimed_at not in {
        row.started_at for row in attempts
    }


#: The width of the strip in its own units, and the least that a phase takes of it.
WIDTH, LEAST = 1000, 8


def strip(found: list[Phase]) -> list[tuple[Phase, str, str]]:
    """Each phase with its place on the strip, `x` and `width`; the shortest can still be seen."""
    if not found:
        return []
    total = sum((phase.end - phase.start for phase in found), ZERO)
    room = WIDTH - LEAST * len(found)
    x, placed = 0.0, []
    for phase in found:
        width = LEAST + room * ((phase.end - phase.start) / total)
        placed.append((phase, f"{x:.1f}", f"{width:.1f}"))
        x += width
    return placed


def steps(run: TaskRun) -> list[tuple[str, str, str, str]]:
    """The moments of the run in their order: step, time, after the step before, a note."""
    known: list[tuple[datetime | None, str, str]] = [
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
        ((moment, step, note) for moment, step, note in known if moment is not None),
        key=lambda row: row[0],
    )
    shown, before = [], None
    for moment, step, note in moments:
        after = "" if before is None else f"+ {duration_text(moment - before)}"
        shown.append((step, moment_text(moment), after, note))
        before = moment
    return shown


def _moved_start(run: TaskRun) -> datetime | None:
    """Where it is not the slot: jitter, or a retry."""
    return run.start_at if run.start_at != run.scheduled_for else None


def lateness(run: TaskRun) -> timedelta | None:
    """None also where a retry has moved `start_at` past the first start."""
    late = run.lateness
    return None if late is None or late < ZERO else late


def _late_text(run: TaskRun) -> str:
    late = lateness(run)
    return "" if late is None else _("late by %(time)s") % {"time": duration_text(late)}


def life(run: TaskRun, attempts: Sequence[RunAttempt], now: datetime) -> SafeString:
    placed = strip(phases(run, attempts, now))
    context = {"placed": placed, "steps": steps(run), "ended": run.is_ended}
    return render_to_string("admin/dispatcher/taskrun/life.html", context)


# Attempts -----------------------------------------------------------------------------------------


def attempts_of(run: TaskRun) -> list[RunAttempt]:
    """The attempts before the present one, read once for the page."""
    known: list[RunAttempt] | None = run.__dict__.get("_past_attempts")
    if known is None:
        rows = RunAttempt.objects.filter(run=run.pk).order_by("attempt", "pk")
        known = run.__dict__["_past_attempts"] = list(rows) if run.attempt > 1 else []
    return known


def attempt_list(run: TaskRun, attempts: Sequence[RunAttempt]) -> SafeString:
    """The earlier attempts, each with what went wrong and what it logged, and the present one."""
    rows = [
        {
            "number": row.attempt,
            "badge": status_badge(row.status),
            "started": moment_text(row.started_at) or "–",
            "took": duration_text(row.finished_at - row.started_at) if row.started_at else "",
            "worker": _worker_text(row),
            "said": row.exception or describe(row.reason, row.reason_params),
            "traceback": traceback_block(row.traceback) if row.traceback else "",
            "log": log_block(row.log) if row.log else "",
        }
        for row in attempts
    ]
    if run.claimed_at is not None and _is_its_own(run, attempts):
        took = run.finished_at - run.claimed_at if run.finished_at else None
        rows.append(
            {
                "number": run.attempt,
                "badge": status_badge(run.status),
                "started": moment_text(run.claimed_at),
                "took": duration_text(took),
                "worker": _worker_text(run),
                "said": run.exception,
                "above": bool(run.traceback or run.log),
            }
        )
    return render_to_string("admin/dispatcher/taskrun/attempts.html", {"attempts": rows})


def _worker_text(row: TaskRun | RunAttempt) -> str:
    if not row.worker:
        return ""
    pid = _("pid %(pid)d") % {"pid": row.pid} if row.pid else ""
    return " ".join(filter(None, (row.worker, pid)))


# Traceback and log --------------------------------------------------------------------------------

_FRAME = re.compile(r'\s+File "(?P<path>[^"]*)"')
_FOREIGN = re.compile(r"site-packages|dist-packages|/lib/python3|/billiard/|<frozen ")


def traceback_block(text: str) -> SafeString:
    """The traceback with the frames of libraries set back: one's own are what one looks for."""
    parts: list[tuple[str, str]] = []
    foreign = False
    for line in text.rstrip("\n").split("\n"):
        if frame := _FRAME.match(line):
            foreign = bool(_FOREIGN.search(frame["path"]))
        elif not line.startswith("    "):
            foreign = False
        parts.append(("mh-foreign" if foreign else "", line))
    return _block(parts)


_LEVEL = re.compile(r"\d{4}-\d\d-\d\d [\d:.]+Z (?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) ")
_CUT = re.compile(r"\[(\d+) earlier lines were cut\]$")


def log_block(text: str) -> SafeString:
    """The lines, those of warnings and errors marked; what was cut is said in its place."""
    parts: list[tuple[str, str]] = []
    kind = ""
    for line in text.rstrip("\n").split("\n"):
        if cut := _CUT.match(line):
            count = int(cut[1])
            said = ngettext("… %(n)d earlier line was cut", "… %(n)d earlier lines were cut", count)
            parts.append(("mh-cut", said % {"n": count}))
            continue
        if level := _LEVEL.match(line):
            kind = f"mh-log-{level['level'].lower()}"
        parts.append((kind, line))
    return _block(parts)


def _block(parts: list[tuple[str, str]]) -> SafeString:
    """Lines as one block; a line without a class of its own is plain text."""
    lines = [
        format_html('<span class="{}">{}</span>', kind, line) if kind else format_html("{}", line)
        for kind, line in parts
    ]
    inside = format_html_join(mark_safe("\n"), "{}", ((line,) for line in lines))
    return format_html('<pre class="mh-block" tabindex="0">{}</pre>', inside)


_KILLED = ("time_limit", "by_person", "cancel_previous", "revoked", "paused", "deleted")


def log_text(run: TaskRun) -> SafeString:
    """What the last attempt logged, or why there is nothing."""
    if run.log:
        return log_block(run.log)
    return format_html('<span class="mh-quiet">{}</span>', _no_log_text(run))


def _no_log_text(run: TaskRun) -> str:
    if run.status == Status.RUNNING:
        return _("Its lines are stored when the attempt ends.")
    params = run.reason_params if isinstance(run.reason_params, dict) else {}
    by_force = run.status == Status.LOST or run.reason in _KILLED
    if by_force and not params.get("soft"):
        return _("None: its lines are stored when an attempt ends by itself, and it was ended.")
    if conf.RUN_LOG_KIB.value <= 0:
        return _("Nothing is kept: SCHEDULER_RUN_LOG_KIB is 0.")
    return _("It logged nothing.")


# Neighbours ---------------------------------------------------------------------------------------


def neighbours(run: TaskRun) -> list[dict[str, Any]]:
    """The run before and the run after this one, of the same scheduled task."""
    if run.scheduled_task_id is None:
        return []
    runs = TaskRun.objects.filter(scheduled_task=run.scheduled_task_id).only(
        "status", "scheduled_for"
    )
    found = [
        ("prev", _("Previous run"), runs.filter(pk__lt=run.pk).order_by("-pk").first()),
        ("next", _("Next run"), runs.filter(pk__gt=run.pk).order_by("pk").first()),
    ]
    return [
        {
            "rel": rel,
            "label": label,
            "url": run_url(other.pk),
            "badge": status_badge(other.status),
            "time": moment_text(other.scheduled_for),
        }
        for rel, label, other in found
        if other is not None
    ]
