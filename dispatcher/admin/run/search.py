"""What the list of runs is searched and filtered by, without looking at every run."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.utils.translation import gettext_lazy, pgettext_lazy

from dispatcher.models.run import run_id_at
from scheduling.database import database_now
from scheduling.models import ScheduledTask

#: A part that more scheduled tasks have in their names is looked for in the runs: it is soon found.
FEW = 1_000


def searched(runs: Any, term: str, search: Callable[[Any], Any]) -> Any:
    """The runs that a person searches for by `term`: an id is looked up by its index, anything else
    is a part of the name, by which `search` filters any rows that have one."""
    try:
        return runs.filter(pk=UUID(term.strip()))
    except ValueError:
        return named(runs, search) if term else search(runs)


def named(runs: Any, search: Callable[[Any], Any]) -> Any:
    """The runs that `search` leaves, which takes any rows with a `name`.

    The name of a run is one that its scheduled task has or had, and of those there are far fewer.
    All of them stand in the audit trail, but for names given by raw SQL and taken away since.
    """
    tasks: set[int] = set()
    for rows in (ScheduledTask.objects.all(), ScheduledTask.history.all()):
        ids = search(rows).order_by().values_list("id", flat=True).distinct()
        tasks.update(ids[: FEW + 1])
        if len(tasks) > FEW:
            return search(runs)
    return search(runs.filter(Q(scheduled_task__in=tasks) | Q(scheduled_task=None)))


class SinceFilter(admin.SimpleListFilter):
    title = pgettext_lazy("when it was", "planned")
    parameter_name = "since"

    _RANGES = {
        "hour": (timedelta(hours=1), gettext_lazy("in the last hour")),
        "day": (timedelta(days=1), gettext_lazy("in the last 24 hours")),
        "week": (timedelta(days=7), gettext_lazy("in the last 7 days")),
        "month": (timedelta(days=30), gettext_lazy("in the last 30 days")),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, label) for name, (_length, label) in self._RANGES.items()]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() not in self._RANGES:
            return queryset
        length, _label = self._RANGES[str(self.value())]
        # Ids grow with the time at which a run was planned, and have an index.
        return queryset.filter(pk__gte=run_id_at(database_now() - length))
