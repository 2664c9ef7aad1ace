"""One open transaction of an application: no pass waits for its rows, the others go on."""

import time
import uuid
from datetime import timedelta

import pytest
from django.db import connection

from dispatcher.models import TaskRun, Tick
from dispatcher.publish import publisher
from dispatcher.tick import rescue_pass, tick
from dispatcher.upkeep import rescue
from dispatcher.worker import pause_failing, record
from scheduling.database import brief_waits, database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.held import in_an_open_transaction
from tests.dispatcher.rows import job, run_at

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has no row locks"),
]

S = timedelta(seconds=1)


def holding(*rows):
    """As `with atomic(): row.save(); slow()` of an application does."""

    def work():
        for row in rows:
            type(row)._base_manager.filter(pk=row.pk).update(name="in the making")

    return in_an_open_transaction(work)


@pytest.fixture(autouse=True)
def not_for_long():
    """Without bounds each of these would wait until the lock is gone, a minute."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 40


def due(*tasks):
    ids = [task.pk for task in tasks]
    ScheduledTask.objects.filter(pk__in=ids).keep(
        next_run_at=None, armed_at=database_now() - 7200 * S
    )


def names():
    return set(TaskRun.objects.values_list("name", flat=True))


def steady():
    now = database_now()
    for seconds in range(20, 130, 20):
        Tick.objects.create(kind="rescue", started_at=now - seconds * S)


def test_the_tick_plans_the_others(sent_messages):
    locked, free = job("locked"), job("free")
    due(locked, free)
    with holding(locked):
        assert tick().error == ""
        assert names() == {"free"}
    tick()
    assert names() == {"free", "locked"}


def test_the_tick_resumes_the_others_and_the_locked_one_later(sent_messages):
    locked, free = job("locked"), job("free")
    for task in (locked, free):
        task.pause(until=database_now() + timedelta(hours=1))
    ids = [locked.pk, free.pk]
    ScheduledTask.objects.filter(pk__in=ids).keep(paused_until=database_now() - S)
    enabled = ScheduledTask.objects.filter(pk__in=ids, enabled=True)
    with holding(locked):
        tick()
        assert set(enabled.values_list("name", flat=True)) == {"free"}
    tick()
    assert enabled.count() == 2


def test_planning_comes_before_what_may_wait(monkeypatch, sent_messages):
    """Resuming runs the code of edits; whatever stops it, the slots were planned."""
    due(job("free"))
    paused = job("paused")
    paused.pause(until=database_now() + timedelta(hours=1))
    ScheduledTask.objects.filter(pk=paused.pk).keep(paused_until=database_now() - S)
    seen = []
    monkeypatch.setattr(ScheduledTask, "resume", lambda self: seen.append(names()))
    tick()
    assert seen == [{"free"}]


@pytest.mark.parametrize("heard", [False, True], ids=["unheard", "with a receiver"])
def test_rescue_expires_the_others(request, heard):
    if heard:
        request.getfixturevalue("told")
    past = database_now() - 60 * S
    columns = {"status": "published", "expires_at": past, "publish_at": past + 3600 * S}
    locked, free = run_at(past, **columns), run_at(past, **columns)
    with holding(locked):
        assert rescue.expire() == 1
    free.refresh_from_db()
    assert (free.status, free.reason) == ("missed", "expired")
    assert rescue.expire() == 1


def lost_run(task=None):
    now = database_now()
    columns = {"status": "running", "lease_until": now - 60 * S, "token": uuid.uuid4()}
    return run_at(now - 100 * S, task=task, **columns)


def test_rescue_loses_the_others():
    locked, free = lost_run(), lost_run()
    steady()
    with holding(locked):
        assert rescue.lose(database_now()) == 1
        assert TaskRun.objects.get(pk=free.pk).status == "lost"
    assert rescue.lose(database_now()) == 1


def test_a_whole_rescue_pass_beside_locked_runs_and_schedules(sent_messages):
    """Also where the end of a run would pause its schedule, which is locked."""
    task = job("locked", pause_after_failures=1)
    lost, other = lost_run(task), lost_run()
    steady()
    with holding(task, lost):
        rescue_pass()
        assert TaskRun.objects.get(pk=other.pk).status == "lost"
    rescue_pass()
    assert TaskRun.objects.get(pk=lost.pk).status == "lost"
    assert not ScheduledTask.objects.get(pk=task.pk).enabled


def test_the_end_of_a_run_waits_for_no_schedule():
    """In the worker: what is left, rescue does."""
    task = job("locked", pause_after_failures=1)
    run = lost_run(task)
    end = record.End("failed", "exception")
    with holding(task):
        assert record.fail(run.pk, run.token, end)
    run.refresh_from_db()
    assert run.status == "failed"
    assert ScheduledTask.objects.get(pk=task.pk).enabled
    assert pause_failing.pause_failing() == 0  # nobody has noticed the failure yet
    assert pause_failing.pause_if_failing(ScheduledTask.objects.get(pk=task.pk))


def test_what_was_sent_is_marked_but_for_what_is_locked(sent_messages):
    now = database_now()
    runs = [run_at(now, status="planned", queue="celery", publish_at=now) for _n in range(3)]
    taken = publisher.take(TaskRun.objects.publishable(now))
    with holding(runs[1]), brief_waits():
        assert publisher.publish(taken, now) == 2
    assert len(sent_messages()) == 3
    statuses = [TaskRun.objects.get(pk=run.pk).status for run in runs]
    assert statuses == ["published", "planned", "published"]


def test_late_runs_are_missed_but_for_what_is_locked(sent_messages):
    now = database_now()
    task = job("late", misfire_policy="skip")
    columns = {"status": "planned", "trigger": "schedule", "queue": "celery", "publish_at": now}
    locked, free = (run_at(now - n * 600 * S, task=task, **columns) for n in (2, 1))
    with holding(locked):
        tick()
        assert TaskRun.objects.get(pk=free.pk).status == "missed"
        assert TaskRun.objects.get(pk=locked.pk).status == "planned"


def test_a_session_is_as_it_was_afterwards():
    def timeout():
        sql = {"postgresql": "SHOW lock_timeout", "mysql": "SELECT @@innodb_lock_wait_timeout"}
        with connection.cursor() as cursor:
            cursor.execute(sql[connection.vendor])
            return cursor.fetchone()[0]

    before = timeout()
    with brief_waits():
        ScheduledTask.objects.filter(pk=0).keep(next_run_at=None)
    assert timeout() == before
