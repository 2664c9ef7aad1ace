"""Writes of the planner and of the misfire rule, each a thousand rows in one statement.

PostgreSQL has forms for the planner's two, `COPY` and `unnest`, that take a quarter of the time of
the ORM's, and they were two thirds of a tick. The other databases get the plain forms, and so does
psycopg 2 for `COPY`: it leaves the text of each value to its caller.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, models
from django.db.models import Case, F, Value, When

from dispatcher.models.ends import RELEASED
from dispatcher.models.run import TaskRun
from dispatcher.models.status import Status
from scheduling.database import DatabaseNow

# Move `next_run_at` ------------------------------------------------------------------------------


class Move(NamedTuple):
    """A scheduled task's `next_run_at`, from `before` to `after`, past `used` slots."""

    pk: int
    before: datetime | None
    after: datetime | None
    last_run_at: datetime | None
    used: int


_MOVE = """
UPDATE scheduling_scheduledtask
SET next_run_at = %s, last_run_at = %s, slots_used = slots_used + %s,
    state_reason = '', state_reason_params = '{}'
WHERE id = %s AND (next_run_at = %s OR next_run_at IS NULL AND %s IS NULL)
"""
_MOVE_TOGETHER = """
UPDATE scheduling_scheduledtask AS task
SET next_run_at = move.after, last_run_at = move.last_run_at, slots_used = slots_used + move.used,
    state_reason = '', state_reason_params = '{}'
FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::timestamptz[], %s::integer[])
    AS move (pk, before, after, last_run_at, used)
WHERE task.id = move.pk AND task.next_run_at IS NOT DISTINCT FROM move.before
"""


def move(moves: Sequence[Move]) -> int:
    """Move each by compare-and-set; how many of them were where they were thought to be."""
    if not moves:
        return 0
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_MOVE_TOGETHER, [list(column) for column in zip(*moves, strict=True)])
        else:
            cursor.executemany(_MOVE, [_values(move) for move in moves])
        return int(cursor.rowcount)


def _values(move: Move) -> list[Any]:
    times = (move.after, move.last_run_at, move.before)
    after, last, before = map(connection.ops.adapt_datetimefield_value, times)
    return [after, last, move.used, move.pk, before, before]


# Insert runs -------------------------------------------------------------------------------------


def insert(runs: Sequence[TaskRun]) -> None:
    """Insert them all, or raise as `bulk_create` does."""
    if not runs:
        return  # an empty COPY is a round trip all the same
    if not hasattr(getattr(connection, "Database", None), "Copy"):  # only psycopg 3 has it
        TaskRun.objects.bulk_create(runs, batch_size=1000)
        return
    fields = TaskRun._meta.concrete_fields
    names = ", ".join(connection.ops.quote_name(str(field.column)) for field in fields)
    values = attrgetter(*(field.attname for field in fields))
    json = [n for n, field in enumerate(fields) if isinstance(field, models.JSONField)]
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(f"COPY {TaskRun._meta.db_table} ({names}) FROM STDIN") as copy,
    ):
        for run in runs:
            row = list(values(run))
            for n in json:
                row[n] = None if row[n] is None else connection.ops.adapt_json_value(row[n], None)
            copy.write_row(row)
    for run in runs:
        run._state.adding, run._state.db = False, connection.alias


# Miss runs ---------------------------------------------------------------------------------------

#: Rows in one CASE: each is a branch, and a statement with thousands of them is slow to plan.
CASES = 200


class Missed(NamedTuple):
    """Runs of consecutive slots, oldest first, that become one row: the first stays."""

    ids: list[UUID]
    last_slot: datetime


def miss(spans: Iterable[Missed]) -> None:
    """End runs that the caller holds locked as missed, consecutive slots as one row.

    A message of a run that is no row any more finds none and is vetoed.
    """
    spans = list(spans)
    alone = [span for span in spans if len(span.ids) == 1]
    longer = [span for span in spans if len(span.ids) > 1]
    _end_missed([span.ids[0] for span in alone], F("slot"), Value(1))
    for start in range(0, len(longer), CASES):
        part = longer[start : start + CASES]
        _end_missed(
            [span.ids[0] for span in part],
            Case(*(When(pk=span.ids[0], then=Value(span.last_slot)) for span in part)),
            Case(*(When(pk=span.ids[0], then=Value(len(span.ids))) for span in part)),
        )
    rest = TaskRun.objects.filter(pk__in=[pk for span in longer for pk in span.ids[1:]])
    rest._raw_delete(rest.db)  # not started, so that nothing hangs on them


def _end_missed(ids: list[UUID], last_slot: Any, slot_count: Any) -> None:
    if not ids:
        return
    TaskRun.objects.filter(pk__in=ids).update(
        status=Status.MISSED,
        reason="misfire",
        reason_params={},
        last_slot=last_slot,
        slot_count=slot_count,
        finished_at=DatabaseNow(),
        **RELEASED,
    )
