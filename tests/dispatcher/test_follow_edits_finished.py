"""Edits of a schedule that is finished and whose last run has not started, or goes on."""

from datetime import timedelta

import pytest

from dispatcher.models import TaskRun
from dispatcher.tick import tick
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.rows import OK

pytestmark = pytest.mark.django_db(transaction=True)

S = timedelta(seconds=1)


@pytest.fixture
def finished(sent_messages):
    """A one-time schedule whose slot has come, whose message no worker has taken."""
    task = ScheduledTask.objects.create_one_time("once", OK, database_now() + 2 * S, queue="wrong")
    slot = task.run_at
    tick(slot + S)
    past = slot - 20 * S  # not waited for: the rows move instead
    ScheduledTask.objects.filter(pk=task.pk).keep(run_at=past)
    TaskRun.objects.update(slot=past, scheduled_for=past, start_at=past)
    task.refresh_from_db()
    assert (task.enabled, task.state_reason) == (False, "finished")
    assert only_run().status == "published"
    return task


def only_run():
    return TaskRun.objects.get()


def by_save(task):
    task.queue = "celery"
    task.save()


def by_update(task):
    ScheduledTask.objects.filter(pk=task.pk).update(queue="celery")


@pytest.mark.parametrize("edit", [by_save, by_update])
def test_the_run_that_waits_is_made_anew_with_what_was_corrected(finished, sent_messages, edit):
    before = only_run()

    edit(finished)

    run = only_run()
    assert (run.pk == before.pk, run.slot, run.status, run.queue) == (
        False,
        before.slot,
        "published",
        "celery",
    )
    finished.refresh_from_db()
    assert (finished.enabled, finished.state_reason) == (False, "finished")
    assert run.revision == finished.revision
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(run.pk)]


@pytest.mark.parametrize("edit", [by_save, by_update])
def test_a_run_that_waits_for_its_retry_stays(finished, edit):
    columns = {"status": "retrying", "attempt": 2, "publish_at": database_now() + 600 * S}
    TaskRun.objects.update(**columns)

    edit(finished)

    run = only_run()
    assert (run.status, run.attempt, run.reason) == ("retrying", 2, "")


def test_a_remark_touches_no_run(finished):
    before = only_run()
    finished.description = "once a year"
    finished.save()
    assert only_run().pk == before.pk


def test_to_delete_it_cancels_its_run(finished):
    finished.delete()
    assert (only_run().status, only_run().reason) == ("cancelled", "deleted")
