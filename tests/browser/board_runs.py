"""What became of the board's scheduled tasks: a day of runs on their slots, up to now."""

import random
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import uuid_utils.compat

from dispatcher.models import Failing, RunAttempt, TaskRun
from scheduling.models import ScheduledTask
from scheduling.schedules import slots_between

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SECOND = timedelta(seconds=1)
WORKERS = ("worker@shop-1", "worker@shop-2")

Tasks = dict[str, ScheduledTask]

TRACEBACK = """\
Traceback (most recent call last):
  File "/srv/shop/venv/lib/python3.11/site-packages/celery/app/trace.py", line 477, in trace_task
    R = retval = fun(*args, **kwargs)
  File "/srv/shop/shop/tasks.py", line 31, in import_orders
    amounts = [row["amount"] for row in read(file_name)]
  File "/srv/shop/shop/tasks.py", line 31, in <listcomp>
    amounts = [row["amount"] for row in read(file_name)]
KeyError: 'amount'
"""


def run_of(task: ScheduledTask, at: datetime, status: str = "succeeded", **columns: Any) -> TaskRun:
    """A run of that slot that was planned half a minute before, not saved."""
    columns = {
        "id": uuid_utils.compat.uuid7(nanoseconds=int((at.timestamp() - 30) * 1e9)),
        "scheduled_task": task,
        "name": task.name,
        "task": task.task,
        "args": task.args,
        "kwargs": task.kwargs,
        "queue": task.queue,
        "priority": task.priority,
        "revision": task.revision,
        "status": status,
        "scheduled_for": at,
        "slot": at if columns.get("trigger", "schedule") == "schedule" else None,
        "start_at": at,
        "planned_at": at - 30 * SECOND,
        **columns,
    }
    return TaskRun(**columns)


def worked(at: datetime, late: float, took: float, pick: random.Random) -> dict[str, Any]:
    """The columns of a run that a worker has taken and ended."""
    begun = at + late * SECOND
    return {
        "started_at": begun,
        "claimed_at": begun,
        "finished_at": begun + took * SECOND,
        "published_at": at - 29 * SECOND,
        "attempt": 1,
        "worker": pick.choice(WORKERS),
        "pid": pick.randrange(300, 900),
        "message_id": str(uuid.UUID(int=pick.getrandbits(128))),
    }


#: Seconds that each takes, and (of a hundred) how many end otherwise, and how.
_DAYS: dict[str, tuple[float, Sequence[tuple[int, str]]]] = {
    "stock": (41.0, ((6, "skipped"), (1, "failed"))),
    "orders": (7.5, ((9, "failed"),)),
    "prices": (128.0, ((4, "lost"), (3, "failed"))),
    "carts": (2.4, ()),
    "rates": (0.9, ()),
    "report": (17.0, ()),
    "backup": (660.0, ()),
}
_BAD: dict[str, dict[str, Any]] = {
    "failed": {"exception": "KeyError: 'amount'", "reason": "exception", "traceback": TRACEBACK},
    "lost": {"reason": "process_gone"},
    "skipped": {"reason": "overlap", "reason_params": {"running": "the run before"}},
    "missed": {"reason": "misfire"},
}


def _day(key: str, task: ScheduledTask, start: datetime, end: datetime) -> list[TaskRun]:
    """A run for each slot in (start, end]."""
    seconds, others = _DAYS[key]
    pick = random.Random(key)
    found = []
    for slot in slots_between(task.schedule(), start, end):
        status = _drawn(pick.randrange(100), others)
        took = seconds * pick.uniform(0.7, 1.5)
        late = min(pick.expovariate(4), 3)
        columns = dict(_BAD.get(status, {}))
        if status == "skipped":
            columns["finished_at"] = slot + late * SECOND
        else:
            columns |= worked(slot, late, took, pick)
        found.append(run_of(task, slot, status, **columns))
    return found


def _drawn(lot: int, others: Sequence[tuple[int, str]]) -> str:
    for share, status in others:
        if lot < share:
            return status
        lot -= share
    return "succeeded"


