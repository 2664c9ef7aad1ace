"""What should have become of every slot, worked out by counting on fingers, and the comparison.

Nothing here asks the product for a slot: intervals are added up, crons are minutes.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from dispatcher.models import TaskRun
from dispatcher.models.status import ENDED
from scheduling.models import ScheduledTask, State
from tests.crash import tasks
from tests.crash.world import World

S = timedelta(seconds=1)


def every(seconds: int, *, anchor: datetime, after: datetime, until: datetime) -> list[datetime]:
    """The slots of an interval in (after, until]."""
    found, slot = [], anchor
    while slot <= until:
        if slot > after:
            found.append(slot)
        slot += seconds * S
    return found


@dataclass
class Expected:
    """What must be found of one scheduled task, by its name."""

    slots: list[datetime]
    statuses: frozenset[str] = frozenset({"succeeded"})
    policy: str = ""  # how late slots are treated, where some are
    grace: timedelta = 60 * S
    asked: range = range(1)  # how many runs that people asked for
    state: str | None = State.FINISHED  # None: the row is gone
    #: Since which moment only runs of this `version` start.
    version: int = 1
    version_since: datetime | None = None
    reruns: bool = False  # `on_lost=rerun`


def verdict(world: World, expected: dict[str, Expected]) -> list[str]:
    """Every difference between the rows, the calls of the function, and what was expected."""
    rows = list(TaskRun.objects.order_by("scheduled_for", "pk"))
    by_name: dict[str, list[TaskRun]] = defaultdict(list)
    for row in rows:
        by_name[row.name].append(row)
    faults = list(world.faults)
    faults += [f"runs of {name}, which nobody expects" for name in by_name.keys() - expected]
    for name, wanted in expected.items():
        found = [*_slots(by_name[name], wanted), *_ends(world, by_name[name], wanted)]
        found += [*_misfires(by_name[name], wanted), *_state(name, wanted)]
        faults += [f"{name}: {fault}" for fault in found]
    return faults + list(_calls(rows, expected))


def _slots(rows: list[TaskRun], wanted: Expected) -> Iterator[str]:
    """Each slot once, none missing, none that nobody asked for."""
    found: Counter[datetime] = Counter()
    for row in rows:
        covered = list(_covered(row, wanted))
        if row.slot is not None and len(covered) != row.slot_count:
            yield f"{row.status} row of {row.slot_count} slots covers {len(covered)}"
        found.update(covered)
    slots = _due_slots(rows, wanted)
    for slot in slots:
        if found[slot] != 1:
            yield f"slot {slot:%H:%M:%S} has {found[slot]} rows"
    for slot in found.keys() - set(slots):
        yield f"there is no slot {slot:%H:%M:%S}"
    asked = sum(row.slot is None for row in rows)
    if asked not in wanted.asked:
        yield f"{asked} runs that were asked for"


def _due_slots(rows: list[TaskRun], wanted: Expected) -> list[datetime]:
    """Without those after a pause by `pause_after_failures`, whose time depends on the crash."""
    owner = rows[0].scheduled_task if rows else None
    if wanted.state != State.PAUSED or owner is None or owner.state_reason_at is None:
        return wanted.slots
    return [slot for slot in wanted.slots if slot <= owner.state_reason_at]


def _covered(row: TaskRun, wanted: Expected) -> list[datetime]:
    if row.slot is None:
        return []
    if row.last_slot is None:
        return [row.slot]
    return [slot for slot in wanted.slots if row.slot <= slot <= row.last_slot]


def _ends(world: World, rows: list[TaskRun], wanted: Expected) -> Iterator[str]:
    """Every run has ended, well, and holds nothing."""
    for row in rows:
        torn = str(row.pk) == world.torn and not wanted.reruns
        allowed = wanted.statuses | {"lost"} if torn else wanted.statuses
        if row.status not in ENDED or row.status not in allowed:
            yield f"run of {row.scheduled_for:%H:%M:%S} is {row.status} ({row.reason or 'ok'})"
        if any((row.holds, row.waits, row.publish_at, row.lease_until)):
            yield f"{row.status} run of {row.scheduled_for:%H:%M:%S} still holds or waits"
        if row.finished_at is None:
            yield f"{row.status} run of {row.scheduled_for:%H:%M:%S} has no end"
        earlier = list(row.attempts.order_by("attempt").values_list("attempt", flat=True))
        if earlier != list(range(1, row.attempt)):
            yield f"attempt {row.attempt} of {row.scheduled_for:%H:%M:%S} comes after {earlier}"


def _misfires(rows: list[TaskRun], wanted: Expected) -> Iterator[str]:
    """Only late slots are missed, and the newest one up to then only under `skip`."""
    for row in rows:
        if row.status != "missed" or row.reason != "misfire" or row.finished_at is None:
            continue
        last, then = row.last_slot or row.slot, row.finished_at
        if wanted.policy not in ("skip", "run_latest"):
            yield f"slot {row.slot:%H:%M:%S} is missed under {wanted.policy or 'no outage'}"
        if wanted.policy == "skip" and not last < then - wanted.grace:
            yield f"slot {last:%H:%M:%S} was not late at {then:%H:%M:%S}"
        newest = max((slot for slot in wanted.slots if slot <= then), default=None)
        if wanted.policy == "run_latest" and last == newest:
            yield f"the newest slot up to {then:%H:%M:%S} is missed"


def _state(name: str, wanted: Expected) -> Iterator[str]:
    row = ScheduledTask.objects.filter(name=name).first()
    if row is None or wanted.state is None:
        if (row is None) != (wanted.state is None):
            yield "the row is " + ("gone" if row is None else "still there")
        return
    if row.state_reason != wanted.state:
        yield f"it is {row.state_reason or 'active'} ({json.dumps(row.state_reason_params)})"
    if row.max_runs is not None and row.slots_used > row.max_runs:
        yield f"{row.slots_used} slots used of {row.max_runs}"


def _calls(rows: list[TaskRun], expected: dict[str, Expected]) -> Iterator[str]:
    """No attempt is called twice, none for a run that is not there or was not started; and after
    an edit nothing of the old definition starts."""
    by_id = {str(row.pk): row for row in rows}
    calls = tasks.calls()
    times = Counter((call["run_id"], call["attempt"], call["retries"]) for call in calls)
    yield from (f"called {n} times: {call}" for call, n in times.items() if n > 1)
    for call in calls:
        row = by_id.get(call["run_id"])
        if row is None:
            yield f"a call for a run without a row: {call}"
        elif row.status in ("missed", "skipped"):
            yield f"a call for a {row.status} run of {row.name}"
        elif row.trigger == "schedule" and _is_outdated(call, expected.get(row.name)):
            yield f"{row.name}: version {call['version']} started at {call['at']}"
    called = {call["run_id"] for call in calls}
    for run_id, row in by_id.items():
        if row.status == "succeeded" and run_id not in called:
            yield f"{row.name}: a run succeeded without a call"


def _is_outdated(call: dict, wanted: Expected | None) -> bool:
    if wanted is None or wanted.version_since is None or call["attempt"] > 1 or call["retries"]:
        return False
    started = datetime.fromisoformat(call["at"])
    return bool(call["version"] < wanted.version and started >= wanted.version_since)
