"""The overview: is the scheduler alive, what ran, what needs somebody, and what comes next.

It is a page of its own, a part of the admin's start page (by the tag `overview`), and a fragment
of HTML, which both pages fetch again every few seconds while somebody looks at them.
"""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from dispatcher.admin.kit import charts
from dispatcher.admin.kit.charts import clock
from dispatcher.admin.kit.html import badge, run_url, status_badge
from dispatcher.models import Status, Tick
from dispatcher.reasons import describe
from dispatcher.watch import figures
from dispatcher.worker.installation import QUEUE
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.words import (
    duration_text,
    in_zone,
    moment_text,
    schedule_words,
    state_label,
    state_of,
    state_reason_text,
)

#: How often the pages ask for news (seconds).
REFRESH_SECONDS = 10

TEMPLATES = "admin/dispatcher/overview"
SECOND = timedelta(seconds=1)


def urls(site: admin.AdminSite) -> list[URLPattern]:
    """Below the page of runs: the only place for a page of its own that needs no `urls.py`."""
    wrapped = site.admin_view(require_safe(view))
    return [path("overview/", wrapped, name="dispatcher_overview")]


def view(request: HttpRequest) -> HttpResponse:
    """The page; with `?fragment` only what changes."""
    if not may_see(request):
        raise PermissionDenied
    if "fragment" in request.GET:
        return TemplateResponse(request, f"{TEMPLATES}/body.html", context(request))
    shown = {**admin.site.each_context(request), "title": _("Overview"), **context(request)}
    return TemplateResponse(request, f"{TEMPLATES}/page.html", shown)


def may_see(request: HttpRequest) -> bool:
    return _sees_runs(request) or _sees_tasks(request)


def _sees_runs(request: HttpRequest) -> bool:
    return request.user.has_perm("dispatcher.view_taskrun")


def _sees_tasks(request: HttpRequest) -> bool:
    user = request.user
    names = ("scheduling.view_scheduledtask", "scheduling.change_scheduledtask")
    return any(user.has_perm(name) for name in names)


def context(request: HttpRequest) -> dict[str, Any]:
    """All that the templates show, to this person."""
    now = database_now()
    shown: dict[str, Any] = {
        "updated": in_zone(now, settings.TIME_ZONE).strftime("%H:%M:%S %Z"),
        "refresh_seconds": REFRESH_SECONDS,
        "fragment_url": reverse("admin:dispatcher_overview") + "?fragment",
        "sees_runs": _sees_runs(request),
        "sees_tasks": _sees_tasks(request),
    }
    shown |= _alive(now)
    if shown["sees_runs"]:
        shown |= _ran(now)
    if shown["sees_tasks"]:
        shown |= _needs_somebody(now) | _comes(now)
    return shown


# Alive? -------------------------------------------------------------------------------------------


def _alive(now: datetime) -> dict[str, Any]:
    tick, workers, hosts = figures.last_tick(), figures.workers(now), figures.dispatchers(now)
    queues = {queue for worker in workers for queue in worker.queues}
    depths = figures.depths(queues)
    backlog = figures.waiting(now)
    problems = _tick_problems(tick, now)
    if depths is None:
        problems.append(_("The broker does not answer. Runs wait in the database meanwhile."))
    if not workers:
        problems.append(_("No worker is alive, so no run starts. Start a worker."))
    problems += [_backlog_text(row, queues, now) for row in backlog]
    return {
        "problems": problems,
        "tick": tick,
        "tick_age": _ago(tick.finished_at, now) if tick else "",
        "tick_took": duration_text(tick.finished_at - tick.started_at) if tick else "",  # type: ignore[operator]
        "hosts": hosts,
        "workers": [(worker, ", ".join(worker.queues)) for worker in workers[: figures.SHOWN]],
        "worker_count": len(workers),
        "places": sum(worker.concurrency or 1 for worker in workers),
        "depths": depths,
    }


def _tick_problems(tick: Tick | None, now: datetime) -> list[str]:
    if tick is None or tick.finished_at is None:
        return [_("No tick has ever run. Start one beat and one dispatcher.")]
    age = now - tick.finished_at
    if age > figures.TICK_LIMIT:
        text = _("No tick has run for %(time)s. Look whether beat and a dispatcher are alive.")
        return [text % {"time": duration_text(age)}]
    return [_("The last tick said: %(error)s") % {"error": tick.error}] if tick.error else []


