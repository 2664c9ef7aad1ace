"""Minutes of careless and poisonous tasks among innocent ones, with workers killed: the innocent
are complete, once each and recorded.

CARELESS_MINUTES=20 makes it long. The figures are printed (`pytest -s`)."""

import os
import time
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import Count

from dispatcher.models import Status, TaskRun
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.integration.harness import Process, Stack
from tests.integration.tasks_app import careless, hostile, tasks
from tests.integration.test_careless_tasks import still_open, ways

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

S = timedelta(seconds=1)
MINUTES = float(os.environ.get("CARELESS_MINUTES", "2"))
#: Seconds between two kills, and until all that was due must have ended.
KILL_EVERY, DRAIN = 40, 300
WORKERS = 3

#: Seconds between two slots of an innocent schedule.
INNOCENT = (1, 2, 3, 4, 5)

#: What is careless or poisonous: a task and its arguments.
CARELESS: list[tuple[Any, tuple[Any, ...]]] = [
    *[(hostile.raises, (name,)) for name in hostile.ERRORS],
    (hostile.retries, ("headers",)),
    (hostile.retries, ("throw",)),
    (hostile.replaces, ("chain", "replaced")),
    (careless.deep_result, (200,)),
    (careless.holds_rows, (5,)),
    (tasks.dirty_result, ()),
    (tasks.exit, ()),
    (tasks.exit_at_once, ()),
    (tasks.kill_self, ()),
    (tasks.requeued_kill_self, ()),
    (tasks.hard_limit, ()),
]
#: What takes the whole worker along: once as it runs, and before it has started.
KILLERS = [tasks.kill_worker, hostile.kills_at_receipt, hostile.kills_when_handed]


def test_the_innocent_are_complete_once_each_and_recorded(stack: Stack) -> None:
    for name in ("dispatcher", "dispatcher", "beat"):
        stack.start(name)
    crew = Crew(stack)
    start = database_now().replace(microsecond=0) + 20 * S
    end = start + timedelta(minutes=MINUTES)
    expected = define(start, end)
    assert database_now() < start, "too slow a machine: slots passed before"

    while database_now() < end:
        crew.look_after(kill=True)
    stack.wait_until(lambda: crew.look_after(kill=False) or quiet(end), DRAIN, "all ends", poll=1)

    show(stack, crew, expected)
    for name, slots in expected.items():
        runs = TaskRun.objects.filter(name=name)
        assert dict(runs.values_list("slot", "status")) == dict.fromkeys(slots, "succeeded")
        assert runs.count() == len(slots)
    check_executions(stack, list(expected))
    poison = TaskRun.objects.filter(task__in=[task.name for task in KILLERS[1:]])
    assert set(poison.values_list("status", "reason")) == {("failed", "took_workers")}
    assert TaskRun.objects.filter(reason="took_workers").count() == poison.count()
    assert still_open() == 0
    stack.manage("verify_slots", f"--until={end.isoformat()}")


class Crew:
    """Workers that a supervisor starts again, and that somebody kills, one after another."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.deaths, self.kills = stack, 0, 0
        self.workers = [self._start() for _ in range(WORKERS)]
        self.killed_at = time.monotonic()

    def _start(self) -> Process:
        return self.stack.start("worker", concurrency=2, wait=False)

    def look_after(self, *, kill: bool) -> None:
        if kill and time.monotonic() - self.killed_at > KILL_EVERY:
            self.killed_at = time.monotonic()
            self.workers[self.kills % WORKERS].kill()
            self.kills += 1
        for place, worker in enumerate(self.workers):
            if not worker.running:
                self.deaths += 1
                self.workers[place] = self._start()
        time.sleep(0.5)


def define(start: datetime, end: datetime) -> dict[str, list[datetime]]:
    """The schedules; the slots of the innocent ones by name."""
    expected = {}
    for seconds in INNOCENT:
        name = f"innocent {seconds}"
        interval(name, tasks.work, seconds, start, end, on_lost="rerun", misfire_policy="run_all")
        count = int((end - start).total_seconds()) // seconds + 1
        expected[name] = [start + n * seconds * S for n in range(count)]
    bad = [*((careless.leave, (way,)) for way in ways()), *CARELESS]
    for n, (task, args) in enumerate(bad):
        interval(f"careless {n}", task, 45, start + n * S, end, args=args)
    for n, task in enumerate(KILLERS):
        interval(f"killer {n}", task, 100, start + (10 + 30 * n) * S, end)
    return expected


def interval(
    name: str, task: Any, seconds: int, start: datetime, end: datetime, **options: Any
) -> None:
    options |= {"starts_at": start, "ends_at": end}
    ScheduledTask.objects.create_interval(name, task, seconds, **options)


def quiet(end: datetime) -> bool:
    """Whether every slot is planned, and every run has ended."""
    return (
        not ScheduledTask.objects.filter(enabled=True, next_run_at__lte=end).exists()
        and not TaskRun.objects.waiting().exists()
        and not TaskRun.objects.filter(status=Status.RUNNING).exists()
    )


def check_executions(stack: Stack, names: list[str]) -> None:
    """Each attempt was executed at most once; and more than one only of a run whose worker died."""
    runs = {str(run.pk): run for run in TaskRun.objects.filter(name__in=names)}
    executed = Counter(
        (note.more["run_id"], max(note.more["attempt"], 1)) for note in stack.executions("work")
    )
    assert [key for key, count in executed.items() if count > 1] == [], "started twice"
    last = {(run_id, run.attempt) for run_id, run in runs.items()}
    assert last - set(executed) == set(), "recorded, and not executed"
    lost = {
        (str(run_id), attempt)
        for run in runs.values()
        for run_id, attempt in run.attempts.filter(status="lost").values_list("run", "attempt")
    }
    assert set(executed) - last - lost == set(), "executed, and not recorded"


def show(stack: Stack, crew: Crew, expected: dict[str, list[datetime]]) -> None:
    """The figures, for people."""
    rows = TaskRun.objects.order_by()
    innocent = rows.filter(name__in=list(expected))
    print(f"\n{MINUTES:g} minutes: {crew.kills} kills, {crew.deaths} deaths of workers")
    print("innocent slots:", sum(map(len, expected.values())), end=", ended as ")
    print(dict(innocent.values_list("status").annotate(n=Count("pk"))), end=", ")
    print("of them in a later attempt:", innocent.filter(attempt__gt=1).count())
    others = rows.exclude(name__in=list(expected))
    for status, reason, count in others.values_list("status", "reason").annotate(n=Count("pk")):
        print(f"  others: {count} {status} {reason}")
    late = [run.lateness.total_seconds() for run in innocent if run.lateness is not None]
    if late:
        late.sort()
        print(f"  innocent late: median {late[len(late) // 2]:.2f} s, most {late[-1]:.1f} s")
    print("  suspects dropped:", stack.logs().count("is dropped: it has ended"))
