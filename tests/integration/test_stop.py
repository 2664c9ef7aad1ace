"""The one switch, with real processes: who runs goes on, who is asked for runs, nothing else."""

from datetime import datetime, timedelta

import pytest

from dispatcher.models import TaskRun
from dispatcher.runs import run_now
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.schedules import slots_between
from scheduling.stop import Stop, current_stop, pause_everything, resume_everything
from tests.integration.harness import Stack
from tests.integration.tasks_app import tasks


def started_since(moment: datetime) -> set[str]:
    return set(TaskRun.objects.filter(started_at__gt=moment).values_list("trigger", flat=True))


def accounted_for(task: ScheduledTask) -> list[datetime]:
    """Every slot that the rows of the task say something of."""
    found: list[datetime] = []
    for run in TaskRun.objects.filter(scheduled_task=task.pk, slot__isnull=False).order_by("slot"):
        assert run.slot is not None
        last = run.last_slot or run.slot
        slots = list(slots_between(task.schedule(), run.slot - timedelta(microseconds=1), last))
        assert len(slots) == run.slot_count
        found += slots
    return found


@pytest.mark.sampled(2)
def test_everything_is_paused_and_resumed_and_every_slot_is_accounted_for(stack: Stack) -> None:
    for name in ("worker", "dispatcher", "beat"):
        stack.start(name)
    often = ScheduledTask.objects.create_interval(
        "often", tasks.record_run, 2, misfire_grace_seconds=5
    )
    soon = database_now() + timedelta(seconds=2)
    long = ScheduledTask.objects.create_one_time("long", tasks.sleep, soon, args=[15, "long"])
    stack.wait_until(lambda: stack.executions("long"), 30, "the long run")
    stack.wait_until(lambda: len(stack.executions("record_run")) > 1, 30, "some runs")

    assert pause_everything(by="the test")
    paused_at = database_now()
    manual = run_now(often)
    stack.wait_until(lambda: TaskRun.objects.get(pk=manual.pk).is_ended, 30, "the manual run")
    stack.wait_until(lambda: stack.executions("long:end"), 30, "the end of the long run")
    stack.wait_until(
        lambda: database_now() > paused_at + timedelta(seconds=12), 30, "slots to pass"
    )
    assert started_since(paused_at) == {"manual"}
    assert TaskRun.objects.get(scheduled_task=long.pk).status == "succeeded"
    assert stack.manage("upcoming", "--json").endswith("[]\n")

    assert resume_everything(by="the test")
    assert current_stop() is None
    resumed_at = Stop.objects.latest("pk").resumed_at  # a run may start before this line
    assert resumed_at is not None
    scheduled = TaskRun.objects.filter(scheduled_task=often.pk, trigger="schedule")
    stack.wait_until(
        lambda: scheduled.filter(slot__gt=resumed_at, status="succeeded").count() > 2,
        100,
        "runs after it",
    )
    often.pause()
    end = often.updated_at  # a slot after it was taken back, one before it has its row
    stack.wait_until(
        lambda: not scheduled.exclude(status__in=("succeeded", "missed", "cancelled")).exists(),
        100,
        "all ends",
    )
    due = list(slots_between(often.schedule(), often.created_at, end))
    assert accounted_for(often) == due
    runs = [note.more["run_id"] for note in stack.executions("record_run")]
    assert len(runs) == len(set(runs))
    ran = scheduled.filter(slot__range=(paused_at, resumed_at)).exclude(started_at=None)
    assert all(run.started_at >= resumed_at for run in ran)


@pytest.mark.slow
def test_the_switch_wins_over_messages_that_workers_hold(stack: Stack) -> None:
    """Published and prefetched, a second before their slot."""
    stack.start("worker", concurrency=4)
    slot = database_now().replace(microsecond=0) + timedelta(seconds=6)
    for number in range(20):
        ScheduledTask.objects.create_one_time(
            f"held {number}", tasks.record, slot, args=["held"], misfire_grace_seconds=3600
        )
    stack.wait_until(
        lambda: TaskRun.objects.filter(status="published").count() == 20, 20, "all to be published"
    )
    pause_everything()
    assert database_now() < slot
    stack.wait_until(lambda: database_now() > slot + timedelta(seconds=3), 30, "the slot to pass")
    assert stack.executions("held") == []
    assert set(TaskRun.objects.values_list("status", flat=True)) == {"published"}

    resume_everything()
    stack.start("dispatcher")
    stack.start("beat")
    stack.wait_until(
        lambda: TaskRun.objects.filter(status="succeeded").count() == 20, 100, "all to have run"
    )
    assert len(stack.executions("held")) == 20
