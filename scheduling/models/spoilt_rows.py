"""Rows that raw SQL has spoilt: read all the same, and named for what is wrong with them.

A value that cannot be read (a number with 5,000 digits in a JSON column, an infinite time) fails
the query that fetches it, and with it every other row. Here such a row comes with a stand-in for
the value, and says so in `unreadable`; who evaluates it sets it aside.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.db import DataError
from django.db.models.query import ModelIterable

from scheduling.schedules import ScheduleError

if TYPE_CHECKING:
    from django.db.models import Field, QuerySet

    from scheduling.models.scheduled_task import ScheduledTask

#: What Django and the database drivers raise at a value that they cannot convert.
CONVERSION_ERRORS = (
    DataError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)


class ReadableIterable(ModelIterable):  # type: ignore[type-arg]
    """As Django's, but a value that cannot be read does not fail the query."""

    def __iter__(self) -> Iterator[Any]:
        seen = set()
        try:
            for row in super().__iter__():
                seen.add(row.pk)
                yield row
        except CONVERSION_ERRORS:
            yield from (row for row in self._one_by_one() if row.pk not in seen)

    def _one_by_one(self) -> Iterator[Any]:
        rows = self.queryset
        for pk in list(rows.values_list("pk", flat=True)):
            alone = rows.all()
            alone.query.clear_limits()
            alone.query.clear_ordering(force=True)
            alone = alone.filter(pk=pk)
            try:
                yield from ModelIterable(alone)
            except CONVERSION_ERRORS:
                row = without_the_unreadable(alone)
                if not row.stand_ins:
                    raise  # it is not the row that is wrong
                yield row


def without_the_unreadable(rows: "QuerySet[Any]") -> Any:
    """The one row of the query, each of its columns read by itself."""
    model, values, stand_ins = rows.model, {}, {}
    for field in model._meta.concrete_fields:
        try:
            values[field.attname] = rows.values_list(field.attname, flat=True)[0]
        except CONVERSION_ERRORS:
            values[field.attname] = stand_ins[field.attname] = _stand_in(field)
    row = model.from_db(rows.db, list(values), list(values.values()))
    row.stand_ins = stand_ins
    for name in rows.query.annotation_select:
        setattr(row, name, _read(rows, name))
    return row


def _stand_in(field: "Field[Any, Any]") -> Any:
    return None if field.null else field.get_default()


def _read(rows: "QuerySet[Any]", name: str) -> Any:
    try:
        return rows.values_list(name, flat=True)[0]
    except CONVERSION_ERRORS:
        return None


# What makes no sense in a row that was read ------------------------------------------------------

_SHAPES = {"args": (list, "list"), "kwargs": (dict, "object"), "skip_slots": (list, "list")}
_NUMBERS = (
    "misfire_grace_seconds",
    "jitter_seconds",
    "expires_seconds",
    "time_limit",
    "soft_time_limit",
    "priority",
    "max_runs",
    "slots_used",
    "revision",
)


def check(row: "ScheduledTask") -> None:
    """Raise `ScheduleError` for a column from which no run can be made. The rule (kind, cron
    expression, interval, zone) is checked by `row.schedule()`."""
    check_readable(row)
    for name, choices in _choices(type(row)).items():
        if getattr(row, name) not in choices:
            text, known = str(getattr(row, name))[:60], ", ".join(choices)
            raise ScheduleError("unknown_choice", name, column=name, text=text, choices=known)
    for name, (shape, said) in _SHAPES.items():
        if not isinstance(getattr(row, name), shape):
            raise ScheduleError("wrong_shape", name, column=name, shape=said)
    for name in _NUMBERS:
        if not isinstance(getattr(row, name), int | None):
            text = str(getattr(row, name))[:60]
            raise ScheduleError("not_a_number", name, column=name, text=text)
    if not row.task.strip():
        raise ScheduleError("no_task", "task")


def check_readable(row: "ScheduledTask") -> None:
    """Raise `ScheduleError` for the first column whose stored value cannot be read."""
    # SQLite's driver reads a text that is no time as None.
    loaded = row.__dict__  # a deferred column is none of the reader's
    empty = [name for name in ("armed_at", "created_at") if loaded.get(name, ...) is None]
    for name in (*row.unreadable, *empty):
        raise ScheduleError("unreadable", name, column=name)


def _choices(model: type["ScheduledTask"]) -> dict[str, tuple[str, ...]]:
    if not _CHOICES:
        for name in ("misfire_policy", "overlap_policy", "on_lost"):
            field: Any = model._meta.get_field(name)
            _CHOICES[name] = tuple(value for value, _label in field.flatchoices)
    return _CHOICES


_CHOICES: dict[str, tuple[str, ...]] = {}
