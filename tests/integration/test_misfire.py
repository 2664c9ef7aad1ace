"""Two minutes without a dispatcher, and without beat, for real: what became of each slot."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from dispatcher.models import TaskRun, Tick
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.integration.harness import Stack
from tests.integration.tasks_app import tasks

S = timedelta(seconds=1)
#: Longer than the 90 s that are planned ahead, by much more than the grace.
OUTAGE = 125 * S
GRACE = 5
POLICIES = ("run_latest", "run_all", "skip")


def every(seconds: int, start: datetime) -> Callable[[datetime, datetime], list[datetime]]:
    """The slots of an interval from `start` on, counted one by one."""

    def slots(after: datetime, until: datetime) -> list[datetime]:
        found, slot = [], start
        while slot <= until:
            if slot > after:
                found.append(slot)
            slot += seconds * S
        return found

    return slots


def jobs(made: datetime) -> dict[str, list[datetime] | Callable[..., list[datetime]]]:
    """One job of each kind under each policy, and its slots as a function of (after, until)."""
    minute = made.replace(second=0)
    once = made + 100 * S  # beyond what is planned when the outage begins
    expected = {}
    for policy in POLICIES:
        rules = {"misfire_policy": policy, "misfire_grace_seconds": GRACE}
        ScheduledTask.objects.create_interval(
            f"interval {policy}", tasks.record_run, 5, starts_at=made, **rules
        )
        ScheduledTask.objects.create_cron(
            f"cron {policy}", tasks.record_run, "*/10 * * * * *", **rules
        )
        ScheduledTask.objects.create_one_time(f"once {policy}", tasks.record_run, once, **rules)
        expected[f"interval {policy}"] = every(5, made)
        expected[f"cron {policy}"] = every(10, minute)
        expected[f"once {policy}"] = lambda after, until: [once] if after < once <= until else []
    return expected


def became(task: ScheduledTask, slots: list[datetime]) -> dict[datetime, str]:
    """{slot: status}; AssertionError unless each is in exactly one row."""
    found: dict[datetime, str] = {}
    for run in TaskRun.objects.filter(scheduled_task=task.pk).order_by("slot"):
        covered = [slot for slot in slots if run.slot <= slot <= (run.last_slot or run.slot)]
        if run.slot <= slots[-1]:
            assert len(covered) == run.slot_count, (task.name, run.slot, run.slot_count)
        assert not set(covered) & set(found), (task.name, covered)
        found |= dict.fromkeys(covered, run.status)
    assert sorted(found) == slots, task.name
    return found


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["dispatcher", "beat"])
def test_every_slot_of_an_outage_runs_or_is_missed_by_its_policy(stack: Stack, victim: str) -> None:
    stack.start("worker", concurrency=4)
    started = {name: stack.start(name) for name in ("dispatcher", "beat")}
    ticks = Tick.objects.ticks().exclude(finished_at=None)
    stack.wait_until(ticks.exists, 90, "a tick")

    made = database_now().replace(microsecond=0) + 2 * S
    slots_of = jobs(made)
    down_at = database_now()
    if victim == "dispatcher":
        started[victim].kill()
    else:
        started[victim].stop()
    planned_until = dict(ScheduledTask.objects.values_list("name", "next_run_at"))
    stack.wait_until(lambda: database_now() > down_at + OUTAGE, 200, "the outage to last")
    assert not ticks.filter(started_at__gt=down_at).exists()

    stack.start(victim)
    stack.wait_until(ticks.filter(started_at__gt=down_at).exists, 120, "a tick after it")
    tick_at = ticks.filter(started_at__gt=down_at).earliest("started_at").started_at
    end = tick_at.replace(microsecond=0) + 20 * S
    scheduled = TaskRun.objects.filter(trigger="schedule", slot__lte=end)
    stack.wait_until(
        lambda: database_now() > end and not scheduled.exclude(status__in=ENDS).exists(),
        120,
        "every slot to have its end",
    )

    for task in ScheduledTask.objects.order_by("pk"):
        slots = slots_of[task.name](down_at - 2 * S, end)
        slots = [slot for slot in slots if slot > task.created_at]
        status = became(task, slots)
        unplanned = [slot for slot in slots if slot >= (planned_until[task.name] or slots[0])]
        decided_at = task.runs.get(slot=unplanned[0]).planned_at
        late = [slot for slot in unplanned if slot <= decided_at]
        grace_ends = decided_at - GRACE * S
        assert late[0] < grace_ends, "the outage was too short to tell"
        missed = {
            "run_latest": late[:-1],
            "run_all": [],
            "skip": [slot for slot in late if slot < grace_ends],
        }[task.misfire_policy]
        assert [slot for slot in slots if status[slot] == "missed"] == missed, task.name
        assert {status[slot] for slot in slots if slot not in missed} <= {"succeeded"}, task.name
        assert TaskRun.objects.filter(scheduled_task=task.pk, status="missed").count() <= 1

    executed = [note.more["run_id"] for note in stack.executions("record_run")]
    assert len(executed) == len(set(executed))
    succeeded = scheduled.filter(status="succeeded").values_list("pk", flat=True)
    assert {str(pk) for pk in succeeded} <= set(executed)


ENDS = ("succeeded", "missed")
