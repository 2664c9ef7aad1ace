"""How each of some scheduled tasks has been doing: its newest runs, for many of them at once."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import BooleanField, Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.expressions import RawSQL

from dispatcher.models import Status, TaskRun
from dispatcher.models.status import COUNTED
from scheduling.models import ScheduledTask

#: How many of its newest runs a task is judged by, and how many of them are shown one by one.
JUDGED, SHOWN = 50, 20

#: Up to so many runs of a status are looked through; above, the tasks are.
RARE = 10_000

_COLUMNS = ("scheduled_task", "pk", "status", "scheduled_for", "started_at", "finished_at")


@dataclass(frozen=True, slots=True)
class Newest:
    """One of the newest runs: what a list has to know of it."""

    pk: UUID
    status: str
    scheduled_for: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def duration(self) -> timedelta | None:
        """As `TaskRun.duration`."""
        if self.started_at is None or self.finished_at is None:
            return None
        return self.finished_at - self.started_at


@dataclass(frozen=True)
class RecentRuns:
    """The newest runs of a task, oldest first, and what they come to.

    `worked`: how many of them ended by their own work; the others were skipped, missed or
    cancelled, or go on.
    """

    runs: list[Newest]
    worked: int = 0
    succeeded: int = 0
    median: timedelta | None = None

    @property
    def shown(self) -> list[Newest]:
        return self.runs[-SHOWN:]


def recent_runs_of(tasks: Collection[int]) -> dict[int, RecentRuns]:
    """The newest runs of each of the tasks (their ids). One query, whatever their number."""
    newest_first: dict[int, list[Newest]] = defaultdict(list)
    for task, *columns in _newest(tasks):
        newest_first[task].append(Newest(*columns))
    return {task: _summed_up(newest_first[task][::-1]) for task in tasks}


def _summed_up(runs: list[Newest]) -> RecentRuns:
    worked = [run for run in runs if run.status in COUNTED]
    times = [run.duration.total_seconds() for run in worked if run.duration is not None]
    return RecentRuns(
        runs=runs,
        worked=len(worked),
        succeeded=sum(run.status == Status.SUCCEEDED for run in worked),
        median=timedelta(seconds=median(times)) if times else None,
    )


def _newest(tasks: Collection[int]) -> Iterator[Any]:
    """The newest JUDGED runs of each task, newest first.

    A SELECT for each task, in one statement, because each then ends after JUDGED entries of the
    index (scheduled_task, id). A window function would read every run of every task, and of
    LATERAL MariaDB and SQLite know nothing.
    """
    if not tasks:
        return iter(())
    of_one_task = (
        TaskRun.objects.filter(scheduled_task=0).order_by("-pk").values_list(*_COLUMNS)[:JUDGED]
    )
    compiler = of_one_task.query.get_compiler(connection=connection)
    sql, _params = compiler.as_sql()
    selects = (f"SELECT * FROM ({sql}) AS runs_{number}" for number, _task in enumerate(tasks))
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(selects), list(tasks))
        rows = cursor.fetchall()
    return iter(compiler.results_iter(results=[rows]))


def is_frequent(status: str) -> bool:
    """Whether so many runs are in this status that it is better to ask the tasks."""
    return TaskRun.objects.filter(status=status)[: RARE + 1].count() > RARE


def whose_last_is(tasks: QuerySet[ScheduledTask], status: str) -> QuerySet[ScheduledTask]:
    """The tasks whose newest run that has begun or ended is in this status.

    Where few runs are, it asks of each whether a newer one of its task has begun, now, and keeps
    which tasks that leaves: PostgreSQL thinks that they are many, and would look for them among all
    tasks by name. Where many are, it asks each task for its newest, until a page is full.
    """
    begun = TaskRun.objects.begun()
    if is_frequent(status):
        newest = begun.filter(scheduled_task=OuterRef("pk")).order_by("-pk").values("status")[:1]
        return tasks.alias(last_status=Subquery(newest)).filter(last_status=status)
    newer = begun.filter(scheduled_task=OuterRef("scheduled_task"), pk__gt=OuterRef("pk"))
    runs = TaskRun.objects.filter(status=status, scheduled_task__isnull=False)
    newest_runs = runs.filter(~Exists(newer)).order_by()
    return tasks.filter(_is_one_of(list(newest_runs.values_list("scheduled_task", flat=True))))


def _is_one_of(ids: list[int]) -> Any:
    """As one parameter where the database has arrays: Django takes ten times as long to write ten
    thousand as the database to look for them."""
    if connection.vendor != "postgresql":
        return Q(pk__in=ids)
    table, key = ScheduledTask._meta.db_table, ScheduledTask._meta.pk.column
    return RawSQL(f'"{table}"."{key}" = ANY(%s)', [ids], output_field=BooleanField())


@contextmanager
def without_jit() -> Iterator[None]:
    """Switch off PostgreSQL's JIT in the block: it expects that each task is asked for its newest
    run, where a page soon is full, and compiles the query for longer than it runs."""
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL jit = off")
        yield
