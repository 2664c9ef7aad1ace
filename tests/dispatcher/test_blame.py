"""A row is set aside for what it caused itself; what the environment caused is tried again."""

import contextlib
from datetime import timedelta

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.core.exceptions import ValidationError
from django.db import DatabaseError, DataError, IntegrityError, InternalError, OperationalError
from django.db.utils import InterfaceError, ProgrammingError

from dispatcher.models import TaskRun, Tick, bulk
from dispatcher.plan import planner
from dispatcher.publish import messages, publisher
from dispatcher.tick import tick
from scheduling import registry
from scheduling.database import blames_row, database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.rows import OK, job
from tests.postgres_errors import server_error

pytestmark = pytest.mark.django_db(transaction=True)


def told(kind, cause):
    error = kind(*cause.args)
    error.__cause__ = cause
    return error


def postgresql(sqlstate, kind=OperationalError):
    return told(kind, server_error(sqlstate))


ENVIRONMENT = {
    "a full disk": lambda: postgresql("53100"),
    "memory of the server": lambda: postgresql("53200"),
    "a statement timeout": lambda: postgresql("57014"),
    "a lock timeout": lambda: postgresql("55P03"),
    "a deadlock": lambda: postgresql("40P01"),
    "a shutdown": lambda: postgresql("57P01"),
    "a read-only replica": lambda: postgresql("25006", InternalError),
    "a column that is not there yet": lambda: postgresql("42703", ProgrammingError),
    "a permission that is missing": lambda: postgresql("42501", ProgrammingError),
    "a full disk of MySQL": lambda: InternalError(3, "Error writing file (Errcode: 28)"),
    "a full disk of MariaDB": lambda: OperationalError(1030, "Got error 28 from storage engine"),
    "a full table": lambda: OperationalError(1114, "The table is full"),
    "a statement that took too long": lambda: OperationalError(3024, "maximum statement time"),
    "a full disk of SQLite": lambda: OperationalError("database or disk is full"),
    "a locked database": lambda: OperationalError("database is locked"),
    "a read-only file": lambda: OperationalError("attempt to write a readonly database"),
    "a connection that is gone": lambda: InterfaceError("connection already closed"),
    "an error of unknown kind": lambda: DatabaseError("something"),
    "a soft time limit": SoftTimeLimitExceeded,
    "memory": MemoryError,
    "a file": lambda: OSError(28, "No space left on device"),
}
ROW = {
    "a value out of range": lambda: postgresql("22003", DataError),
    "a check": lambda: postgresql("23514", IntegrityError),
    "JSON nested too deep": lambda: postgresql("54001"),
    "a constraint of MariaDB": lambda: IntegrityError(4025, "CONSTRAINT failed"),
    "JSON of MySQL": lambda: OperationalError(3140, "Invalid JSON text"),
    "a value": lambda: ValueError("no number"),
    "recursion": RecursionError,
}


@pytest.mark.parametrize("case", [*ENVIRONMENT, *ROW])
def test_whom_an_error_blames(case):
    assert blames_row((ENVIRONMENT | ROW)[case]()) is (case in ROW)


def due(*tasks):
    ids = [task.pk for task in tasks]
    armed_at = database_now() - timedelta(hours=2)
    ScheduledTask.objects.filter(pk__in=ids).keep(
        next_run_at=None, armed_at=armed_at, created_at=armed_at
    )


def set_aside():
    return ScheduledTask.objects.filter(state_reason="set_aside").count()


@pytest.mark.sampled(4)
@pytest.mark.parametrize("case", ENVIRONMENT)
def test_no_row_is_set_aside_for_it_and_the_next_tick_plans_them(monkeypatch, sent_messages, case):
    """A mock in place of the insert: no disk is full at a given statement."""
    due(*(job() for _n in range(20)))

    def fail(runs):
        raise ENVIRONMENT[case]()

    with monkeypatch.context() as mocked:
        mocked.setattr(bulk, "insert", fail)
        try:
            tick()
        except Exception:
            assert Tick.objects.latest("pk").error  # it is loud
    assert (set_aside(), TaskRun.objects.count()) == (0, 0)
    tick()
    assert set(TaskRun.objects.values_list("name", flat=True)) == set(
        ScheduledTask.objects.values_list("name", flat=True)
    )


