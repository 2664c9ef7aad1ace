"""Tasks that leave their connection unclean, among others that did nothing wrong."""

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from dispatcher import run_task
from dispatcher.models import TaskRun
from tests.integration.harness import Stack
from tests.integration.tasks_app import careless, tasks


def ways() -> list[str]:
    from django.conf import settings

    vendor = settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]
    vendor = {"sqlite3": "sqlite"}.get(vendor, vendor)
    return [*careless.BY_DJANGO, *careless.SESSION[vendor]]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_what_a_task_leaves_open_harms_neither_the_runs_after_it_nor_their_record(
    stack: Stack, pool: str
) -> None:
    """Each way in both children, with innocent runs behind each; all end, once, as they should."""
    bad, good = [], []
    for n, way in enumerate(ways()):
        bad += [run_task(careless.leave, [way]) for _child in range(2)]
        good += [run_task(careless.innocent, [10 * n + m]) for m in range(4)]
        good += [run_task(tasks.record, [f"{way} {m}"]) for m in range(4)]

    stack.start("worker", pool=pool, concurrency=2)
    stack.wait_until(lambda: not TaskRun.objects.active().exists() and ended(bad + good), 60)

    told = {run.args[0]: (run.status, run.reason) for run in fresh(bad)}
    told.pop("soft_limit")
    assert set(told.values()) == {("succeeded", "")}, told
    innocents = {(str(run), run.status, run.exception) for run in fresh(good)}
    assert {status for _run, status, _error in innocents} == {"succeeded"}, innocents
    assert {run.result for run in fresh(good) if run.task.endswith("innocent")} == {1}
    for way in ways():
        assert [len(stack.executions(f"{way} {m}")) for m in range(4)] == [1] * 4
    assert not Group.objects.filter(name="uncommitted").exists()
    assert still_open() == 0


def ended(runs: list[TaskRun]) -> bool:
    return all(run.is_ended for run in fresh(runs))


def fresh(runs: list[TaskRun]) -> list[TaskRun]:
    return list(TaskRun.objects.filter(pk__in=[run.pk for run in runs]))


def still_open() -> int:
    """Transactions that a worker left open."""
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state LIKE 'idle in transaction%%'"
        )
        return int(cursor.fetchone()[0])
