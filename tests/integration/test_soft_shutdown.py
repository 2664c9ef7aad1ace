"""A worker that has less time to stop than its runs take (Celery's soft shutdown)."""

import signal

import pytest

from dispatcher import run_task
from dispatcher.models import TaskRun
from tests.integration.harness import Stack
from tests.integration.tasks_app import tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.sampled(2)
def test_what_ends_in_time_succeeds_and_the_rest_is_lost_at_once(stack: Stack) -> None:
    """Nobody has to notice it: there is no dispatcher here, and no lease runs out."""
    worker = stack.start(
        "worker",
        queues="other",
        env={"REMAP_SIGTERM": "SIGQUIT"},
        arguments=("worker.soft_shutdown_timeout=3",),
    )
    short = run_task(tasks.sleep.s(2, "short").set(queue="other"))
    long = run_task(tasks.sleep.s(60, "long").set(queue="other"))
    stack.wait_until(lambda: len(stack.executions()) == 2, 20, "both to run")

    worker.stop(signal.SIGTERM, timeout=20)

    ends = dict(TaskRun.objects.values_list("pk", "status"))
    assert ends == {short.pk: "succeeded", long.pk: "lost"}
    assert [e.key for e in stack.executions() if e.key.endswith(":end")] == ["short:end"]
