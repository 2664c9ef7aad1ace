"""All that outlives a process: the rows, the messages, the calls of users' functions."""

import re
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.db import connection, models, transaction

from dispatcher.models import statements
from tests.crash import broker, tasks

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}")

#: What a copy of a table is called.
_COPY = "crash_copy_of_"


def _models() -> list[Any]:
    """Those that others refer to come first."""
    labels = ("scheduling", "dispatcher")
    return [model for label in labels for model in apps.get_app_config(label).get_models()]


def _columns(model: Any) -> list[str]:
    fields = model._meta.concrete_fields
    return [field.column for field in fields if not isinstance(field, models.GeneratedField)]


def _names(model: Any) -> str:
    return ", ".join(connection.ops.quote_name(column) for column in _columns(model))


def _execute(*statements: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def make_copies() -> None:
    """A second table beside each one: the database copies by itself, and faster."""
    tables = [(model._meta.db_table, _names(model)) for model in _models()]
    _execute(*(f"CREATE TABLE {_COPY}{t} AS SELECT {n} FROM {t} WHERE 1 = 0" for t, n in tables))


def drop_copies() -> None:
    _execute(*(f"DROP TABLE {_COPY}{model._meta.db_table}" for model in _models()))


class Saved:
    """The rows and calls that there are now; `restore` brings them back. One at a time.

    From then on this process, as a new one, remembers no statement: or an action would pass other
    lines the second time.
    """

    def __init__(self) -> None:
        statements._remembered.clear()
        self.calls = tasks.record.read_text()
        _execute(*self._copying(f"{_COPY}{{table}}", "{table}", _models()))

    def restore(self) -> None:
        statements._remembered.clear()
        emptied = (f"DELETE FROM {model._meta.db_table}" for model in reversed(_models()))
        _execute(*emptied, *self._copying("{table}", f"{_COPY}{{table}}", _models(), clear=False))
        tasks.record.write_text(self.calls)

    def _copying(self, to: str, of: str, tables: list[Any], clear: bool = True) -> Iterator[str]:
        for model in tables:
            target, source = (name.format(table=model._meta.db_table) for name in (to, of))
            if clear:
                yield f"DELETE FROM {target}"
            yield f"INSERT INTO {target} ({_names(model)}) SELECT {_names(model)} FROM {source}"


def clear() -> None:
    _execute(*(f"DELETE FROM {model._meta.db_table}" for model in reversed(_models())))
    tasks.record.write_text("")
    broker.drain()


def fingerprint(*more: object) -> str:
    """The same for states that differ only in random ids and in numbers that mean nothing."""
    found = [*_rows(), *tasks.record.read_text().splitlines(), *map(repr, more)]
    text = "\n".join(sorted(found, key=lambda line: _UUID.sub("", line)))
    names: dict[str, str] = {}
    return _UUID.sub(lambda match: names.setdefault(_hex(match[0]), f"#{len(names)}"), text)


def _hex(uuid: str) -> str:
    return uuid.replace("-", "")


def _rows() -> Iterator[str]:
    """Numbers that the database counts up stand for nothing, but for those of schedules."""
    with connection.cursor() as cursor:
        for model in _models():
            kept = [field for field in model._meta.concrete_fields if _means_something(field)]
            names = ", ".join(connection.ops.quote_name(field.column) for field in kept)
            cursor.execute(f"SELECT {names} FROM {model._meta.db_table}")
            yield from (f"{model._meta.label} {row}" for row in cursor.fetchall())


def _means_something(field: Any) -> bool:
    counted = isinstance(field, models.AutoField) and field.model._meta.label != _SCHEDULE
    return field.column != "pid" and not counted


_SCHEDULE = "scheduling.ScheduledTask"
