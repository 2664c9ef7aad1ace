"""What the database chose as the victim of a deadlock is done again, by whoever did it."""

from datetime import timedelta

import pytest
from django.db import OperationalError, connection

import dispatcher
from dispatcher import signals
from dispatcher.models import Status, TaskRun
from dispatcher.plan import misfire, planner
from dispatcher.publish import publisher
from scheduling.database import database_now
from tests.dispatcher.rows import OK, job, run_at

pytestmark = pytest.mark.django_db(transaction=True)

S = timedelta(seconds=1)


class Victim:
    """The first two statements that begin so are chosen; the third one passes."""

    def __init__(self, *beginnings):
        self.left, self.beginnings = 2, beginnings

    def __call__(self, execute, sql, params, many, context):
        if self.left and sql.lstrip().startswith(self.beginnings):
            self.left -= 1
            raise OperationalError(1213, "Deadlock found when trying to get lock")
        return execute(sql, params, many, context)


def after(victim, action):
    with connection.execute_wrapper(victim):
        result = action()
    assert victim.left == 0
    return result


@pytest.fixture
def due():
    """A schedule, and a moment when its first slot is within the horizon and not planned yet."""
    task = job(every=3600)
    return task, task.next_run_at - 30 * S


def test_a_batch_is_planned_again_as_a_batch(due, caplog):
    task, now = due
    victim = Victim('SELECT "scheduling_scheduledtask"', "SELECT `scheduling_scheduledtask`")
    planned = after(victim, lambda: planner.plan_batch([task.pk], now))
    assert (planned.planned, planned.set_aside) == (1, 0)
    assert not [r for r in caplog.records if getattr(r, "action", "") == "batch_redone"]


def test_one_row_of_a_batch_that_failed_is_planned_again(due):
    task, now = due
    victim = Victim('SELECT "scheduling_scheduledtask"', "SELECT `scheduling_scheduledtask`")
    planned = after(victim, lambda: planner._plan_alone(task.pk, now))
    assert (planned.planned, planned.set_aside) == (1, 0)


def test_late_runs_are_missed_again():
    now = database_now()
    task = job(misfire_policy="skip")
    run = run_at(now - 600 * S, task, status="planned", publish_at=now - 600 * S)
    decided = after(Victim("UPDATE"), lambda: misfire.decide_again([run], now))
    assert (decided.runs, decided.missed) == ([], 1)


def test_runs_are_taken_again():
    now = database_now()
    run = run_at(now, status="planned", publish_at=now - S)
    taken = after(Victim("UPDATE"), lambda: publisher.take(TaskRun.objects.publishable(now)))
    assert [each.pk for each in taken] == [run.pk]


def test_a_run_that_is_asked_for_is_written_again(sent_messages):
    run = after(Victim("INSERT"), lambda: dispatcher.run_task(OK))
    assert TaskRun.objects.filter(task=OK).count() == 1
    assert [message["headers"]["run_id"] for message in sent_messages()] == [str(run.pk)]


def test_runs_are_closed_again_and_told_of_once():
    now, told = database_now(), []
    run = run_at(now, status="planned", publish_at=now)

    def hear(run, **signal):
        told.append(run.pk)

    dispatcher.run_finished.connect(hear)
    try:
        closed = after(
            Victim("UPDATE"),
            lambda: signals.close(TaskRun.objects.filter(pk=run.pk), Status.CANCELLED, "by_person"),
        )
    finally:
        dispatcher.run_finished.disconnect(hear)
    assert (closed, told) == (1, [run.pk])


def test_runs_are_detached_again():
    task = job()
    run = run_at(database_now(), task)
    assert after(Victim("UPDATE"), lambda: TaskRun.objects.filter(pk=run.pk).detach()) == 1
