"""An ordeal: five schedules a second, one fault after another, and one account at the end.

The load (`load.py`) runs in the processes of the Procfile, and somebody edits it at the admin
(`web.py`). What did run the tasks have noted themselves, in a file that no fault touches.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.db import connection
from django.db.models import Sum

from dispatcher.models import RunAttempt, TaskRun, Tick
from dispatcher.models.status import ENDED
from scheduling.models import ScheduledTask
from tests.integration.harness import Stack
from tests.integration.load import EDITED, LOAD, PAUSED, PLAIN
from tests.integration.tasks_app import tasks
from tests.integration.web import HANGS, Web

SECOND = timedelta(seconds=1)
#: How long after a fault every run that was due has ended, and new ones run as ever.
RECOVERY = 180
#: The stretch without a gap that shows that they do (seconds).
NORMAL = 30


@dataclass
class Fault:
    """When it began and ended, and what was seen of it, in seconds after its end."""

    name: str
    began: datetime
    ended: datetime = datetime.max
    seen: dict[str, float] = field(default_factory=dict)


class Ordeal:
    """The load on a stack, and the faults that it has gone through."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.faults = stack, list[Fault]()
        self.dispatchers = [stack.start("dispatcher") for _ in range(2)]
        self.workers = [stack.start("worker", concurrency=4) for _ in range(2)]
        self.beat = stack.start("beat")
        self.web = Web(stack)
        # The tests' own hasher is none that a web process accepts.
        password = make_password("ada", hasher="pbkdf2_sha256")
        people = get_user_model().objects
        people.create(username="ada", password=password, is_staff=True, is_superuser=True)
        self.web.log_in("ada", "ada")
        self.once: dict[str, datetime] = {}  # one-time jobs and their slots
        self.pauses: list[tuple[datetime, datetime]] = []  # of PAUSED: from, to
        self.vetoes = 0
        # A minute, so that the steps of intervals and crons fall on the same seconds.
        self.start = now().replace(second=0, microsecond=0) + timedelta(minutes=1)
        for job in LOAD:
            self._create(job.name, starts_at=self.start, **job.options)
        self.wait_for("the load to run", lambda: self.runs_normally(5))

    # What a test does -----------------------------------------------------------------------------

    @contextmanager
    def fault(self, name: str, long: int = 70) -> Iterator[None]:
        """The block breaks something and mends it; afterwards everything is as it was before.

        A run of `long` seconds is running when it begins.
        """
        self._create_once(f"long, {name}", 3, args=f"[{long}]", on_lost="rerun")
        self.wait_for("the long run", lambda: self._noted(f"long, {name}", "work"))
        fault = Fault(name, began=now())
        self.faults.append(fault)
        yield
        fault.ended = now()
        self.wait_for(f"all that was due when it ended: {name}", lambda: self.caught_up(fault))
        fault.seen["caught up"] = self.seconds_since(fault)
        self.wait_for(f"runs as ever after: {name}", lambda: self.runs_normally(NORMAL))
        fault.seen["as ever"] = self.seconds_since(fault)
        everyone = [*self.dispatchers, *self.workers, self.beat, self.web.process]
        assert [process.name for process in everyone if not process.running] == [], "has ended"
        self._observe(fault)

    def edit(self) -> None:
        """What people do meanwhile. Each of it is done when the page is back: nothing hangs."""
        number = len(self.faults)
        self._create_once(f"once {number}, latest", 3, misfire_policy="run_latest")
        self._create_once(f"once {number}, all", 3, misfire_policy="run_all")
        self._create_once(f"once {number}, later", 70, misfire_policy="run_latest")
        self.web.edit(pk_of(EDITED.name), args=f"[0.0{number}]")
        paused = ScheduledTask.objects.get(name=PAUSED.name)
        self.web.pause(paused.pk)
        paused.refresh_from_db()
        assert not paused.enabled and paused.state_reason_at
        stopped_at = paused.state_reason_at
        time.sleep(5)
        self.web.resume(paused.pk)
        paused.refresh_from_db()
        assert paused.enabled
        self.pauses.append((stopped_at, paused.armed_at))

    def lasts(self, seconds: float) -> None:
        """Wait until the present fault is that old."""
        time.sleep(max(seconds - (now() - self.faults[-1].began).total_seconds(), 0))

    def account(self) -> None:
        """No slot without a row, no attempt executed twice, no living run called lost."""
        self.show()
        end = self.faults[-1].ended
        for name, slots in self.expected(end).items():
            check_slots(name, slots, end)
        executed = Counter(
            (note.more["run_id"], max(note.more["attempt"], 1), note.more["retries"])
            for note in self.stack.executions("work")
        )
        assert [key for key, count in executed.items() if count > 1] == [], "started twice"
        ran = {(run_id, attempt) for run_id, attempt, _ in executed}
        assert ran & lost_attempts() == set(), "called lost, and it lived"
        assert succeeded_attempts(end) - ran == set(), "its function was not called"
        assert not TaskRun.objects.filter(status="failed").exists()
        assert self.web.slowest < HANGS * 2 / 3
        assert self.web.health() == 200
        # The product's own account of itself, from its audit trail.
        print(self.stack.manage("verify_slots", f"--until={end.isoformat()}"))

    # What it looks at -----------------------------------------------------------------------------

    def wait_for(self, what: str, condition: Any, timeout: float = RECOVERY) -> None:
        def asked_anew() -> bool:
            connection.close()  # the server may have been away since the last time
            return bool(condition())

        self.stack.wait_until(asked_anew, timeout, what, poll=1)

    def caught_up(self, fault: Fault) -> bool:
        """Every slot up to the end of the fault is planned, and every run of it has ended; ticks
        and rescue passes come again."""
        passes = Tick.objects.filter(started_at__gte=fault.ended).exclude(finished_at=None)
        if passes.values("kind").distinct().order_by().count() < 2:
            return False
        due = ScheduledTask.objects.filter(enabled=True, next_run_at__lte=fault.ended)
        runs = TaskRun.objects.filter(start_at__lte=fault.ended).exclude(status__in=ENDED)
        return not due.exists() and not runs.exists()

    def runs_normally(self, seconds: int) -> bool:
        """The newest slots of the plain jobs, of so many seconds, have all succeeded."""
        end = now() - 2 * SECOND
        wanted = {slot for job in PLAIN for slot in job.slots(end - seconds * SECOND, end)}
        if min(wanted) < self.start:
            return False
        done = TaskRun.objects.filter(
            name__in=[job.name for job in PLAIN], slot__in=wanted, status="succeeded"
        )
        return done.count() == len(PLAIN) * len(wanted)

    def expected(self, end: datetime) -> dict[str, list[datetime]]:
        """The slots of every job up to then."""
        slots = {job.name: job.slots(self.start, end) for job in LOAD}
        slots[PAUSED.name] = [
            slot
            for slot in slots[PAUSED.name]
            if not any(since < slot <= until for since, until in self.pauses)
        ]
        return slots | {name: [slot] for name, slot in self.once.items() if slot <= end}

    def seconds_since(self, fault: Fault) -> float:
        return (now() - fault.ended).total_seconds()

    def show(self) -> None:
        """The figures, for people."""
        for fault in self.faults:
            print(f"\n{fault.name}: {(fault.ended - fault.began).total_seconds():.0f} s")
            print("  slots in it:", sum(map(len, self.expected_in(fault).values())), end=", ")
            print("ended as:", dict(ended_as(fault.began, fault.ended)))
            print("  seconds after its end:", {k: round(v, 1) for k, v in fault.seen.items()})
        slots = self.expected(self.faults[-1].ended).values()
        print("\nall slots:", sum(map(len, slots)))
        print(f"slowest change by the admin: {self.web.slowest:.1f} s")

    def expected_in(self, fault: Fault) -> dict[str, list[datetime]]:
        return {
            name: [slot for slot in slots if fault.began <= slot]
            for name, slots in self.expected(fault.ended).items()
        }

    def _observe(self, fault: Fault) -> None:
        later = [n.time for n in self.stack.executions("work") if n.time > fault.ended.timestamp()]
        fault.seen["first start"] = min(later) - fault.ended.timestamp()
        tick = Tick.objects.ticks().filter(started_at__gte=fault.ended).order_by("started_at")[0]
        fault.seen["first tick"] = (tick.started_at - fault.ended).total_seconds()
        rescues = Tick.objects.rescues().filter(started_at__gte=fault.began)
        fault.seen["sent again by rescue"] = rescues.aggregate(n=Sum("published"))["n"] or 0
        vetoes = sum(worker.log.count(" is not started from message") for worker in self.workers)
        fault.seen["messages refused"] = vetoes - self.vetoes
        self.vetoes = vetoes

    def _noted(self, name: str, key: str) -> bool:
        runs = {str(pk) for pk in TaskRun.objects.filter(name=name).values_list("pk", flat=True)}
        return any(note.more["run_id"] in runs for note in self.stack.executions(key))

    def _create_once(self, name: str, seconds: int, **options: Any) -> None:
        self.once[name] = now().replace(microsecond=0) + seconds * SECOND
        self._create(name, kind="one_time", run_at=self.once[name], **options)

    def _create(self, name: str, **fields: Any) -> None:
        self.web.create(name, task=tasks.work.name, **fields)


