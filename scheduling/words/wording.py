"""How a schedule, a moment, a duration and a state are said to a person.

Total functions: whatever raw SQL left in a row, they say what is wrong with it and never raise.
"""

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _

from scheduling.models import Kind, ScheduledTask, State, spoilt_rows, state
from scheduling.schedules import ScheduleError
from scheduling.schedules.zones import zone
from scheduling.validation import schedule_error
from scheduling.words.cron_words import cron_words

_UNITS = (
    (86_400, gettext_lazy("%(n)s d")),
    (3_600, gettext_lazy("%(n)s h")),
    (60, gettext_lazy("%(n)s min")),
    (1, gettext_lazy("%(n)s s")),
)


def in_zone(moment: datetime, name: str) -> datetime:
    """The moment on the clock of a zone; in UTC where there is no such zone or date."""
    try:
        return moment.astimezone(zone(name))
    except (ScheduleError, OverflowError, ValueError):
        return moment.astimezone(UTC)


def moment_text(moment: datetime | None, name: str | None = None) -> str:
    """`2026-11-21 09:00:00 CET`, in the zone `name` or in the project's; "" for None."""
    if moment is None:
        return ""
    return in_zone(moment, name or settings.TIME_ZONE).strftime("%Y-%m-%d %H:%M:%S %Z")


def duration_text(duration: timedelta | None) -> str:
    """`4 ms`, `0.25 s`, `42 s`, `1 h 30 min`: short ones in two digits, long ones in two units."""
    if duration is None:
        return ""
    seconds = duration.total_seconds()
    if 0.001 <= abs(seconds) < 0.1:
        return _("%(n)s ms") % {"n": round(seconds * 1000)}
    if abs(seconds) < 10:
        return _("%(n)s s") % {"n": f"{round(seconds, 2):g}"}
    sign, whole = ("-" if seconds < 0 else ""), round(abs(seconds))
    first = next(i for i, (size, _unit) in enumerate(_UNITS) if whole >= size)
    parts = []
    for size, unit in _UNITS[first : first + 2]:
        count, whole = divmod(whole, size)
        if count:
            parts.append(str(unit) % {"n": count})
    return sign + " ".join(parts)


def until_text(duration: timedelta) -> str:
    """`in 42 s`, `in 4 min`, `in 1 h 30 min`, `in 2 d 3 h`: no finer than one plans by."""
    seconds = max(int(duration.total_seconds()), 0)
    step = 1 if seconds < 60 else 60 if seconds < 86_400 else 3_600
    return _("in %(time)s") % {"time": duration_text(timedelta(seconds=seconds - seconds % step))}


def exact_duration_text(seconds: int) -> str:
    """Every unit of a whole number of seconds: `1 d 2 h 3 min 4 s`."""
    parts = []
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(str(unit) % {"n": count})
    return " ".join(parts) or _("%(n)s s") % {"n": 0}


def schedule_text(task: ScheduledTask) -> str:
    """`every 5 s`, `30 3 * * mon-fri (Asia/Shanghai)`, `once, 2026-11-21 09:00:00 CET`."""
    if task.kind == Kind.INTERVAL and isinstance(task.interval_seconds, int):
        return _("every %(time)s") % {"time": exact_duration_text(task.interval_seconds)}
    if task.kind == Kind.CRON:
        return f"{task.cron_expression} ({task.timezone})"
    if task.kind == Kind.ONE_TIME and task.run_at is not None:
        return _("once, %(time)s") % {"time": moment_text(task.run_at, task.timezone)}
    return str(task.kind)


def schedule_words(task: ScheduledTask) -> str:
    """As `schedule_text`, with a cron expression in words where words are right:
    `Monday to Friday at 09:00 (Asia/Shanghai)`. A wrong expression stays as it is."""
    if task.kind != Kind.CRON:
        return schedule_text(task)
    try:
        words = _cron_words(task.cron_expression, get_language())
    except ScheduleError:
        words = ""
    return f"{words or task.cron_expression} ({task.timezone})"


