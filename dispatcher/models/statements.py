"""UPDATEs that are built once and remembered: what they set and ask stays said as expressions.

Django builds the SQL of a query anew each time, which takes longer than the database needs for it.
A verb that each run calls gives its expressions with a `Slot` for each value; the text is compiled
at the first call, and from then on only the values are put in.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from django.db import connection, models
from django.db.models import Expression, QuerySet
from django.db.models.sql import UpdateQuery

#: The rows and what is set in them, with slots for the values.
Built = tuple[QuerySet[Any], dict[str, Any]]


class Slot(Expression):
    """A value that is known when the statement is executed; `field` says how it is stored."""

    def __init__(self, name: str, field: "models.Field[Any, Any]") -> None:
        super().__init__(output_field=field)
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        return "%s", [self]

    def value_in(self, values: Mapping[str, Any]) -> Any:
        return self.output_field.get_db_prep_save(values[self.name], connection)


_remembered: dict[Hashable, tuple[str, tuple[Any, ...]]] = {}


def execute(key: Hashable, build: Callable[[], Built], values: Mapping[str, Any]) -> int:
    """Execute the UPDATE that `build` gives, remembered under `key`; how many rows it met."""
    known = (connection.settings_dict["ENGINE"], key)
    if known not in _remembered:
        _remembered[known] = compiled(*build())
    sql, params = _remembered[known]
    filled = [each.value_in(values) if isinstance(each, Slot) else each for each in params]
    with connection.cursor() as cursor:
        cursor.execute(sql, filled)
        return int(cursor.rowcount)


def compiled(rows: QuerySet[Any], columns: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """Compile what `QuerySet.update` would execute: the statement and its parameters."""
    query: Any = rows.query.chain(UpdateQuery)
    query.add_update_values(columns)
    query.annotations = {}
    sql, params = query.get_compiler(connection=connection).as_sql()
    return sql, tuple(params)
