"""Is the scheduler alive: its last tick, its workers, its queues, and what is wrong with them."""

from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from dispatcher.admin.overview.spans import ago
from dispatcher.models import Tick
from dispatcher.watch import figures
from dispatcher.worker.beat import QUEUE
from scheduling.words import duration_text


def context(now: datetime) -> dict[str, Any]:
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
        "tick_age": ago(tick.finished_at, now) if tick else "",
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
