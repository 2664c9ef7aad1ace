"""What needs somebody: schedules that are set aside, and that fail."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import OuterRef, Subquery
from django.db.models.functions import Left

from dispatcher.models import Failing, TaskRun
from dispatcher.models.run import LARGE
from dispatcher.models.status import BAD
from dispatcher.watch.figures.limits import SHOWN
from scheduling.models import ScheduledTask, State


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
    times = list(rows.values_list("scheduled_task", "since", "newest"))
    tasks = ScheduledTask.objects.in_bulk([task for task, _since, _run in times])
    runs = TaskRun.objects.defer(*LARGE).annotate(said=Left("exception", 200))
    by_id = runs.in_bulk([run for _task, _since, run in times if run is not None])
    return [
        Failed(tasks[task], since, by_id[run])
        for task, since, run in times
        if task in tasks and run in by_id  # deleted or pruned meanwhile
    ]
