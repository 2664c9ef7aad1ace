"""`/metrics`: what Prometheus is told, read from the database at each scrape.

A fixed number of queries, each answered by an index or by the small table of definitions.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Count, Min
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.registry import Collector, CollectorRegistry

from dispatcher.models import Failing, Status, TaskRun, Worker
from dispatcher.models.run import run_id_at
from dispatcher.watch.figures import last_tick
from scheduling.database import database_now
from scheduling.models import ScheduledTask, State
from scheduling.models.state import noted
from scheduling.stop import current_stop

__all__ = ["CONTENT_TYPE_LATEST", "exposition"]

#: The runs that are counted by status.
RECENT = timedelta(minutes=5)


def exposition() -> bytes:
    """Everything, in the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Now(database_now()))
    return generate_latest(registry)


class _Now(Collector):
    def __init__(self, now: datetime) -> None:
        self.now = now

    def describe(self) -> list[Gauge]:
        return []  # nothing is collected only to know the names

    def collect(self) -> Iterator[Gauge]:
        yield _paused()
        yield _tick_age(self.now)
        yield _workers(self.now)
        yield from _schedules()
        yield _recent_runs(self.now)
        yield _active_runs()
        yield from _waiting_runs(self.now)


def _paused() -> Gauge:
    value = int(current_stop() is not None)
    return Gauge("minutehand_everything_paused", "1 while everything is paused.", value)


def _tick_age(now: datetime) -> Gauge:
    """The age of the last tick. No value before the first: `absent()` tells it."""
    gauge = Gauge("minutehand_last_tick_age_seconds", "Time since the last tick ended.", labels=[])
    last = last_tick()
    if last is not None and last.finished_at is not None:
        gauge.add_metric([], (now - last.finished_at).total_seconds())
    return gauge


def _workers(now: datetime) -> Gauge:
    gauge = Gauge("minutehand_workers", "Living workers, by queue.", labels=["queue"])
    counts: dict[str, int] = {}
    for queues in Worker.objects.alive(now).values_list("queues", flat=True):
        for queue in queues:
            counts[queue] = counts.get(queue, 0) + 1
    for queue, count in sorted(counts.items()):
        gauge.add_metric([queue], count)
    return gauge


def _schedules() -> Iterator[Gauge]:
    gauge = Gauge("minutehand_scheduled_tasks", "Scheduled tasks, by state.", labels=["state"])
    rows = ScheduledTask.objects.order_by().values_list("enabled", "state_reason")
    counts = dict.fromkeys(State.values, 0)
    for enabled, reason, count in rows.annotate(Count("pk")):
        counts[noted(enabled, reason)] += count
    for state, count in counts.items():
        gauge.add_metric([state], count)
    yield gauge
    failing = Failing.objects.now().count()
    yield Gauge("minutehand_failing_scheduled_tasks", "Whose last run failed or was lost.", failing)


def _recent_runs(now: datetime) -> Gauge:
    """Run ids grow with time, so that the age needs no index of its own."""
    name, text = "minutehand_recent_runs", "Runs planned in the last 5 minutes, by present status."
    since = run_id_at(now - RECENT)
    counts = dict.fromkeys(Status.values, 0)
    rows = TaskRun.objects.filter(pk__gte=since).order_by().values_list("status")
    counts.update(rows.annotate(Count("pk")))
    gauge = Gauge(name, text, labels=["status"])
    for status, count in counts.items():
        gauge.add_metric([status], count)
    return gauge


def _active_runs() -> Gauge:
    count = TaskRun.objects.filter(status=Status.RUNNING).count()
    return Gauge("minutehand_running_runs", "Runs that are running.", count)


def _waiting_runs(now: datetime) -> Iterator[Gauge]:
    """Those that should have started; not those that a pause of everything holds."""
    due = TaskRun.objects.waiting().not_stopped().filter(start_at__lte=now)
    depth = Gauge("minutehand_due_runs", "Runs that are due and not started.", labels=["queue"])
    age = Gauge(
        "minutehand_oldest_due_run_age_seconds",
        "How long the oldest of them has been due.",
        labels=["queue"],
    )
    rows = due.order_by("queue").values_list("queue").annotate(Count("pk"), Min("start_at"))
    for queue, count, oldest in rows:
        depth.add_metric([queue], count)
        age.add_metric([queue], (now - oldest).total_seconds())
    yield depth
    yield age