@pytest.mark.parametrize("case", ["a statement timeout", "a soft time limit", "memory"])
def test_also_while_a_row_is_decided(monkeypatch, sent_messages, case):
    due(*(job() for _n in range(3)))

    def fail(*args):
        raise ENVIRONMENT[case]()

    with monkeypatch.context() as mocked:
        mocked.setattr(planner, "decide", fail)
        with pytest.raises(type(ENVIRONMENT[case]())):
            tick()
    assert set_aside() == 0


def test_one_row_that_times_out_leaves_the_others(monkeypatch, sent_messages):
    slow, other = job("slow"), job("other")
    due(slow, other)
    insert = bulk.insert

    def fail(runs):
        if any(run.name == "slow" for run in runs):
            raise ENVIRONMENT["a statement timeout"]()
        insert(runs)

    monkeypatch.setattr(bulk, "insert", fail)
    tick()
    assert set(TaskRun.objects.values_list("name", flat=True)) == {"other"}
    assert set_aside() == 0


@pytest.mark.parametrize("case", ROW)
def test_the_culprit_is_set_aside_and_the_others_are_planned(monkeypatch, sent_messages, case):
    bad, other = job("bad"), job("other")
    due(bad, other)
    insert = bulk.insert

    def fail(runs):
        if any(run.name == "bad" for run in runs):
            raise ROW[case]()
        insert(runs)

    monkeypatch.setattr(bulk, "insert", fail)
    tick()
    assert set_aside() == 1
    assert ScheduledTask.objects.get(state_reason="set_aside").pk == bad.pk


@pytest.mark.parametrize("case", ["a full disk", "a statement timeout", "a soft time limit"])
def test_an_edit_that_meets_it_sets_nothing_aside(monkeypatch, case):
    def fail(*args):
        raise ENVIRONMENT[case]()

    task = job(every=60)
    with monkeypatch.context() as mocked:
        mocked.setattr(planner, "plan_locked", fail)
        task.interval_seconds = 30
        with pytest.raises(type(ENVIRONMENT[case]())):
            task.save()
    task.refresh_from_db()
    assert (task.interval_seconds, task.state_reason) == (60, "")


# Runs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [True, False], ids=["together", "one by one"])
def test_a_time_limit_that_strikes_the_publisher_fails_no_run(monkeypatch, together):
    now = database_now()
    columns = {"name": "x", "task": OK, "trigger": "manual", "queue": "celery", "publish_at": now}
    columns |= dict.fromkeys(("scheduled_for", "start_at", "planned_at"), now)
    run = TaskRun.objects.create(**columns)

    def strike(*args):
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(messages, "send", strike)
    if not together:
        monkeypatch.setattr(messages, "takes_batches", lambda producer: False)
    with pytest.raises(SoftTimeLimitExceeded):
        publisher.publish(publisher.take(TaskRun.objects.publishable(now)), now)
    run.refresh_from_db()
    assert run.status == "planned"


# Resume -------------------------------------------------------------------------------------------


@pytest.fixture
def to_resume():
    task = job()
    moment = database_now()
    task.pause(until=moment)
    return task


@pytest.mark.sampled(4)
@pytest.mark.parametrize("case", ENVIRONMENT)
def test_a_resume_that_fails_once_is_tried_again(monkeypatch, sent_messages, to_resume, case):
    def fail(self):
        raise ENVIRONMENT[case]()

    with monkeypatch.context() as mocked:
        mocked.setattr(ScheduledTask, "resume", fail)
        with contextlib.suppress(SoftTimeLimitExceeded, MemoryError):
            tick()
    to_resume.refresh_from_db()
    assert to_resume.paused_until is not None
    tick()
    to_resume.refresh_from_db()
    assert to_resume.enabled


def test_one_that_can_never_be_resumed_is_not_tried_each_minute(monkeypatch, to_resume):
    def fail(self):
        raise ValidationError("no further slot")

    monkeypatch.setattr(ScheduledTask, "resume", fail)
    tick()
    to_resume.refresh_from_db()
    assert (to_resume.enabled, to_resume.paused_until) == (False, None)


# Routes -------------------------------------------------------------------------------------------


def test_a_time_limit_in_a_route_function_sets_nothing_aside(monkeypatch):
    due(job())

    def strike(*args, **options):
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(registry, "queue_for", strike)
    with pytest.raises(SoftTimeLimitExceeded):
        tick()
    assert set_aside() == 0