def check_slots(name: str, slots: list[datetime], end: datetime) -> None:
    """Every slot has one row, of its own or among consecutive missed ones."""
    rows = Counter[datetime]()
    for run in TaskRun.objects.filter(name=name, trigger="schedule", slot__lte=end):
        last = run.last_slot or run.slot
        span = [slot for slot in slots if run.slot <= slot <= last]
        assert last > end or len(span) == run.slot_count, (name, run.slot, last, run.slot_count)
        rows.update(span)
    assert rows == Counter(slots), (name, sorted(set(slots) ^ set(rows)))
    unended = TaskRun.objects.filter(name=name, slot__lte=end).exclude(status__in=ENDED)
    assert not unended.exists(), name


def ended_as(began: datetime, ended: datetime) -> Counter[str]:
    """What became of the slots between, as far as rows begin there."""
    found = Counter[str]()
    for run in TaskRun.objects.filter(slot__gte=began, slot__lte=ended):
        found[f"{run.status} {run.reason}".strip()] += run.slot_count
    return found


def lost_attempts() -> set[tuple[str, int]]:
    runs = TaskRun.objects.filter(status="lost").values_list("pk", "attempt")
    earlier = RunAttempt.objects.filter(status="lost").values_list("run_id", "attempt")
    return {(str(pk), attempt) for pk, attempt in [*runs, *earlier]}


def succeeded_attempts(end: datetime) -> set[tuple[str, int]]:
    runs = TaskRun.objects.filter(status="succeeded", slot__lte=end).values_list("pk", "attempt")
    return {(str(pk), attempt) for pk, attempt in runs}


def pk_of(name: str) -> int:
    return ScheduledTask.objects.get(name=name).pk


def now() -> datetime:
    return datetime.now(UTC)
