"""What the worker's benchmark asks of each product, in a process of its own.

python -m benchmarks.worker_side minutehand fill|recorded|workers|lateness ...
python -m benchmarks.worker_side peer fill|recorded ...
python -m benchmarks.worker_side floor <number>

Prints one line of JSON.
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import django
import psycopg

#: Runs that are created and dispatched at once.
BATCH = 5_000


def fill(number: float, first: float = 0, apart: float = 0) -> None:
    """So many one-time jobs, `apart` seconds from each other from `first` on (seconds since the
    epoch; 0: all are due now), dispatched by one tick each 5,000."""
    from django.core.management import call_command

    import project.celery  # noqa: F401 - the app that publishes
    from dispatcher import tick
    from scheduling.models import ScheduledTask

    call_command("migrate", verbosity=0)
    start = datetime.fromtimestamp(first or time.time() - 1, UTC)
    rows = list(_rows(int(number), start, timedelta(seconds=apart)))
    for begin in range(0, int(number), BATCH):
        ScheduledTask.objects.bulk_create(rows[begin : begin + BATCH])
        tick.tick()


def _rows(number: int, start: datetime, apart: timedelta) -> Iterator[Any]:
    from scheduling.models import ScheduledTask

    for n in range(number):
        at = start + n * apart
        yield ScheduledTask(
            name=f"noop {start:%H:%M:%S} {n}",
            kind="one_time",
            task="benchmarks.noop.noop",
            args=[n],
            run_at=at,
            next_run_at=at,
        )


def recorded() -> int:
    """How many runs are recorded as succeeded."""
    from dispatcher.models import TaskRun

    return TaskRun.objects.filter(status="succeeded").count()


def workers() -> int:
    """How many workers are alive: their first word comes before they take a message."""
    from dispatcher.models import Worker
    from scheduling.database import database_now

    return Worker.objects.alive(database_now()).count()


def lateness() -> list[float]:
    """Of each run that succeeded: its start after its slot, in seconds."""
    from dispatcher.models import TaskRun

    ended = TaskRun.objects.filter(status="succeeded", started_at__isnull=False)
    pairs = ended.values_list("start_at", "started_at")
    return sorted((started - due).total_seconds() for due, started in pairs)


def floor(number: int) -> float:
    """Seconds for two committed UPDATEs a run, by two processes that do nothing else."""
    url = os.environ["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE floor (id int PRIMARY KEY, status text, at timestamptz)")
        rows = "INSERT INTO floor SELECT n, 'published', now() FROM generate_series(1, %s) n"
        connection.execute(rows, [number])
    middle = number // 2
    halves = [range(1, middle + 1), range(middle + 1, number + 1)]
    started = time.perf_counter()
    processes = [multiprocessing.Process(target=_update, args=(url, half)) for half in halves]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    seconds = time.perf_counter() - started
    if any(process.exitcode for process in processes):
        raise SystemExit("Not a measurement: a process of the floor has failed")
    return seconds


def _update(url: str, numbers: range) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for number in numbers:
            for status in ("running", "succeeded"):
                statement = "UPDATE floor SET status = %s, at = now() WHERE id = %s"
                connection.execute(statement, [status, number])


def main(product: str, command: str, *values: str) -> Any:
    if product == "floor":
        return floor(int(command))
    if product == "peer":
        from benchmarks import peer

        return {"fill": peer.fill, "recorded": peer.recorded}[command](*map(int, values))
    django.setup()
    commands = {"fill": fill, "recorded": recorded, "workers": workers, "lateness": lateness}
    return commands[command](*map(float, values))


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