def fill(tasks: Tasks, user: Any, now: datetime, hours: int) -> dict[str, TaskRun]:
    """The runs of so many hours; of long schedules those of ten days. Returned are the last ones,
    one in each state, by that state."""
    pick = random.Random(0)
    made = {key: make(tasks, user, now, pick) for key, make in _SPECIAL.items()}
    ends = {run.scheduled_task_id: run.slot for run in made.values() if run.slot}
    rows = [*made.values()]
    for key in _DAYS:
        start = now - (10 * DAY if key in ("report", "backup") else hours * HOUR)
        end = ends.get(tasks[key].pk, now - 30 * SECOND)
        rows += _day(key, tasks[key], start, end - SECOND)
    TaskRun.objects.bulk_create(rows)
    failed = made["failed"]
    RunAttempt.objects.create(
        run=failed,
        attempt=1,
        status="failed",
        reason="exception",
        started_at=failed.start_at,
        finished_at=failed.start_at + 3 * SECOND,
        worker=WORKERS[1],
        pid=431,
        exception="KeyError: 'amount'",
        traceback=TRACEBACK,
        log=_log(failed.start_at),
    )
    since = failed.finished_at - 1800 * SECOND
    Failing.objects.create(
        scheduled_task=tasks["orders"], run=failed, since=since, noticed_at=since
    )
    return made


def _log(at: datetime) -> str:
    lines = (
        ("INFO", "Reading orders.csv of the marketplace"),
        ("INFO", "212 orders found"),
        ("WARNING", "Order 90211 has no customer, it goes to the office"),
        ("ERROR", "Order 90213 has no amount"),
    )
    stamped = (
        f"{at + n * SECOND:%Y-%m-%d %H:%M:%S.041}Z {level} shop.tasks: {text}"
        for n, (level, text) in enumerate(lines)
    )
    return "\n".join(stamped) + "\n"


def _last_slots(task: ScheduledTask, before: datetime, count: int = 1) -> list[datetime]:
    return list(slots_between(task.schedule(), before - 2 * DAY, before))[-count:]


def _failed(tasks: Tasks, user: Any, now: datetime, pick: random.Random) -> TaskRun:
    (at,) = _last_slots(tasks["orders"], now - 80 * SECOND)
    columns = worked(at, 0.2, 68, pick) | _BAD["failed"]
    again = {"attempt": 2, "claimed_at": at + 64 * SECOND, "finished_at": at + 68 * SECOND}
    return run_of(tasks["orders"], at, "failed", **columns | again, log=_log(at + 64 * SECOND))


def _running(tasks: Tasks, user: Any, now: datetime, pick: random.Random) -> TaskRun:
    (at,) = _last_slots(tasks["stock"], now)
    columns = worked(at, 0.1, 0, pick) | {"finished_at": None}
    return run_of(tasks["stock"], at, "running", lease_until=now + HOUR, **columns)


def _retrying(tasks: Tasks, user: Any, now: datetime, pick: random.Random) -> TaskRun:
    at = now - 50 * SECOND
    columns = worked(at, 0.1, 2, pick) | {"finished_at": None, "reason": "exception"}
    later = {"start_at": now + 40 * SECOND, "publish_at": now + HOUR, "attempt": 2}
    return run_of(tasks["carts"], at, "retrying", trigger="rerun", **columns | later)


def _planned(tasks: Tasks, user: Any, now: datetime, pick: random.Random) -> TaskRun:
    """Without a definition, as `run_task` makes it."""
    loose = ScheduledTask(name="shop.tasks.send_report", task="shop.tasks.send_report")
    columns = {"publish_at": now + HOUR, "planned_at": now, "trigger": "manual", "revision": None}
    return run_of(loose, now + 20 * SECOND, "planned", scheduled_task=None, **columns)


def _succeeded(tasks: Tasks, user: Any, now: datetime, pick: random.Random) -> TaskRun:
    at = now - 360 * SECOND
    columns = {"trigger": "manual", "triggered_by": str(user), "triggered_via": "admin"}
    columns |= worked(at, 0.1, 16, pick) | {"result": {"sent_to": "grace@shop.example", "pages": 4}}
    return run_of(tasks["report"], at, "succeeded", **columns, log="No news is good news\n")


def _cancelled(tasks: Tasks, user: Any, now: datetime, pick: random.Random) -> TaskRun:
    at = now - 480 * SECOND
    columns = {"trigger": "manual", "reason": "by_person", "reason_params": {"by": "ada"}}
    return run_of(tasks["backup"], at, "cancelled", finished_at=at + 9 * SECOND, **columns)


def _missed(tasks: Tasks, user: Any, now: datetime, pick: random.Random) -> TaskRun:
    first, *_others, last = _last_slots(tasks["rates"], now - HOUR, 4)
    more = {"last_slot": last, "slot_count": 4, "finished_at": last + 70 * SECOND}
    return run_of(tasks["rates"], first, "missed", **_BAD["missed"] | more)


_SPECIAL: dict[str, Callable[..., TaskRun]] = {
    "missed": _missed,
    "cancelled": _cancelled,
    "succeeded": _succeeded,
    "failed": _failed,
    "retrying": _retrying,
    "running": _running,
    "planned": _planned,
}
