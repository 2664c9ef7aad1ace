"""A schedule that SQL has left without a further slot: the next tick says that it is finished."""

from datetime import UTC, datetime, timedelta

import pytest

from dispatcher.tick import tick
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.rows import OK

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("sent_messages")]

HOUR = timedelta(hours=1)
LAST_DAY = datetime(9999, 12, 31, 23, 30, tzinfo=UTC)


def make(kind):
    create = ScheduledTask.objects
    soon = database_now() + 5 * HOUR
    return {
        "cron": lambda: create.create_cron("job", OK, "0 9 1 1 *"),
        "leap days": lambda: create.create_cron("job", OK, "0 0 29 2 *"),
        "one_time": lambda: create.create_one_time("job", OK, soon),
        "interval": lambda: create.create_interval("job", OK, 10 * 86400),
    }[kind]()


def by_sql(task, **columns):
    ScheduledTask.objects.filter(pk=task.pk).keep(**columns)


def told(task):
    row = ScheduledTask.objects.get(pk=task.pk)
    return row.enabled, row.state_reason, row.next_run_at


@pytest.mark.parametrize("kind", ["cron", "leap days", "one_time"])
def test_one_that_starts_when_its_last_slot_is_over_is_finished_by_the_next_tick(kind):
    task = make(kind)
    by_sql(task, starts_at=LAST_DAY)
    tick()
    assert told(task) == (False, "finished", None)
    assert ScheduledTask.history.first().state_reason == "finished"  # it says so there, too


@pytest.mark.parametrize("kind", ["cron", "leap days", "one_time", "interval"])
def test_one_that_has_ended_is_finished_by_the_next_tick(kind):
    task = make(kind)
    by_sql(task, ends_at=database_now() + HOUR)
    tick()
    assert told(task) == (False, "finished", None)


def test_one_that_starts_later_than_its_next_slot_has_a_later_one():
    task = make("interval")
    start = (database_now() + 1000 * HOUR).replace(microsecond=0)
    by_sql(task, starts_at=start)
    tick()
    assert told(task) == (True, "", start)


def test_one_that_has_a_slot_to_come_stays_as_it_is():
    task = make("cron")
    before = told(task)
    by_sql(task, starts_at=before[2], ends_at=before[2])
    tick()
    assert told(task) == before