def _backlog_text(row: figures.Waiting, consumed: set[str], now: datetime) -> str:
    params = {
        "count": f"{row.count}{'+' if row.count >= figures.SAMPLE else ''}",
        "queue": row.queue or _("default"),
        "time": duration_text(now - row.since) if row.since else "",
    }
    if row.queue and row.queue not in consumed | {QUEUE}:
        text = _(
            "%(count)s runs wait in the queue “%(queue)s”, the first for %(time)s, and no living "
            "worker consumes it."
        )
    else:
        text = _("%(count)s runs wait in the queue “%(queue)s”, the first for %(time)s.")
    return text % params


def _ago(moment: datetime | None, now: datetime) -> str:
    return "" if moment is None else _("%(time)s ago") % {"time": _rough(now, moment)}


def _soon(moment: datetime, now: datetime) -> str:
    return _("in %(time)s") % {"time": _rough(moment, now)} if moment - now >= SECOND else _("now")


def _rough(later: datetime, earlier: datetime) -> str:
    """A time between that somebody watches: whole seconds."""
    return duration_text((later - earlier) // SECOND * SECOND)


# What ran, and what is running --------------------------------------------------------------------


def _ran(now: datetime) -> dict[str, Any]:
    hours = figures.outcomes(charts.hour_start(now, 24))
    labels = [clock(hour.start) for hour in hours]
    totals = {
        status.value: (
            sum(hour.counts[status] for hour in hours),
            any(hour.counts[status] >= figures.HOUR_LIMIT for hour in hours),
        )
        for status in figures.OUTCOMES
    }
    late, running = figures.lateness(now), figures.running()
    return {
        "bars": charts.bars(hours, labels),
        "highest": max(hour.total for hour in hours),
        "hour_labels": labels,
        "capped": any(hour.is_capped for hour in hours),
        "hour_limit": figures.HOUR_LIMIT,
        "legend": [(s, Status(s).label, n, more) for s, (n, more) in totals.items()],
        "total": sum(n for n, _more in totals.values()),
        "table": [
            (label, [hour.counts[status] for status in figures.OUTCOMES])
            for label, hour in zip(labels, hours, strict=True)
        ][::-1],
        "late": late,
        "late_since": clock(late.since) if late.since else "",
        "late_values": [
            (name, duration_text(value))
            for name, value in (("p50", late.p50), ("p95", late.p95), ("p99", late.p99))
            if value is not None
        ],
        "running": running,
        "running_rows": [
            (run_url(run.pk), run, _rough(now, run.started_at) if run.started_at else "")
            for run in running.rows
        ],
    }


# What needs somebody, and what comes --------------------------------------------------------------


def _needs_somebody(now: datetime) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {
            "url": _task_url(task),
            "name": task.name,
            "badge": _state_badge(task),
            "said": state_reason_text(task),
            "when": _ago(task.state_reason_at, now),
        }
        for task in figures.set_aside()
    ]
    rows += [
        {
            "url": _task_url(row.task),
            "name": row.task.name,
            "badge": status_badge(row.run.status),
            "state": "" if state_of(row.task) == "active" else _state_badge(row.task),
            "run_url": run_url(row.run.pk),
            "said": row.said or describe(row.run.reason, row.run.reason_params),
            "when": _ago(row.run.finished_at, now),
            "failing_for": _rough(now, row.since),
        }
        for row in figures.failing()
    ]
    return {"attention": rows[: 2 * figures.SHOWN], "more_attention": len(rows) > 2 * figures.SHOWN}


def _state_badge(task: ScheduledTask) -> str:
    state = state_of(task)
    return badge(state, state_label(state))


def _task_url(task: ScheduledTask) -> str:
    return reverse("admin:scheduling_scheduledtask_change", args=[task.pk])


def _comes(now: datetime) -> dict[str, Any]:
    rows, more = figures.upcoming(now)
    quarter = figures.HOUR / 4
    return {
        "upcoming": [
            {
                "url": _task_url(row.task),
                "name": row.task.name,
                "schedule": schedule_words(row.task),
                "next": moment_text(row.slots[0], row.task.timezone),
                "soon": _soon(row.slots[0], now),
                "count": len(row.slots),
                "many": row.many,
                "dots": charts.strip(row, now),
                "times": ", ".join(map(clock, row.slots)),
            }
            for row in rows
        ],
        "more_upcoming": more,
        "quarters": [clock(now + n * quarter) for n in range(4)],
    }
