"""Django's connection pool, in a worker whose processes are replaced after each task."""

import pytest

from dispatcher import run_task
from dispatcher.models import TaskRun
from tests.integration.endings.runs import renewed, running
from tests.integration.harness import Stack
from tests.integration.tasks_app import careless, tasks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def test_leases_are_renewed_and_the_parents_pool_outlives_its_children(stack: Stack) -> None:
    pytest.importorskip("psycopg_pool")
    if not stack.database_url.startswith("postgres"):
        pytest.skip("a pool of PostgreSQL's")
    long = run_task(tasks.sleep, [60])
    short = [run_task(careless.innocent, [n]) for n in range(20)]
    settings = {"DJANGO_SETTINGS_MODULE": "tests.integration.tasks_app.pooled_settings"}
    stack.start("worker", concurrency=2, arguments=("--max-tasks-per-child", "1"), env=settings)

    renewed(stack, running(stack, long))
    ended = TaskRun.objects.filter(pk__in=[run.pk for run in short], status="succeeded")
    stack.wait_until(lambda: ended.count() == len(short), 60, "the others")

    assert len(set(ended.values_list("pid", flat=True))) == len(short)
    assert {execution.more["error"] for execution in stack.executions("asked")} == {""}
