"""Runs by a part of their name, without looking at every run."""

from collections.abc import Callable
from typing import Any

from django.db.models import Q

from scheduling.models import ScheduledTask

#: A part that more scheduled tasks have in their names is looked for in the runs: it is soon found.
FEW = 1_000


def named(runs: Any, search: Callable[[Any], Any]) -> Any:
    """The runs that `search` leaves, which takes any rows with a `name`.

    The name of a run is one that its scheduled task has or had, and of those there are far fewer.
    All of them stand in the audit trail, but for names given by raw SQL and taken away since.
    """
    tasks: set[int] = set()
    for rows in (ScheduledTask.objects.all(), ScheduledTask.history.all()):
        found = search(rows).order_by().values_list("id", flat=True).distinct()
        tasks.update(found[: FEW + 1])
        if len(tasks) > FEW:
            return search(runs)
    return search(runs.filter(Q(scheduled_task__in=tasks) | Q(scheduled_task=None)))
