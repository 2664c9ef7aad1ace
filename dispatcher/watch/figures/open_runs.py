"""The runs of now: those that are running, and those that should be."""

from dataclasses import dataclass
from datetime import datetime

from dispatcher.models import Status, TaskRun
from dispatcher.models.run import LARGE
from dispatcher.watch.figures.limits import BACKLOG_AGE, SAMPLE, SHOWN


@dataclass(frozen=True)
class Listed:
    """The first rows of a list, and how many there are: at most SAMPLE are counted."""

    rows: list[TaskRun]
    count: int

    @property
    def is_capped(self) -> bool:
        return self.count >= SAMPLE

    @property
    def unlisted(self) -> int:
        return self.count - len(self.rows)


def running() -> Listed:
    """The runs that are running, those first that began first."""
    rows = TaskRun.objects.filter(status=Status.RUNNING)
    return Listed(list(rows.defer(*LARGE).order_by("pk")[:SHOWN]), rows[:SAMPLE].count())


@dataclass
class Waiting:
    """Runs of one queue that should have started: how many, and since when the first of them."""

    queue: str
    count: int = 0
    since: datetime | None = None

    def add(self, start_at: datetime) -> None:
        self.count += 1
        self.since = min(self.since or start_at, start_at)


def waiting(now: datetime) -> list[Waiting]:
    """The backlog by queue, the largest first, from the oldest SAMPLE runs of each state. Runs
    that wait for another one of their own schedule are where they belong."""
    queues: dict[str, Waiting] = {}
    for status in (Status.PLANNED, Status.PUBLISHED, Status.RETRYING):
        oldest = TaskRun.objects.filter(status=status).order_by("pk")
        names = ("queue", "start_at", "reason", "waits")
        for queue, start_at, reason, waits in oldest.values_list(*names)[:SAMPLE]:
            late = start_at < now - BACKLOG_AGE
            if late and waits is None and reason != "takes_turns":
                queues.setdefault(queue, Waiting(queue)).add(start_at)
    return sorted(queues.values(), key=lambda found: -found.count)
