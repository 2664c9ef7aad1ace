"""Which scheduled tasks need somebody, and which run in the next hour."""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db import DatabaseError
from django.urls import reverse
from django.utils.translation import gettext as _

from dispatcher.admin.kit import charts
from dispatcher.admin.kit.charts import clock
from dispatcher.admin.kit.html import badge, run_url, status_badge
from dispatcher.admin.overview.spans import ago, between, soon
from dispatcher.reasons import describe
from dispatcher.watch import figures
from scheduling.models import ScheduledTask
from scheduling.words import moment_text, schedule_words, state_label, state_of, state_reason_text

logger = logging.getLogger(__name__)


def needing_somebody(now: datetime) -> dict[str, Any]:
    rows = [_entry(_aside_entry, task, task, now) for task in figures.set_aside()]
    rows += [_entry(_failing_entry, row, row.task, now) for row in figures.failing()]
    return {"attention": rows[: 2 * figures.SHOWN], "more_attention": len(rows) > 2 * figures.SHOWN}


def _entry(make: Callable[..., dict[str, Any]], row: Any, task: Any, now: datetime) -> Any:
    """What is shown of a row; of one that cannot be shown, that. One must not fail the page."""
    try:
        return make(row, now)
    except DatabaseError:
        raise
    except Exception:
        logger.exception("Scheduled task %s cannot be shown", task.pk)
        said = _("It cannot be shown; the log says why.")
        shown = {"url": _task_url(task), "name": str(task.name), "said": said}
        return shown | {"next": said, "soon": said, "times": said, "count": 0}


def _aside_entry(task: ScheduledTask, now: datetime) -> dict[str, Any]:
    return {
        "url": _task_url(task),
        "name": task.name,
        "badge": _state_badge(task),
        "said": state_reason_text(task),
        "when": ago(task.state_reason_at, now),
    }


def _failing_entry(row: Any, now: datetime) -> dict[str, Any]:
    return {
        "url": _task_url(row.task),
        "name": row.task.name,
        "badge": status_badge(row.run.status),
        "state": "" if state_of(row.task) == "active" else _state_badge(row.task),
        "run_url": run_url(row.run.pk),
        "said": row.said or describe(row.run.reason, row.run.reason_params),
        "when": ago(row.run.finished_at, now),
        "failing_for": between(now, row.since),
    }


def _state_badge(task: ScheduledTask) -> str:
    state = state_of(task)
    return badge(state, state_label(state))


def _task_url(task: ScheduledTask) -> str:
    return reverse("admin:scheduling_scheduledtask_change", args=[task.pk])


def coming(now: datetime) -> dict[str, Any]:
    rows, more = figures.upcoming(now)
    quarter = figures.HOUR / 4
    return {
        "upcoming": [_entry(_coming_entry, row, row.task, now) for row in rows],
        "more_upcoming": more,
        "quarters": [clock(now + n * quarter) for n in range(4)],
    }


def _coming_entry(row: Any, now: datetime) -> dict[str, Any]:
    return {
        "url": _task_url(row.task),
        "name": row.task.name,
        "schedule": schedule_words(row.task),
        "next": moment_text(row.slots[0], row.task.timezone),
        "soon": soon(row.slots[0], now),
        "count": len(row.slots),
        "many": row.many,
        "dots": charts.strip(row, now),
        "times": ", ".join(map(clock, row.slots)),
    }
