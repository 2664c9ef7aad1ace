"""A minute in the life of schedules: edits close to their slots, and workers that are killed.

All jobs of a test live at once in one stack, so that it takes as long as its longest story.
"""

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from dispatcher.models import TaskRun
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.integration.harness import Stack
from tests.integration.tasks_app import tasks

create = ScheduledTask.objects.create_one_time

WITHIN = timedelta(seconds=90)  # how soon a dead worker is noticed, and what it held has run


def until(stack: Stack, moment: datetime) -> None:
    """Wait for a time of the database's clock."""
    seconds = (moment - database_now()).total_seconds()
    stack.wait_until(lambda: database_now() >= moment, max(seconds, 0) + 10, f"{moment:%H:%M:%S}")


def first_slot(seconds: float) -> datetime:
    """The first whole second that is at least so far away."""
    return database_now().replace(microsecond=0) + timedelta(seconds=int(seconds) + 1)


def only_run(job: ScheduledTask) -> TaskRun:
    [run] = TaskRun.objects.filter(scheduled_task=job.pk)
    return run


def ended(stack: Stack, job: ScheduledTask, timeout: float = 30) -> TaskRun:
    stack.wait_until(lambda: only_run(job).is_ended, timeout, f"the end of {job.name}")
    return only_run(job)


def times(stack: Stack, key: str) -> int:
    return len(stack.executions(key))


class Rollback(Exception):
    pass


@pytest.mark.sampled(2)
def test_jobs_created_edited_and_disabled_close_to_their_slot(stack: Stack, tmp_path: Path) -> None:
    began = time.monotonic()
    holder = stack.start("worker", concurrency=4, queues="celery")
    stack.start("worker", concurrency=1, queues="slow")
    stack.start("dispatcher")
    stack.start("beat")
    # A machine that takes long to start them takes long to save the jobs and the edits, too.
    slot = first_slot(8 + 2 * (time.monotonic() - began))
    free = tmp_path / "the slow worker is free"

    def job(name: str, at: datetime = slot, **options: Any) -> ScheduledTask:
        return create(name, tasks.record, at, args=[name], **options)

    busy = create("busy", tasks.hold, slot, args=[str(free), "busy"], queue="slow")
    ahead = job("ahead")
    disabled, deleted = job("disabled"), job("deleted")
    edited, moved = job("edited"), job("moved")
    behind = job("behind a busy worker", slot + timedelta(seconds=1), queue="slow")
    unserved = job("no worker yet", queue="other")
    with pytest.raises(Rollback), transaction.atomic():
        job("rolled back")
        raise Rollback

    stack.wait_until(lambda: holder.log.count("received") >= 5, 30, "the messages to be held")
    disabled.pause()
    deleted.delete()
    ScheduledTask.objects.filter(pk=edited.pk).update(args=["edited anew"])
    moved.run_at = slot + timedelta(seconds=3)
    moved.save()
    assert database_now() < slot, "too slow a machine: the edits did not come before the slot"

    until(stack, slot)
    run = ended(stack, ahead)
    assert run.status == "succeeded"
    assert run.published_at < slot <= run.started_at  # by the message that was there in time
    assert times(stack, "ahead") == 1

    until(stack, slot + timedelta(seconds=5))
    stack.wait_until(lambda: times(stack, "busy"), 30, "the slow worker to be busy")
    assert (only_run(behind).status, only_run(unserved).status) == ("published", "published")
    for waiting in (behind, unserved):
        waiting.args = [f"{waiting.name}, edited"]
        waiting.save()
    free.touch()
    stack.start("worker", queues="other")

    for late in (behind, unserved):
        run = ended(stack, late, 60)
        assert (run.status, run.args) == ("succeeded", [f"{late.name}, edited"])
        assert times(stack, f"{late.name}, edited") == 1
        assert times(stack, late.name) == 0
    assert ended(stack, edited).status == "succeeded"
    assert (times(stack, "edited"), times(stack, "edited anew")) == (0, 1)
    assert slot + timedelta(seconds=3) <= ended(stack, moved).started_at
    assert times(stack, "moved") == 1
    assert ended(stack, busy).status == "succeeded"
    for name in ("disabled", "deleted", "rolled back"):
        assert (name, times(stack, name)) == (name, 0)
    assert not TaskRun.objects.filter(name__in=["disabled", "rolled back", "deleted"]).exists()
    assert TaskRun.objects.count() == 6


@pytest.mark.slow
def test_what_a_killed_worker_held_and_ran_is_accounted_for_within_90_seconds(
    stack: Stack,
) -> None:
    began = time.monotonic()
    stack.start("dispatcher")
    stack.start("beat")
    holder = stack.start("worker", queues="other")
    middle = stack.start("worker", queues="slow", hostname="back-at-once@here")
    pool = stack.start("worker", queues="quick", concurrency=1)
    first = first_slot(8 + 2 * (time.monotonic() - began))
    slots = [first + timedelta(seconds=number) for number in range(10)]
    held = [
        create(f"held {number}", tasks.record, slot, args=[f"held {number}"], queue="other")
        for number, slot in enumerate(slots)
    ]
    soon = database_now() + timedelta(seconds=2)
    lost = create("lost", tasks.sleep, soon, args=[120, "lost"], queue="slow")
    again = create("again", tasks.sleep, soon, args=[15, "again"], queue="slow", on_lost="rerun")
    child = create("child", tasks.sleep, soon, args=[120, "child"], queue="quick")
    stack.wait_until(lambda: holder.log.count("received") == 10, 20, "the messages to be held")
    stack.wait_until(lambda: times(stack, "again") and times(stack, "lost"), 20, "the runs")
    stack.wait_until(lambda: times(stack, "child"), 20, "the run of the pool child")

    killed_at = database_now()
    assert killed_at < slots[0], "too slow a machine: the messages were not held any more"
    holder.kill()
    middle.kill()
    stack.wait_until(lambda: only_run(child).pid, 20, "the pid of the run's process")
    [victim] = [process for process in pool.children if process.pid == only_run(child).pid]
    victim.kill()
    stack.start("worker", queues="other")
    stack.start("worker", queues="slow", hostname="back-at-once@here")

    run = ended(stack, child)
    assert (run.status, run.reason) == ("lost", "process_gone")

    for number, (job, slot) in enumerate(zip(held, slots, strict=True)):
        run = ended(stack, job, 120)
        assert (run.status, run.attempt) == ("succeeded", 1)
        assert slot <= run.started_at < slot + WITHIN
        assert times(stack, f"held {number}") == 1
    late = [
        (only_run(job).started_at - slot).total_seconds()
        for job, slot in zip(held, slots, strict=True)
    ]
    print(f"held messages: {min(late):.1f} to {max(late):.1f} s after their slot")

    run = ended(stack, lost, 120)
    assert (run.status, run.reason) == ("lost", "lease_ran_out")
    assert run.finished_at - killed_at < WITHIN
    print(f"lost: noticed {(run.finished_at - killed_at).total_seconds():.1f} s after the kill")
    assert times(stack, "lost") == 1

    run = ended(stack, again, 120)
    assert (run.status, run.attempt, times(stack, "again")) == ("succeeded", 2, 2)
    assert times(stack, "again:end") == 1
