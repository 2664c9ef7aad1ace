"""What the runs came to: their outcomes by hour, and how late they started."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Any

from django.db import connection

from dispatcher.models import Status, TaskRun, Trigger
from dispatcher.models.run import run_id_at
from dispatcher.watch.figures.limits import DAY, HOUR, HOUR_LIMIT, SAMPLE

#: The outcomes of a run, as they are stacked.
OUTCOMES = (
    Status.SUCCEEDED,
    Status.FAILED,
    Status.LOST,
    Status.MISSED,
    Status.SKIPPED,
    Status.CANCELLED,
)


@dataclass(frozen=True)
class Hour:
    """The runs that were made in an hour, by outcome; a count above HOUR_LIMIT is cut to it."""

    start: datetime
    counts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def is_capped(self) -> bool:
        return max(self.counts.values()) >= HOUR_LIMIT


def outcomes(first: datetime, hours: int = 24) -> list[Hour]:
    """The outcomes of the runs made in each of the hours from `first` on. One query."""
    starts = [first + n * HOUR for n in range(hours)]
    cells = list(product(starts, OUTCOMES))
    table = connection.ops.quote_name(TaskRun._meta.db_table)
    count = (
        f"(SELECT COUNT(*) FROM (SELECT 1 FROM {table} "
        f"WHERE status = %s AND id >= %s AND id < %s LIMIT {HOUR_LIMIT}) AS cell)"
    )
    values: list[Any] = []
    for start, status in cells:
        values += [status.value, _id_value(start), _id_value(start + HOUR)]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join([count] * len(cells))}", values)
        totals = cursor.fetchone()
    counts: dict[datetime, dict[str, int]] = defaultdict(dict)
    for (start, status), number in zip(cells, totals, strict=True):
        counts[start][status.value] = number
    return [Hour(start, counts[start]) for start in starts]


def _id_value(moment: datetime) -> Any:
    return TaskRun._meta.pk.get_db_prep_value(run_id_at(moment), connection)


@dataclass(frozen=True)
class Lateness:
    """How late the newest `size` runs of schedules started, the oldest of them at `since`."""

    size: int = 0
    since: datetime | None = None
    p50: timedelta | None = None
    p95: timedelta | None = None
    p99: timedelta | None = None


_STARTED = (Status.SUCCEEDED, Status.FAILED, Status.LOST, Status.RUNNING)


def lateness(now: datetime) -> Lateness:
    """Percentiles over a sample: of the last 24 hours the newest SAMPLE runs that a schedule
    started. Retries are left out: they start when they mean to."""
    starts = [row for status in _STARTED for row in _newest_starts(status, now)]
    starts = [(start_at, late) for start_at, late in sorted(starts)[-SAMPLE:]]
    late = sorted(late for _start, late in starts)
    if not late:
        return Lateness()
    p50, p95, p99 = (percentile(late, percent) for percent in (50, 95, 99))
    return Lateness(len(late), starts[0][0], p50, p95, p99)


def _newest_starts(status: str, now: datetime) -> list[tuple[datetime, timedelta]]:
    rows = TaskRun.objects.filter(status=status, pk__gte=run_id_at(now - DAY)).order_by("-pk")
    names = ("trigger", "attempt", "retries", "start_at", "started_at")
    return [
        (start_at, max(started_at - start_at, timedelta(0)))
        for trigger, attempt, retries, start_at, started_at in rows.values_list(*names)[:SAMPLE]
        if trigger == Trigger.SCHEDULE and started_at and attempt == 1 and not retries
    ]


def percentile(ordered: list[timedelta], percent: int) -> timedelta:
    """The smallest value that at least `percent` of the values do not exceed (nearest rank)."""
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)]
