"""Messages that kill the worker that takes them, among innocent ones.

A supervisor starts the worker again each time."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatcher import run_task
from dispatcher.models import TaskRun
from tests.integration.harness import Stack
from tests.integration.tasks_app import hostile, tasks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

S = timedelta(seconds=1)
KILLERS = [hostile.kills_at_receipt, hostile.kills_when_handed]


@pytest.mark.parametrize("killer", KILLERS, ids=lambda task: task.__name__)
@pytest.mark.parametrize("ahead", [0, 20], ids=["due", "ahead of its time"])
def test_a_message_that_took_two_workers_is_not_sent_a_third_time(
    stack: Stack, killer: Any, ahead: int
) -> None:
    """No beat runs here, so no rescue: the dispatcher's heart judges, and sends again.

    The innocent ones wait beside it in the queue, or in the memory of workers, for a time before
    and after its own. What executes as a worker dies is another matter: such runs are lost.
    """
    stack.start("dispatcher")
    at = datetime.now(UTC) + ahead * S
    poison = run_task(on_other(killer), at=at if ahead else None)
    beside = [at - 4 * S] * 5 + [at + 4 * S] * 5 if ahead else [None] * 10
    innocents = [run_task(on_other(tasks.record_run), at=start) for start in beside]

    deaths = supervise(stack, poison)

    poison.refresh_from_db()
    assert (poison.status, poison.reason) == ("failed", "took_workers")
    # RabbitMQ gives it out again at once, perhaps before anybody could judge the first death.
    assert deaths == 2 if stack.broker_url.startswith("redis") else deaths in (2, 3)
    stack.wait_until(lambda: not TaskRun.objects.waiting().exists(), 60, "the innocents to start")
    stack.wait_until(lambda: not TaskRun.objects.active().exists(), 30, "the innocents to end")
    started = Counter(execution.more["run_id"] for execution in stack.executions("record_run"))
    assert started == Counter({str(run.pk): 1 for run in innocents})
    ends = TaskRun.objects.exclude(pk=poison.pk).values_list("status", flat=True)
    assert Counter(ends) == {"succeeded": len(innocents)}
    assert stack.processes[-1].running


def on_other(task: Any) -> Any:
    return task.s().set(queue="other")


def supervise(stack: Stack, poison: TaskRun) -> int:
    """Start the worker again whenever it is dead, until the run has ended; how often it died."""
    for deaths in range(6):
        worker = stack.start("worker", queues="other", wait=False)
        stack.wait_until(
            lambda worker=worker: not worker.running or ended(poison), 90, "a death or an end"
        )
        if worker.running:
            return deaths
    raise AssertionError(f"{deaths + 1} workers died\n{stack.logs()}")


def ended(run: TaskRun) -> bool:
    run.refresh_from_db()
    return run.is_ended
