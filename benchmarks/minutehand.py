"""Minutehand's part, each command in a process of its own. Prints one line of JSON.

python -m benchmarks.minutehand fill <rows> <due>    new rows, <due> of them for the coming slot
python -m benchmarks.minutehand tick <rows> <due>    one tick over them, timed and verified
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import django

from benchmarks import services

WARM_UP = 100
#: How far before its slot a run is planned at most; the horizon is 90 s, jitter at most 5 s.
AHEAD = timedelta(seconds=80)


def fill(rows: int, due: int) -> dict[str, Any]:
    """Replace all rows. Idle ones are kept from the fill before, if their number is the same."""
    from django.core.management import call_command
    from django.db import connection

    from benchmarks import rows as make
    from scheduling.models import ScheduledTask

    call_command("migrate", verbosity=0)
    slot = _coming_minute(timedelta(seconds=60 if due > 20_000 else 30))
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE dispatcher_taskrun, dispatcher_runattempt, dispatcher_tick")
        cursor.execute("DELETE FROM scheduling_scheduledtask WHERE name NOT LIKE 'idle %'")
        if ScheduledTask.objects.count() != rows - due:
            cursor.execute("TRUNCATE scheduling_scheduledtask CASCADE")
            _insert(make.idle(rows - due, slot))
        slot = max(slot, _coming_minute(timedelta(seconds=20)))
        _insert(make.warm(WARM_UP, slot - timedelta(minutes=10)))
        _insert(make.due(due, slot))
        cursor.execute("VACUUM ANALYZE")
    return {"slot": slot.isoformat()}


def tick(rows: int, due: int) -> dict[str, Any]:
    """Seconds of one tick in a process that has ticked once, and what it left behind."""
    import project.celery  # noqa: F401 - the app that publishes
    from dispatcher import tick
    from dispatcher.models import Tick
    from dispatcher.plan import planner
    from dispatcher.publish import publisher
    from scheduling.models import ScheduledTask

    coming = ScheduledTask.objects.filter(name__startswith="due ")
    slot = coming.latest("next_run_at").next_run_at
    tick.tick(slot - timedelta(minutes=10))
    # Retention is the work of one tick an hour, after it has published: this is another one.
    Tick.objects.create(started_at=datetime.now(UTC).replace(minute=0, second=0, microsecond=0))
    before = services.messages(os.environ["CELERY_BROKER_URL"])
    clock = Clock()
    clock.measure(planner, "plan_batch", "plan")
    clock.measure(publisher, "publish", "publish")
    _wait_until(slot - AHEAD)
    started = time.perf_counter()
    record = tick.tick()
    seconds = time.perf_counter() - started
    messages = services.messages(os.environ["CELERY_BROKER_URL"]) - before
    _verify(due, slot, record, messages)
    return {
        "seconds": seconds,
        **clock.seconds,
        "peak_mb": services.peak_mb(),
        "load": os.getloadavg()[0],
    }


def _verify(due: int, slot: datetime, record: Any, messages: int) -> None:
    """Every due row has one run, published, and its message is in Redis; its next slot is later."""
    from dispatcher.models import Status, TaskRun
    from scheduling.models import ScheduledTask

    runs = TaskRun.objects.filter(scheduled_task__name__startswith="due ")
    rows = ScheduledTask.objects.filter(name__startswith="due ")
    found = {
        "planned": record.planned,
        "published": record.published,
        "messages": messages,
        "runs": runs.count(),
        "runs published": runs.filter(status=Status.PUBLISHED, slot__lte=slot).count(),
        "rows moved": rows.exclude(next_run_at__lte=slot).filter(last_run_at__lte=slot).count(),
    }
    wrong = {name: number for name, number in found.items() if number != due}
    if wrong or record.error:
        raise SystemExit(f"Not a measurement: {due} were due, but {wrong} {record.error}")


class Clock:
    """Seconds spent in functions, summed under a name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def measure(self, module: Any, function: str, name: str) -> None:
        call: Callable[..., Any] = getattr(module, function)
        self.seconds[name] = 0.0

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - started

        setattr(module, function, timed)


def _insert(rows: Any) -> None:
    from scheduling.models import ScheduledTask

    for batch in iter(lambda: list(itertools.islice(rows, 2000)), []):
        ScheduledTask.objects.bulk_create(batch)


def _coming_minute(margin: timedelta) -> datetime:
    moment = datetime.now(UTC) + margin
    return moment.replace(second=0, microsecond=0) + timedelta(minutes=1)


def _wait_until(moment: datetime) -> None:
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


if __name__ == "__main__":
    django.setup()
    command = {"fill": fill, "tick": tick}[sys.argv[1]]
    print(json.dumps(command(*map(int, sys.argv[2:]))))
