"""The load of an ordeal: five schedules a second and some more, of every rule.

Each has its slots in the seconds that its step divides, so that what should have run is counted
here, second by second, without asking the product.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Job:
    """A schedule with a slot in every second that `step` divides."""

    name: str
    step: int
    options: dict[str, Any]

    def slots(self, start: datetime, end: datetime) -> list[datetime]:
        first, last = int(start.timestamp()), int(end.timestamp())
        return [
            datetime.fromtimestamp(second, UTC)
            for second in range(first, last + 1)
            if second % self.step == 0
        ]


def interval(name: str, seconds: int, misfire: str, overlap: str = "allow") -> Job:
    options = {"kind": "interval", "interval_seconds": seconds}
    return Job(name, seconds, options | {"misfire_policy": misfire, "overlap_policy": overlap})


def cron(name: str, step: int, expression: str, misfire: str, overlap: str = "allow") -> Job:
    options = {"kind": "cron", "cron_expression": expression}
    return Job(name, step, options | {"misfire_policy": misfire, "overlap_policy": overlap})


PLAIN = [interval("all", 1, "run_all"), interval("latest", 1, "run_latest")]
PAUSED, EDITED = interval("paused", 2, "run_all"), interval("edited", 2, "run_latest")
LOAD = [
    *PLAIN,
    interval("all, skip", 1, "run_all", "skip"),
    interval("latest, queue_one", 1, "run_latest", "queue_one"),
    interval("all, queue_one", 1, "run_all", "queue_one"),
    PAUSED,
    EDITED,
    cron("cron, skip", 60, "* * * * *", "skip"),
    cron("cron, all, cancel_previous", 10, "*/10 * * * * *", "run_all", "cancel_previous"),
]
