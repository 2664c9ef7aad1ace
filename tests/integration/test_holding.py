"""Messages that a worker has received and not started: it dies, it is busy, it is told to stop.

No dispatcher runs here, so no rescue: what is sent again, workers have sent."""

from collections import Counter
from datetime import timedelta

import pytest

from dispatcher.models import TaskRun, Worker, bulk
from dispatcher.models.process import unpacked
from dispatcher.publish import publisher
from dispatcher.upkeep import rescue
from project.celery import app
from scheduling.database import database_now
from tests.integration.harness import Process, Stack
from tests.integration.tasks_app import tasks

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("empty_queues"),
]

S = timedelta(seconds=1)
COUNT = 40


def held_by(stack: Stack, worker: Process, start: timedelta, queue: str) -> list[TaskRun]:
    """Runs that start in `start`, of which the worker has all messages and has said so."""
    now = database_now()
    eta = now + start
    columns = {"name": "held", "task": tasks.record_run.name, "trigger": "manual", "queue": queue}
    columns |= {"scheduled_for": eta, "start_at": eta, "planned_at": now}
    runs = [TaskRun(publish_at=now + 30 * S, **columns) for _ in range(COUNT)]
    bulk.insert(runs)
    publisher.publish(runs, now)
    stack.wait_until(lambda: worker.log.count("received") >= COUNT, 30, "the messages to be held")
    wanted = {run.pk for run in runs}
    stack.wait_until(lambda: wanted in words_of(worker), 30, "the worker's word")
    return runs


def words_of(worker: Process) -> list[set]:
    rows = Worker.objects.filter(pid=worker.pid)
    return [set(unpacked(word)) for word in rows.values_list("held", flat=True)]


def all_started_once(stack: Stack, runs: list[TaskRun]) -> None:
    stack.wait_until(lambda: not TaskRun.objects.waiting().exists(), 60, "the runs")
    stack.wait_until(lambda: not TaskRun.objects.active().exists(), 30, "the last ends")
    started = Counter(execution.more["run_id"] for execution in stack.executions("record_run"))
    assert started == Counter({str(run.pk): 1 for run in runs})


@pytest.mark.sampled(2)
def test_what_a_killed_worker_held_is_sent_again_by_a_living_one(stack: Stack) -> None:
    victim = stack.start("worker", queues="other")
    runs = held_by(stack, victim, 60 * S, "other")
    heir = stack.start("worker", queues="other")

    victim.kill()

    stack.wait_until(lambda: heir.log.count("received") >= COUNT, 60, "the heir to have them")
    assert "were sent again" in heir.log
    early = TaskRun.objects.filter(start_at__lt=database_now())
    assert not early.exists(), "they came in time, before their start"
    TaskRun.objects.update(start_at=database_now())  # nothing asks for it again
    assert {run.pk for run in runs} == {run.pk for run in TaskRun.objects.unstarted()}


@pytest.mark.sampled(2)
def test_a_busy_workers_messages_are_not_sent_again(stack: Stack) -> None:
    worker = stack.start("worker", queues="other", concurrency=1)
    release = stack.directory / "release"
    runs = held_by(stack, worker, 20 * S, "other")
    app.send_task(tasks.hold.name, [str(release)], queue="other")
    stack.wait_until(lambda: stack.executions("hold"), 30, "the worker to be busy")
    stack.wait_until(lambda: database_now() > runs[0].start_at + 2 * S, 40, "their start")
    assert TaskRun.objects.unstarted().count() == COUNT

    now = database_now()
    assert [rescue.publish_again(now + seconds * S) for seconds in (60, 120, 600)] == [0, 0, 0]

    release.touch()
    all_started_once(stack, runs)


@pytest.mark.sampled(2)
def test_a_worker_that_is_told_to_stop_hands_back_what_it_holds(stack: Stack) -> None:
    """While it still waits for the run that it has started."""
    worker = stack.start("worker", queues="other", concurrency=1)
    release = stack.directory / "release"
    runs = held_by(stack, worker, 30 * S, "other")
    app.send_task(tasks.hold.name, [str(release)], queue="other")
    stack.wait_until(lambda: stack.executions("hold"), 30, "the worker to be busy")
    stack.start("worker", queues="other")

    worker.popen.terminate()

    all_started_once(stack, runs)
    assert worker.running, "it waited for its run meanwhile"
    release.touch()
    assert worker.wait(60) == 0
    assert "go to others" in worker.log
    row = Worker.objects.get(pid=worker.pid)
    assert (bytes(row.held), row.lease_until) == (b"", None)
