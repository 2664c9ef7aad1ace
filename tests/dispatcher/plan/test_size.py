"""Bounds: what is left to catch up on makes more transactions, not larger ones."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from dispatcher.models import TaskRun, bulk
from dispatcher.plan import planner
from dispatcher.tick import tick
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.rows import job

pytestmark = pytest.mark.django_db(transaction=True)


def down(hours, *tasks):
    """As if no dispatcher had been there for so long."""
    armed_at = database_now() - timedelta(hours=hours)
    rows = ScheduledTask.objects.filter(pk__in=[task.pk for task in tasks])
    rows.keep(armed_at=armed_at, created_at=armed_at, next_run_at=None)


@pytest.fixture
def inserted(monkeypatch):
    """How many runs each transaction inserted."""
    sizes, insert = [], bulk.insert

    def note(runs):
        assert transaction.get_connection().in_atomic_block
        sizes.append(len(runs))
        insert(runs)

    monkeypatch.setattr(bulk, "insert", note)
    return sizes


@pytest.mark.sampled(2)
@pytest.mark.parametrize("fails", [False, True], ids=["together", "row by row"])
def test_a_transaction_is_bounded_in_runs(monkeypatch, sent_messages, inserted, fails):
    monkeypatch.setattr(planner, "RUNS", 100)
    tasks = [job(every=60, misfire_policy="run_all") for _n in range(12)]
    down(1, *tasks)
    if fails:
        monkeypatch.setattr(planner, "_plan_rows", lambda ids, now: 1 / 0)
    done = tick()
    assert done.planned >= 12 * 60
    assert max(inserted) <= 100 + 62
    per_task = {TaskRun.objects.filter(scheduled_task=task).count() for task in tasks}
    assert min(per_task) >= 60
    assert max(per_task) - min(per_task) <= 1  # the minute may turn meanwhile
    assert not ScheduledTask.objects.filter(next_run_at=None).exists()


def test_few_runs_are_one_transaction(sent_messages, inserted):
    down(1, *(job(every=3600) for _n in range(50)))
    tick()
    assert [size for size in inserted if size] == [50]


def test_an_edit_asks_as_much_for_many_waiting_runs_as_for_few(sent_messages):
    def queries(minutes):
        task = job(every=60, misfire_policy="run_all")
        down(minutes / 60, task)
        tick()
        owed = TaskRun.objects.filter(scheduled_task=task, slot__lte=database_now())
        before = set(owed.values_list("pk", flat=True))
        task.refresh_from_db()
        task.queue = "other"
        with CaptureQueriesContext(connection) as captured:
            task.save()
        after = set(owed.values_list("pk", flat=True))
        assert len(after) >= len(before) >= minutes - 1
        assert not before & after  # each is made anew
        assert set(owed.values_list("queue", flat=True)) == {"other"}
        return len(captured)

    batches = 30 if connection.vendor == "sqlite" else 10  # it takes 999 parameters a statement
    assert queries(300) <= queries(5) + batches
