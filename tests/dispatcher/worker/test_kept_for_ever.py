"""An end that can never be written as it is: stored without what is in the way, and in nobody's."""

import os
import uuid
from datetime import timedelta

import pytest
from django.db import DataError, OperationalError, connection

from dispatcher.models import TaskRun
from dispatcher.models.ends import End
from dispatcher.worker import record
from scheduling.database import database_now
from tests.dispatcher.rows import run_at

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(record, "_start_keeper", lambda: None)  # the tests flush
    record._kept.clear()
    yield
    record._kept.clear()


def running():
    now = database_now()
    return run_at(now - timedelta(seconds=9), status="running", token=uuid.uuid4())


def nested(levels):
    value = 0
    for _level in range(levels):
        value = [value]
    return value


def test_a_result_that_the_database_does_not_take_does_not_lose_the_success():
    """On MariaDB by its depth; elsewhere by what a mock has the database say of it."""
    run = running()
    result = nested(40)
    assert record.succeed(run.pk, run.token, End("succeeded", result=result, log="a line"))
    run.refresh_from_db()
    assert run.status == "succeeded"
    deep = connection.vendor == "mysql" and connection.mysql_is_mariadb
    assert ("not_stored" in run.result) if deep else (run.result == result)


@pytest.mark.parametrize("verb", ["succeed", "fail"])
def test_what_cannot_be_stored_is_left_out_and_said(monkeypatch, verb):
    run, end, real = running(), type(TaskRun.objects.all()).end, []

    def refuse(self, run_id, token, given, **held):
        real.append(given)
        if given.log or given.traceback:
            raise DataError("invalid byte sequence")
        return end(self, run_id, token, given, **held)

    monkeypatch.setattr(type(TaskRun.objects.all()), "end", refuse)
    status = {"succeed": "succeeded", "fail": "failed"}[verb]
    given = End(status, result=1 if verb == "succeed" else None, exception="E: x", log="a line")
    record.write_or_keep(lambda: getattr(record, verb)(run.pk, run.token, given))
    run.refresh_from_db()
    assert run.status == status
    assert not record._kept
    said = str(run.result) + run.exception
    assert "invalid byte sequence" in said


def test_one_that_can_never_be_written_is_no_obstacle_for_the_others():
    run = running()

    def never():
        raise DataError("out of range")

    record._kept.append(never)
    record._kept.append(lambda: record.succeed(run.pk, run.token, End("succeeded")))
    record.flush_kept()
    assert not record._kept
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_a_database_that_is_away_keeps_all_of_them():
    def away():
        raise OperationalError("the connection is closed")

    record._kept.append(away)
    record._kept.append(lambda: True)
    record.flush_kept()
    assert len(record._kept) == 2


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_is_forked_while_the_lock_is_held_does_not_hang():
    record._kept.append(lambda: True)
    with record._flush_lock:
        child = os.fork()
        if child == 0:
            free = record._flush_lock.acquire(timeout=5) and record._keeper_lock.acquire(timeout=5)
            os._exit(0 if free and not record._kept else 1)
        _pid, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert len(record._kept) == 1
