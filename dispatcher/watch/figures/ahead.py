"""What comes next: the schedules with a slot within the hour."""

from dataclasses import dataclass
from datetime import datetime

from dispatcher.models import TaskRun
from dispatcher.watch.figures.limits import (
    HOUR,
    SAMPLE,
    SHOWN,
)
from scheduling.models import ScheduledTask
from scheduling.stop import current_stop

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
    soonest = rows.order_by("next_run_at").values_list("pk", "next_run_at")[: 4 * SHOWN]
    return {pk: moment for pk, moment in soonest if moment is not None}


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
