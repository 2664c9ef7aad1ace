"""Rescue: what dead processes have left."""

from typing import Any
from uuid import uuid4

from dispatcher.models import RunAttempt, Status, TaskRun, Tick, Trigger
from scheduling.models import State
from tests.crash.oracle import Expected
from tests.crash.parts import Part, add, add_run, at, get, slots, task
from tests.crash.scenario_tick import LATE, NOT_ALL

OVER = {"enabled": False, "state_reason": "finished", "end": -90, "start": -90}


def _prepare() -> None:
    for second in (-80, -60, -40, -20):  # passes without a gap: leases may be judged
        Tick.objects.create(kind=Tick.Kind.RESCUE, started_at=at(second), finished_at=at(second))
    late = OVER | LATE | {"start": -200}
    add(
        task("unstarted", **OVER),
        task("retries", **OVER),
        task("late", misfire_policy="run_latest", **late),
        task("too late", misfire_policy="skip", **late),
        task("lost", on_lost="fail", **OVER),
        task("rerun", on_lost="rerun", **OVER),
        task("lost too often", on_lost="rerun", **OVER),
        task("holder", overlap_policy="queue_one", **OVER),
        task("waiter", overlap_policy="queue_one", **OVER),
        task("turns", overlap_policy="skip", **OVER),
        task("expired", **OVER),
        task("failing", pause_after_failures=1, start=40, armed_at=at(-90)),
    )
    _leave_unstarted_runs()
    _leave_running_runs()


def _leave_unstarted_runs() -> None:
    published = {"status": Status.PUBLISHED, "publish_at": at(-30)}
    waiting = {"status": Status.PUBLISHED, "publish_at": at(600)}
    for queue in ("celery", "celery", "other"):
        add_run("unstarted", -60, queue=queue, **published)
    retrying = {"status": Status.RETRYING, "publish_at": at(-30), "started_at": at(-80)}
    add_run("retries", -60, attempt=1, token=uuid4(), **retrying)
    _leave_attempts(add_run("retries", -60, attempt=2, **retrying), Status.FAILED)
    add_run("waiter", -60, waits=get("waiter").pk, **waiting)
    add_run("holder", -60, waits=get("holder").pk, **waiting)
    for second in (-200, -160):
        add_run("turns", second, trigger=Trigger.BACKFILL, reason="takes_turns", **published)
    for name in ("late", "too late"):
        for second in (-200, -160, -120):
            add_run(name, second, trigger="schedule", slot=at(second), **published)
    add_run("expired", -60, expires_at=at(-5), **published)


def _leave_running_runs() -> None:
    def running(name: str, **columns: Any) -> TaskRun:
        state = {"status": Status.RUNNING, "token": uuid4(), "worker_uuid": uuid4(), "pid": 1}
        times = {"started_at": at(-80), "claimed_at": at(-80), "lease_until": at(-10)}
        return add_run(name, -80, **({"attempt": 1} | state | times | columns))

    running("lost")
    running("rerun")
    _leave_attempts(running("lost too often", attempt=4), Status.LOST)
    running("holder", holds=get("holder").pk)
    running("failing")


def _leave_attempts(run: TaskRun, status: str) -> None:
    for attempt in range(1, run.attempt):
        RunAttempt.objects.create(run=run, attempt=attempt, status=status, finished_at=at(-100))


def _expected() -> dict[str, Expected]:
    def asked(number: int, *statuses: str, **more: Any) -> Expected:
        return Expected([], frozenset(statuses), asked=range(number, number + 1), **more)

    late = slots(40, -120, start=-200)
    return {
        "unstarted": asked(3, "succeeded"),
        "retries": asked(2, "succeeded"),
        "late": Expected(late, NOT_ALL, policy="run_latest"),
        "too late": Expected(late, frozenset({"missed"}), policy="skip"),
        "lost": asked(1, "lost"),
        "rerun": asked(1, "succeeded"),
        "lost too often": asked(1, "lost"),
        "holder": asked(2, "lost", "succeeded"),
        "waiter": asked(1, "succeeded"),
        "turns": asked(2, "succeeded"),
        "expired": asked(1, "missed"),
        "failing": Expected(
            slots(20, 60, start=40),
            frozenset({"lost", "cancelled"}),
            asked=range(1, 2),
            state=State.PAUSED,
        ),
    }


RESCUE = Part("rescue", "rescue", _prepare, _expected, rounds=3, outages=frozenset({20}))
