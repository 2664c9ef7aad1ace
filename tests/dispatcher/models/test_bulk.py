"""Many runs end as missed in a few statements, each as it would alone."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dispatcher.models import TaskRun, bulk
from scheduling.database import database_now
from tests.dispatcher.rows import job

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
S = timedelta(seconds=1)


def waiting(task, count, first=NOW):
    """Runs of consecutive slots that wait to be published, oldest first."""
    runs = [
        TaskRun(
            scheduled_task=task,
            name=task.name,
            task=task.task,
            slot=first + n * S,
            scheduled_for=first + n * S,
            start_at=first + n * S,
            planned_at=first,
            publish_at=first,
            lease_until=first,
        )
        for n in range(count)
    ]
    return TaskRun.objects.bulk_create(runs)


def span(runs):
    return bulk.Missed([run.pk for run in runs], runs[-1].slot)


def told(rows):
    columns = ("pk", "status", "reason", "slot", "last_slot", "slot_count")
    return list(rows.order_by("slot").values_list(*columns))


def missed(runs):
    first, last = runs[0], runs[-1]
    return (first.pk, "missed", "misfire", first.slot, last.slot, len(runs))


@pytest.fixture
def task():
    task = job()
    task.runs.all().delete()
    return task


def test_each_span_becomes_one_row_and_what_is_between_them_stays(task):
    runs = waiting(task, 10)
    stays = job(name="another").runs.model.objects.exclude(scheduled_task=task).count()
    bulk.miss([span(runs[0:3]), span(runs[4:5]), span(runs[6:8])])
    assert told(task.runs.filter(status="missed")) == [
        missed(runs[0:3]),
        missed(runs[4:5]),
        missed(runs[6:8]),
    ]
    left = task.runs.filter(status="planned").order_by("slot")
    assert [run.pk for run in left] == [runs[n].pk for n in (3, 5, 8, 9)]
    assert TaskRun.objects.exclude(scheduled_task=task).count() == stays


@pytest.mark.parametrize("number", [199, 200, 201, 450])
def test_however_many_spans_none_stays_open(task, number):
    """More than there are branches in one statement: the rest are in the next."""
    runs = waiting(task, number * 3)
    spans = [runs[n : n + 2 + n // 3 % 2] for n in range(0, len(runs), 3)]
    bulk.miss(span(each) for each in spans)
    assert told(task.runs.exclude(status="planned")) == [missed(each) for each in spans]
    gone = sum(len(each) - 1 for each in spans)
    assert task.runs.count() == len(runs) - gone


def test_hundreds_of_single_slots_are_one_statement_and_each_keeps_its_slot(task):
    runs = waiting(task, 450)
    with CaptureQueriesContext(connection) as captured:
        bulk.miss(span([run]) for run in runs)
    assert told(task.runs.all()) == [missed([run]) for run in runs]
    assert len(captured) <= 3


def test_a_missed_run_is_leased_to_nobody_and_has_an_end(task):
    before = database_now()
    runs = waiting(task, 3)
    bulk.miss([span(runs[:2]), span(runs[2:])])
    after = database_now()
    for run in task.runs.all():
        assert (run.publish_at, run.lease_until, run.holds, run.waits) == (None,) * 4
        assert before <= run.finished_at <= after
        assert run.reason_params == {}


def test_nothing_to_miss_is_no_statement():
    with CaptureQueriesContext(connection) as captured:
        bulk.miss([])
        assert bulk.move([]) == 0
    assert [q["sql"] for q in captured if "UPDATE" in q["sql"]] == []