@lru_cache(maxsize=4096)
def _cron_words(expression: str, language: str | None) -> str:
    """Remembered: a list of a hundred schedules says a hundred of them, most again and again."""
    return cron_words(expression)


def problem_of(task: ScheduledTask) -> str:
    """Why the columns make no schedule; "" where they make one."""
    try:
        spoilt_rows.check(task)
        task.window()
    except Exception as error:
        return _sentence(error)
    return ""


def upcoming_or_problem(
    task: ScheduledTask, n: int, now: datetime, everything_paused: bool
) -> tuple[list[datetime], str]:
    """The next slots, or why there are none to tell: a task that is set aside has none, and none
    has any while everything is paused."""
    if state.of(task) == State.SET_ASIDE:
        return [], state_reason_text(task)
    if everything_paused and task.enabled:
        return [], _("Everything is paused.")
    try:
        return task.upcoming(n, now=now, everything_paused=everything_paused), ""
    except Exception as error:
        return [], _sentence(error)


def _sentence(error: Exception) -> str:
    if isinstance(error, ScheduleError):
        return " ".join(schedule_error(error).messages)
    return f"{type(error).__name__}: {error}"[:500]


def state_of(task: ScheduledTask) -> str:
    """`active`, `paused`, `finished` or `set_aside`: what is true, also before a tick noted it."""
    noted = state.of(task)
    return str(State.SET_ASIDE if noted == State.ACTIVE and problem_of(task) else noted)


def state_label(word: str) -> str:
    """The state (`active`, …) in the reader's language."""
    return str(State(word).label)


def state_reason_text(task: ScheduledTask) -> str:
    """Why the task is in its state, in a sentence; "" where there is nothing to add."""
    now = state_of(task)
    if now == State.SET_ASIDE:
        return problem_of(task) or _noted_message(task)
    if now == State.FINISHED:
        return _("It has no further slot.")
    params = task.state_reason_params
    failures = params.get("failures") if isinstance(params, dict) else None
    if now == State.PAUSED and isinstance(failures, int):
        return _("Paused after %(count)d failed or lost runs in a row.") % {"count": failures}
    return _noted_message(task)


def _noted_message(task: ScheduledTask) -> str:
    return noted_text(task.state_reason_params)


def noted_text(params: Any) -> str:
    """What was noted with a state, whatever raw SQL left there: the words of a person, an error,
    or of what a row is a copy."""
    if not isinstance(params, dict):
        return ""
    if "copy_of" in params:
        return _("Copy of “%(name)s”.") % {"name": params["copy_of"]}
    return str(params.get("message", ""))


def state_note(task: ScheduledTask) -> str:
    """The reason with who gave it: `by ada: deploy`; "" where there is nothing to add."""
    why, who = state_reason_text(task), task.state_reason_by
    if not who or state.of(task) != State.PAUSED:
        return why
    texts = {"who": who, "why": why}
    return (_("by %(who)s: %(why)s") if why else _("by %(who)s")) % texts


def state_story(task: ScheduledTask) -> str:
    """The reason, since when, by whom and until when, in sentences."""
    why = state_reason_text(task)
    facts = [why if not why or why[-1] in ".!?。！？" else _("%(words)s.") % {"words": why}]
    if task.state_reason_at is not None and (task.state_reason or task.state_reason_by):
        at = moment_text(task.state_reason_at, task.timezone)
        facts.append(_("Since %(time)s.") % {"time": at})
    if task.state_reason_by:
        facts.append(_("By %(who)s.") % {"who": task.state_reason_by})
    if task.paused_until is not None:
        until = moment_text(task.paused_until, task.timezone)
        facts.append(_("It resumes at %(time)s.") % {"time": until})
    return " ".join(filter(None, facts))


def json_text(value: Any) -> str:
    """JSON as people read it: indented, and in its own characters."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
