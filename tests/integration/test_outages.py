"""The broker goes away while a worker holds messages for their eta."""

from datetime import timedelta

import pytest
from kombu import Connection

from dispatcher import run_task
from dispatcher.models import TaskRun
from dispatcher.publish import messages
from project.celery import app
from scheduling.database import database_now
from tests.integration.harness import Stack
from tests.integration.tasks_app import tasks
from tests.servers import Valkey


def send(valkey: Valkey, runs: list[TaskRun]) -> None:
    """Publish, as the dispatcher does, to a broker that is not the test run's."""
    with Connection(valkey.url) as connection:
        producer = app.amqp.Producer(connection)
        for run in runs:
            messages.send(app, producer, run, database_now())


def held_run(key: str, seconds: float) -> TaskRun:
    """A run that starts in so many seconds and that nobody has published."""
    run = run_task(tasks.record, [key], at=database_now() + timedelta(hours=1))
    run.start_at = database_now() + timedelta(seconds=seconds)
    return run


@pytest.mark.sampled(4)
@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("crash", [False, True], ids=["restart", "crash without its data"])
def test_a_worker_that_holds_messages_survives_the_broker_and_consumes_again(
    stack: Stack, private_valkey: Valkey, pool: str, crash: bool
) -> None:
    stack.broker_url = private_valkey.url
    worker = stack.start("worker", pool=pool)
    held = [held_run(f"held {number}", 600) for number in range(5)]  # never from these messages
    send(private_valkey, held)
    stack.wait_until(lambda: worker.log.count("received") == 5, 30, "the messages to be held")

    if crash:
        private_valkey.kill()
        private_valkey.wipe()
    else:
        private_valkey.stop()
    stack.wait_until(lambda: "onnection to broker lost" in worker.log, 20, "it to notice")
    private_valkey.start()

    new = run_task(tasks.record, ["new"], at=database_now() + timedelta(hours=1))
    new.start_at = database_now()
    send(private_valkey, [new])
    stack.wait_until(lambda: stack.executions("new"), 30, "a new message to be consumed")
    assert worker.running

    for run in held:  # as rescue does
        run.start_at = database_now()
    send(private_valkey, held)
    for number, run in enumerate(held):
        stack.wait_until(lambda run=run: TaskRun.objects.get(pk=run.pk).is_ended, 30, f"{run}")
        assert len(stack.executions(f"held {number}")) == 1
    assert worker.running
