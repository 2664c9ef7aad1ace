"""Stats: what the overview asks. Each question is bounded, however many rows there are.

Which index serves which question:

    outcomes                 (status, id): run ids grow with time, so an hour is a range of ids
    lateness, running        (status, id), the newest or the oldest n of a status
    failing                  its own small table, then (scheduled task, id) for each row shown
    waiting                  (status, id), the oldest n
    set_aside                (enabled, next_run_at): a row that is set aside has no next_run_at
    upcoming                 (publish_at) for what is planned, (enabled, next_run_at) for the rest
    last_tick, dispatchers   (kind, started_at)
    workers                  (lease_until)
"""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Any

from celery.app import app_or_default
from django.db import connection
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Left

from dispatcher.models import Failing, Status, TaskRun, Tick, Trigger, Worker
from dispatcher.models.run import run_id_at
from dispatcher.models.status import BAD
from dispatcher.publish.broker import connection_errors, ready_in
from dispatcher.publish.pool import AT_ONCE, REDIS_TIMES
from dispatcher.worker.installation import QUEUE
from scheduling.models import ScheduledTask, State
from scheduling.stop import current_stop

DAY = timedelta(hours=24)
HOUR = timedelta(hours=1)
#: Two missed ticks and a margin.
TICK_LIMIT = timedelta(seconds=150)
#: Runs that wait longer than this make a backlog.
BACKLOG_AGE = timedelta(minutes=2)
#: The outcomes of a run, as they are stacked.
OUTCOMES = (
    Status.SUCCEEDED,
    Status.FAILED,
    Status.LOST,
    Status.MISSED,
    Status.SKIPPED,
    Status.CANCELLED,
)
#: Of one outcome in one hour no more are counted.
HOUR_LIMIT = 10_000
#: How many of the newest runs a question about many of them looks at.
SAMPLE = 500
#: How many rows a list of the overview has.
SHOWN = 10

# Alive? -------------------------------------------------------------------------------------------


def last_tick() -> Tick | None:
    """The newest tick that came to its end; one that failed has none."""
    newest = Tick.objects.ticks().order_by("-started_at")[:100]
    return next((tick for tick in newest if tick.finished_at is not None), None)


def dispatchers(now: datetime) -> list[str]:
    """The hosts that have ticked lately."""
    lately = Tick.objects.ticks().filter(started_at__gte=now - 2 * TICK_LIMIT)
    newest = lately.order_by("-started_at").values_list("dispatcher", flat=True)[:100]
    return sorted({name for name in newest if name})


def workers(now: datetime) -> list[Worker]:
    """Those whose lease holds, but dispatchers."""
    alive = Worker.objects.alive(now).order_by("hostname")[:500]
    return [worker for worker in alive if worker.queues != [QUEUE]]


@dataclass(frozen=True)
class Depth:
    """How many messages wait in a queue of the broker."""

    queue: str
    ready: int


#: A broker that answers is asked at most this often; one that does not, less often (seconds).
DEPTH_KEPT, SILENCE_KEPT = 5.0, 30.0
_depths: dict[tuple[str, ...], tuple[float, list[Depth] | None]] = {}


def depths(queues: Collection[str]) -> list[Depth] | None:
    """The messages that wait in each queue; None without a broker. Kept for some seconds, so that
    a page that many people look at asks the broker once."""
    names = tuple(sorted({*queues, QUEUE}))
    until, known = _depths.get(names, (0.0, None))
    if time.monotonic() < until:
        return known
    known = _ask_broker(names)
    _depths.clear()
    kept = SILENCE_KEPT if known is None else DEPTH_KEPT
    _depths[names] = time.monotonic() + kept, known
    return known


def _ask_broker(names: Iterable[str]) -> list[Depth] | None:
    app = app_or_default()
    options = {**(app.conf.broker_transport_options or {})} | AT_ONCE
    if (app.conf.broker_url or "").startswith(("redis", "rediss", "valkey")):
        options |= REDIS_TIMES | {"socket_timeout": 1, "socket_connect_timeout": 0.5}
    else:
        options |= {"read_timeout": 1, "write_timeout": 1}
    try:
        with app.connection_for_read(connect_timeout=0.5, transport_options=options) as broker:
            broker.ensure_connection(max_retries=0)
            return [Depth(name, ready_in(broker, name)) for name in names]
    except connection_errors():
        return None


# What the runs came to ----------------------------------------------------------------------------


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
        found = cursor.fetchone()
    counts: dict[datetime, dict[str, int]] = defaultdict(dict)
    for (start, status), number in zip(cells, found, strict=True):
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
    found = [row for status in _STARTED for row in _newest_starts(status, now)]
    found = [(start_at, late) for start_at, late in sorted(found)[-SAMPLE:]]
    late = sorted(late for _start, late in found)
    if not late:
        return Lateness()
    p50, p95, p99 = (percentile(late, percent) for percent in (50, 95, 99))
    return Lateness(len(late), found[0][0], p50, p95, p99)


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


# Now ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listed:
    """The first rows of a list, and how many there are: at most SAMPLE are counted."""

    rows: list[TaskRun]
    count: int

    @property
    def is_capped(self) -> bool:
        return self.count >= SAMPLE

    @property
    def unlisted(self) -> int:
        return self.count - len(self.rows)


_LARGE = ("args", "kwargs", "result", "exception", "traceback", "log")


