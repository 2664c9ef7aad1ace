"""Beat, dispatcher and workers as the Procfile has them: every slot once, in its second.

What should have run is computed from the schedules; what did run is noted by the tasks themselves.
"""

import statistics
from collections import Counter
from datetime import datetime, timedelta

import pytest

from dispatcher.models import TaskRun, Tick
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.schedules import slots_between
from tests.integration.harness import Stack
from tests.integration.tasks_app import tasks


def create_jobs() -> list[ScheduledTask]:
    """Every kind of schedule, planned for the first time by the process that creates it."""
    rows = ScheduledTask.objects
    name = tasks.record_run.name
    soon = database_now().replace(microsecond=0) + timedelta(seconds=25)
    return [
        rows.create_interval("every 5 s", name, 5),
        rows.create_cron("every minute", name, "* * * * *"),
        rows.create_cron("every 7 s of a minute", name, "*/7 * * * * *"),
        rows.create_one_time("once", name, soon),
    ]


def insert_job() -> ScheduledTask:
    """A row that no code of ours saw: only a tick can plan it."""
    ScheduledTask.objects.bulk_create(
        [
            ScheduledTask(
                name="by SQL", task=tasks.record_run.name, kind="interval", interval_seconds=5
            )
        ]
    )
    return ScheduledTask.objects.get(name="by SQL")


def until(stack: Stack, moment: datetime) -> None:
    seconds = (moment - database_now()).total_seconds()
    stack.wait_until(
        lambda: database_now() >= moment, max(seconds, 0) + 10, f"{moment:%H:%M:%S}", poll=0.5
    )


def settle(stack: Stack, end: datetime) -> None:
    """No slot after this, and every run that was due has ended."""
    until(stack, end + timedelta(seconds=1))
    for job in ScheduledTask.objects.filter(enabled=True):
        job.pause()
    stack.wait_until(
        lambda: not (TaskRun.objects.waiting() | TaskRun.objects.active()).exists(), 60, "all ends"
    )


def check(stack: Stack, jobs: list[ScheduledTask], end: datetime) -> list[float]:
    """Every slot up to `end` has one run, which ran once; how late each started, in seconds."""
    late: list[float] = []
    notes = {str(note.more["run_id"]): note for note in stack.executions("record_run")}
    for job in jobs:
        due = list(slots_between(job.schedule(), job.armed_at, end))
        runs = {run.slot: run for run in TaskRun.objects.filter(scheduled_task=job, slot__lte=end)}
        assert due, job.name
        assert sorted(slot for slot in runs if slot) == due, job.name
        for slot in due:
            run = runs[slot]
            assert (run.status, run.attempt) == ("succeeded", 1), (job.name, slot, run.reason)
            late.append(notes[str(run.pk)].time - slot.timestamp())
    ran = Counter(note.more["run_id"] for note in stack.executions("record_run"))
    assert set(ran.values()) == {1}, "a run was executed twice"
    started = TaskRun.objects.exclude(started_at=None).values_list("pk", flat=True)
    assert set(ran) == {str(pk) for pk in started}
    return late


def show(what: str, late: list[float]) -> None:
    late = sorted(late)
    p99 = late[int(len(late) * 0.99)]
    print(
        f"\n{what}: {len(late)} slots, start - slot in ms: min {late[0] * 1000:.1f}, "
        f"median {statistics.median(late) * 1000:.1f}, p99 {p99 * 1000:.1f}, "
        f"max {late[-1] * 1000:.1f}"
    )


def test_every_slot_of_a_minute_runs_once_in_its_second(stack: Stack) -> None:
    stack.start("dispatcher")
    stack.start("worker")
    stack.start("beat")
    jobs, by_sql = create_jobs(), insert_job()
    minute = database_now().replace(second=0, microsecond=0) + timedelta(minutes=1)
    end = max(minute + timedelta(seconds=12), database_now() + timedelta(seconds=30))

    settle(stack, end)

    late = check(stack, jobs, end)
    show("one minute", late)
    assert min(late) >= 0
    assert statistics.median(late) < 1
    by_sql.refresh_from_db()
    after = check(stack, [by_sql], end)  # those before the tick ran late, and all of them ran
    assert min(after) >= 0
    assert Tick.objects.ticks().filter(started_at__gte=minute).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("beats", "dispatchers"), [pytest.param(1, 1, id="one"), pytest.param(2, 3, id="many")]
)
def test_every_slot_of_three_minutes_runs_once_in_its_second(
    stack: Stack, beats: int, dispatchers: int
) -> None:
    for _ in range(dispatchers):
        stack.start("dispatcher")
    stack.start("worker")
    for _ in range(beats):
        stack.start("beat")
    jobs = create_jobs()
    end = database_now() + timedelta(minutes=3)

    settle(stack, end)

    late = check(stack, jobs, end)
    show(f"three minutes, {beats} beat, {dispatchers} dispatcher", late)
    assert min(late) >= 0
    assert statistics.median(late) < 1
    assert Tick.objects.ticks().count() >= 3 * beats
    assert not Tick.objects.exclude(error="").exists()
