"""Gate, overlap, record, and what the worker's main process says."""

from typing import Any

import dispatcher
from scheduling.models import ScheduledTask, State
from tests.crash.oracle import Expected
from tests.crash.parts import ACT, Part, add, at, slots, task
from tests.crash.scenario_tick import LATE


def _once(name: str, **more: Any) -> ScheduledTask:
    columns = {key: more.pop(key) for key in list(more) if key not in ("do", "trouble", "hold")}
    return task(name, end=0, more=more, **columns)


def _prepare() -> None:
    catch_up = {"start": -160, "end": 0, "misfire_policy": "run_all", "overlap_policy": "skip"}
    hold = {"hold": 30, "twice": True}
    broker_away = {**hold, "trouble": "no broker"}
    retries = {"max_retries": 1, "retry_delay_seconds": 30}
    add(
        task("plain", end=0, more={"twice": True}),
        task("rerun", interval_seconds=40, end=40, on_lost="rerun"),
        _once("fails twice", do="fail_twice", max_retries=2, retry_delay_seconds=10),
        _once("own retry", do="retry_once"),
        _once("own retry without broker", do="retry_once", trouble="no broker"),
        _once("ignores", do="ignore"),
        _once("rejects", do="reject"),
        _once("database away before", trouble="no database"),
        _once("database away after", hold=10, trouble="no database"),
        _once("unknown", trouble="unknown"),
        _once("process gone", hold=10, trouble="process gone", on_lost="rerun"),
        task("fails", more={"do": "fail"}, pause_after_failures=2),
        task("skip", end=40, more=hold, overlap_policy="skip"),
        task("queue one", more=hold, overlap_policy="queue_one"),
        task("cancel previous", end=40, more=broker_away, overlap_policy="cancel_previous"),
        task("replaced", end=20, more={"do": "fail"}, overlap_policy="cancel_previous", **retries),
        task("catch up", more={"hold": 10}, **catch_up, **LATE),
        task("expires", start=10, end=10, interval_seconds=40, expires_seconds=5),
    )
    dispatcher.run_task(ACT, [1], {"name": "asked for"})


def _expected() -> dict[str, Expected]:
    once = [at(0)]
    skipped = frozenset({"succeeded", "skipped"})
    cancelled = frozenset({"succeeded", "cancelled"})
    failed = frozenset({"failed", "cancelled"})
    return {
        "plain": Expected(once),
        "rerun": Expected(slots(40, 40), reruns=True),
        "fails twice": Expected(once),
        "own retry": Expected(once),
        "own retry without broker": Expected(once),
        "ignores": Expected(once),
        "rejects": Expected(once, frozenset({"failed"})),
        "database away before": Expected(once),
        "database away after": Expected(once),
        "unknown": Expected(once, frozenset({"failed", "succeeded"})),
        "process gone": Expected(once, reruns=True),
        "fails": Expected(slots(20, 60), failed, state=State.PAUSED),
        "skip": Expected(slots(20, 40), skipped),
        "queue one": Expected(slots(20, 60), skipped),
        "cancel previous": Expected(slots(20, 40), cancelled),
        "replaced": Expected(slots(20, 20), failed),
        "catch up": Expected(slots(40, 0, start=-160), skipped, policy="run_all"),
        "expires": Expected([at(10)], frozenset({"missed"})),
        ACT: Expected([], asked=range(1, 2), state=None),
    }


WORKER = Part("the worker", "worker", _prepare, _expected, rounds=5)
