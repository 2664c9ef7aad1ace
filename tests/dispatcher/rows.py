"""Runs and processes as the stages would have left them, at any time."""

import itertools
import uuid
from datetime import timedelta

import uuid_utils.compat

from dispatcher.models import Failing, Status, TaskRun, Tick, Worker
from scheduling.models import ScheduledTask

OK = "tests.integration.tasks_app.tasks.ok"
ADD = "tests.integration.tasks_app.tasks.add"

UNSTARTED = ("planned", "published", "missed", "skipped")
OPEN = ("planned", "published", "running", "retrying")

_numbers = itertools.count(1)


def job(name=None, task=OK, every=3600, **options):
    name = name or f"job {next(_numbers)}"
    return ScheduledTask.objects.create_interval(name, task, every, **options)


def run_at(at, task=None, status="succeeded", late=timedelta(0), **columns):
    """A run that was made, and should have started, at `at`: its id tells when, as ids do."""
    started = None if status in UNSTARTED else at + late
    defaults = {
        "id": uuid_utils.compat.uuid7(nanoseconds=int(at.timestamp() * 1e9)),
        "scheduled_task": task,
        "name": task.name if task else "loose",
        "task": task.task if task else OK,
        "revision": task and task.revision,
        "status": status,
        "scheduled_for": at,
        "slot": at + timedelta(microseconds=next(_numbers)),
        "start_at": at,
        "planned_at": at,
        "started_at": started,
        "claimed_at": started,
        "finished_at": None if status in OPEN else at + late + timedelta(seconds=2),
        "attempt": 1 if started else 0,
    }
    return TaskRun.objects.create(**defaults | columns)


def fails(task, run, since, **columns):
    """What `notices` writes down of a schedule that started failing with this run."""
    defaults = {"scheduled_task": task, "run": run, "since": since, "noticed_at": since}
    return Failing.objects.create(**defaults | columns)


def tick_at(at, **columns):
    defaults = {"started_at": at, "finished_at": at + timedelta(seconds=1), "dispatcher": "web-1"}
    return Tick.objects.create(**defaults | columns)


def worker(now, *queues, alive=True, **columns):
    defaults = {
        "id": uuid.uuid4(),
        "hostname": "worker@web-1",
        "pid": 1,
        "pool": "prefork",
        "concurrency": 4,
        "queues": list(queues),
        "started_at": now,
        "seen_at": now,
        "lease_until": now + timedelta(seconds=45 if alive else -45),
    }
    return Worker.objects.create(**defaults | columns)


__all__ = ["ADD", "OK", "Status", "job", "run_at", "tick_at", "worker"]
