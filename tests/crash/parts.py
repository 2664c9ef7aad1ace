"""What the scenarios are made of. Each is a short life of a scheduler, busy with some modules.

`prepare` writes the rows as they are at noon, `script` is what people do at which second, and
`expected` what must have become of each scheduled task when everything is quiet again, whichever
process has died on the way.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from dispatcher.models import TaskRun, Trigger
from scheduling.models import ScheduledTask
from tests.crash.oracle import Expected, every
from tests.crash.world import ROUND, World

S = timedelta(seconds=1)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ACT = "tests.crash.tasks.act"


@dataclass(frozen=True, eq=False)
class Part:
    name: str
    kind: str  # whose lines are tried
    prepare: Callable[[], None]
    expected: Callable[[], dict[str, Expected]]
    script: dict[int, Callable[[World], None]] = field(default_factory=dict)
    rounds: int = 4  # before it is only waited for quiet
    outages: frozenset[int] = frozenset()  # seconds at which the broker is away

    def live(self, world: World) -> None:
        for second in range(0, self.rounds * ROUND.seconds, ROUND.seconds):
            edits = [self.script[second]] if second in self.script else []
            world.round(*edits, outage=second in self.outages)
        world.go_on_until_quiet()


def at(seconds: int) -> datetime:
    return NOON + seconds * S


def slots(seconds: int, until: int, *, start: int = 0, after: int | None = None) -> list[datetime]:
    """The slots of an interval from second `start` on, in (`after`, `until`]."""
    since = at(start) - S if after is None else at(after)
    return every(seconds, anchor=at(start), after=since, until=at(until))


def task(name: str, *, start: int = 0, end: int = 60, more: Any = None, **columns: Any) -> Any:
    """A row as it stands in the database: every 20 s, never late, planned by the next tick."""
    defaults: dict[str, Any] = {
        "kind": "interval",
        "interval_seconds": 20,
        "starts_at": at(start),
        "ends_at": at(end),
        "armed_at": at(start) - S,
        "misfire_grace_seconds": 3600,
    }
    if columns.get("kind", "interval") != "interval":
        defaults |= {"interval_seconds": None}
    kwargs = {"name": name, **(more or {})}
    return ScheduledTask(name=name, task=ACT, args=[1], kwargs=kwargs, **(defaults | columns))


def one_time(name: str, second: int, **columns: Any) -> Any:
    when = {"run_at": at(second), "starts_at": None, "ends_at": None}
    return task(name, kind="one_time", **(when | columns))


def add(*rows: ScheduledTask) -> None:
    ScheduledTask.objects.bulk_create(rows)


def get(name: str) -> ScheduledTask:
    return ScheduledTask.objects.get(name=name)


def add_run(name: str, second: int, **columns: Any) -> TaskRun:
    """A run of the scheduled task of that name, as some process has left it."""
    owner = get(name)
    when = at(second)
    defaults = {
        "scheduled_task": owner,
        "name": name,
        "task": ACT,
        "trigger": Trigger.MANUAL,
        "scheduled_for": when,
        "start_at": when,
        "planned_at": when,
        "args": owner.args,
        "kwargs": owner.kwargs,
        "queue": "celery",
        "revision": owner.revision,
    }
    return TaskRun.objects.create(**(defaults | columns))