def running() -> Listed:
    """The runs that are running, those first that began first."""
    rows = TaskRun.objects.filter(status=Status.RUNNING)
    return Listed(list(rows.defer(*_LARGE).order_by("pk")[:SHOWN]), rows[:SAMPLE].count())


@dataclass
class Waiting:
    """Runs of one queue that should have started: how many, and since when the first of them."""

    queue: str
    count: int = 0
    since: datetime | None = None

    def add(self, start_at: datetime) -> None:
        self.count += 1
        self.since = min(self.since or start_at, start_at)


def waiting(now: datetime) -> list[Waiting]:
    """The backlog by queue, the largest first, from the oldest SAMPLE runs of each state. Runs
    that wait for another one of their own schedule are where they belong."""
    queues: dict[str, Waiting] = {}
    for status in (Status.PLANNED, Status.PUBLISHED, Status.RETRYING):
        oldest = TaskRun.objects.filter(status=status).order_by("pk")
        names = ("queue", "start_at", "reason", "waits")
        for queue, start_at, reason, waits in oldest.values_list(*names)[:SAMPLE]:
            late = start_at < now - BACKLOG_AGE
            if late and waits is None and reason != "takes_turns":
                queues.setdefault(queue, Waiting(queue)).add(start_at)
    return sorted(queues.values(), key=lambda found: -found.count)


# What needs somebody ------------------------------------------------------------------------------


def set_aside() -> list[ScheduledTask]:
    """Schedules that the scheduler cannot evaluate, the newest such first."""
    rows = ScheduledTask.objects.in_state(State.SET_ASIDE).filter(next_run_at=None)
    return list(rows.order_by("-state_reason_at")[: SHOWN + 1])


@dataclass(frozen=True)
class Failed:
    """A schedule that fails, since when, and its newest run that failed or was lost."""

    task: ScheduledTask
    since: datetime
    run: TaskRun

    @property
    def said(self) -> str:
        return str(self.run.said)  # type: ignore[attr-defined]  # annotated


def failing() -> list[Failed]:
    """Schedules that fail, as `notices` wrote down at the last rescue pass; the newest first."""
    bad = TaskRun.objects.filter(scheduled_task=OuterRef("scheduled_task"), status__in=BAD)
    newest = Subquery(bad.order_by("-pk").values("pk")[:1])
    rows = Failing.objects.now().order_by("-since").annotate(newest=newest)[: SHOWN + 1]
    found = list(rows.values_list("scheduled_task", "since", "newest"))
    tasks = ScheduledTask.objects.in_bulk([task for task, _since, _run in found])
    runs = TaskRun.objects.defer(*_LARGE).annotate(said=Left("exception", 200))
    by_id = runs.in_bulk([run for _task, _since, run in found if run is not None])
    return [
        Failed(tasks[task], since, by_id[run])
        for task, since, run in found
        if task in tasks and run in by_id  # deleted or pruned meanwhile
    ]


# The hour to come ---------------------------------------------------------------------------------

#: Above this many slots in the hour a schedule is a band, not dots.
DOTS = 30


@dataclass(frozen=True)
class Upcoming:
    """A schedule and its slots in the hour to come; `many` where there are more than DOTS."""

    task: ScheduledTask
    slots: list[datetime]
    many: bool


def upcoming(now: datetime) -> tuple[list[Upcoming], bool]:
    """The schedules that run next, soonest first, and whether more of them have a slot within the
    hour. What is planned for the next minutes is asked from the runs: `next_run_at` is past it."""
    if current_stop() is not None:
        return [], False
    until = now + HOUR
    soonest = _planned(now) | _unplanned(now, until)
    limit = 2 * SHOWN
    nearest = sorted(soonest, key=lambda pk: soonest[pk])[: limit + SHOWN]
    tasks = ScheduledTask.objects.filter(pk__in=nearest, enabled=True).in_bulk()
    found = [row for pk in nearest if pk in tasks and (row := _slots(tasks[pk], now, until)).slots]
    found.sort(key=lambda row: (row.slots[0], row.task.name))
    return found[:limit], len(found) > limit


def _planned(now: datetime) -> dict[int, datetime]:
    """Planned and published runs are those with a `publish_at`; some have waited long already."""
    rows = TaskRun.objects.filter(publish_at__gt=now).order_by("publish_at")
    soonest: dict[int, datetime] = {}
    for pk, slot in rows.values_list("scheduled_task", "slot")[:SAMPLE]:
        if pk is not None and slot is not None and slot > now:
            soonest[pk] = min(slot, soonest.get(pk, slot))
    return soonest


def _unplanned(now: datetime, until: datetime) -> dict[int, datetime]:
    rows = ScheduledTask.objects.filter(enabled=True, next_run_at__gt=now, next_run_at__lte=until)
    found = rows.order_by("next_run_at").values_list("pk", "next_run_at")[: 4 * SHOWN]
    return {pk: moment for pk, moment in found if moment is not None}


def _slots(task: ScheduledTask, now: datetime, until: datetime) -> Upcoming:
    try:
        slots = [
            slot
            for slot in task.upcoming(DOTS + 1, now=now, everything_paused=False)
            if slot <= until
        ]
    except Exception:  # whatever raw SQL left there: the tick sets it aside and says so
        slots = []
    return Upcoming(task, slots[:DOTS], len(slots) > DOTS)
