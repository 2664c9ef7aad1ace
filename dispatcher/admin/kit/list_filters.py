"""The filters of the list of scheduled tasks. Each stays quick with a hundred thousand rows."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db import connection
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scheduling.models import ScheduledTask, State

#: As many values are listed; where there are more, the value is typed.
LISTED = 50
#: Stands for the empty value in an address.
NOTHING = "-"


class StateFilter(admin.SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, str(state.label)) for state in State]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        state = self.value() or ""
        return queryset.in_state(state) if state in State.values else queryset


class ValueFilter(admin.SimpleListFilter):
    """Filters by a column of text: offers its values, or where they are many a field to type one
    into. A value that ends in `*` stands for all that begin so."""

    column: ClassVar[str]
    template = "admin/scheduling/scheduledtask/value_filter.html"

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        #: The other parameters of the address, for a form that keeps them.
        self.others = [
            (name, value)
            for name, values in request.GET.lists()
            if name not in (self.parameter_name, "p", "e")
            for value in values
        ]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        self.values = distinct_values(self.column, LISTED + 1)
        return [(value or NOTHING, value or _("(none)")) for value in self.values]

    def has_output(self) -> bool:
        return len(self.values) > 1 or self.is_used

    @property
    def is_used(self) -> bool:
        return bool(self.value())

    @property
    def is_typed(self) -> bool:
        return len(self.values) > LISTED

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        if not value:
            return queryset
        if value.endswith("*"):
            return queryset.filter(**{f"{self.column}__startswith": value[:-1]})
        return queryset.filter(**{self.column: "" if value == NOTHING else value})


class TaskFilter(ValueFilter):
    title = gettext_lazy("task")
    parameter_name = column = "task"


class QueueFilter(ValueFilter):
    title = gettext_lazy("queue")
    parameter_name = column = "queue"


class GroupFilter(ValueFilter):
    title = gettext_lazy("group")
    parameter_name = column = "group"


class OwnerFilter(ValueFilter):
    title = gettext_lazy("owner")
    parameter_name = column = "owner"


#: Each step asks the index for the next value: `DISTINCT` would read the whole table.
_NEXT_VALUES = """
WITH RECURSIVE found (value, step) AS (
    SELECT MIN({column}), 1 FROM {table}
    UNION ALL
    SELECT (SELECT MIN({column}) FROM {table} WHERE {column} > found.value), step + 1
    FROM found WHERE found.value IS NOT NULL AND step < %s
)
SELECT value FROM found WHERE value IS NOT NULL
"""


def distinct_values(column: str, limit: int) -> list[str]:
    """The first `limit` values of an indexed column of the scheduled tasks, in order."""
    quote = connection.ops.quote_name
    sql = _NEXT_VALUES.format(column=quote(column), table=quote(ScheduledTask._meta.db_table))
    with connection.cursor() as cursor:
        cursor.execute(sql, [limit])
        return [value for (value,) in cursor.fetchall()]
