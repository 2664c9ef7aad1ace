"""What the gate does with a message: a claim, a veto, or nothing at all."""

import os
import uuid
from datetime import timedelta
from types import SimpleNamespace

import pytest
from celery import Celery, Task
from django.db import OperationalError, connection, transaction

import dispatcher
from dispatcher import run_finished
from dispatcher.models import TaskRun
from dispatcher.models.verbs import TaskRunQuerySet
from dispatcher.worker import celery_signals, gate, run_log
from scheduling.database import database_now
from tests.dispatcher.models.test_verb_conditions import values
from tests.dispatcher.rows import OK, job

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)

S = timedelta(seconds=1)


def make(**columns):
    now = database_now()
    defaults = {"name": "loose", "task": OK, "trigger": "manual", "status": "published"}
    times = {"scheduled_for": now, "start_at": now, "planned_at": now, "publish_at": now}
    return TaskRun.objects.create(**defaults | times | columns)


def request_for(run, **columns):
    defaults = {"id": str(uuid.uuid4()), "hostname": "w@here", "retries": 0, "args": [1]}
    defaults |= {"kwargs": {}, "run_id": str(run.pk), "attempt": run.attempt}
    return SimpleNamespace(**defaults | columns)


class Fault:
    """The database fails at UPDATEs, before it did anything or after; as often as is said."""

    def __init__(self, times=1, *, after=False, message="server closed the connection"):
        self.left, self.after, self.message, self.met = times, after, message, 0

    def __call__(self, execute, sql, params, many, context):
        if not sql.startswith("UPDATE"):
            return execute(sql, params, many, context)
        self.met += 1
        if self.left <= 0:
            return execute(sql, params, many, context)
        self.left -= 1
        if self.after:
            execute(sql, params, many, context)
        raise OperationalError(self.message)


def test_a_claim_says_who_runs_it(monkeypatch):
    worker = uuid.uuid4()
    monkeypatch.setenv(gate.WORKER_ID, str(worker))
    run = make()
    request = request_for(run)
    gate.enter(request)
    row = values(run)
    assert (row["status"], row["attempt"], row["worker"]) == ("running", 1, "w@here")
    assert (row["worker_uuid"], row["pid"]) == (worker, os.getpid())
    assert (row["message_id"], row["token"]) == (request.id, request.run_token)


def test_without_a_worker_of_our_own_and_without_a_name_it_starts_all_the_same(monkeypatch):
    monkeypatch.delenv(gate.WORKER_ID, raising=False)
    run = make()
    gate.enter(request_for(run, hostname=None, retries=None))
    assert (values(run)["worker"], values(run)["worker_uuid"]) == ("", None)


def test_the_attempt_and_the_retries_of_the_message_decide(monkeypatch):
    run = make(status="retrying", attempt=2)
    with pytest.raises(gate.Vetoed):
        gate.enter(request_for(run, attempt=1))
    gate.enter(request_for(run, attempt=2))
    gate.enter(request_for(run, attempt=2, retries=1))
    assert (values(run)["attempt"], values(run)["retries"]) == (2, 1)


@pytest.mark.parametrize("attempt", [None, "2", 2.0, True])
def test_a_message_without_an_attempt_that_is_a_number_is_none_of_ours(attempt):
    """`run_id` is a name that others use for headers of their own."""
    run = make()
    request = request_for(run, attempt=attempt)
    gate.enter(request)
    assert values(run)["status"] == "published"
    assert not hasattr(request, "run_token")


@pytest.mark.parametrize(("tries", "known"), [(3, 3), (None, 1), ("3", 1)])
def test_the_messages_of_an_attempt_are_counted_by_our_header_or_as_celery_counts(tries, known):
    run = make(status="retrying", attempt=1, token=uuid.uuid4())
    gate.enter(request_for(run, attempt=1, retries=1, tries=tries))
    assert values(run)["retries"] == known


def test_a_vetoed_message_starts_nothing_that_listeners_would_count():
    told = []
    run_finished.connect(hear := lambda **signal: told.append(signal))
    run = make(status="cancelled")
    run_log.take()  # of the test before
    try:
        with pytest.raises(gate.Vetoed):
            gate.enter(request := request_for(run))
        sender = SimpleNamespace(request=request)
        celery_signals.on_postrun(sender, state="IGNORED", retval=gate.Vetoed("no"))
    finally:
        run_finished.disconnect(hear)
    assert (told, run_log.take()) == ([], "")
    assert values(run)["status"] == "cancelled"


def do():
    pass


class Chatty(Task):
    """A base class that calls the hook of its own base, which has the gate around it, too."""

    def before_start(self, task_id, args, kwargs):
        super().before_start(task_id, args, kwargs)


def test_a_hook_that_passes_the_gate_twice_starts_its_run_once():
    from dispatcher.worker.installation import guard

    app = Celery("twice", set_as_current=False)
    task = app.task(do, name="twice", base=Chatty, shared=False)
    run = make()
    task.push_request(**vars(request_for(run)))
    try:
        for before_start in (guard(guard(Task.before_start)), guard(Chatty.before_start)):
            before_start(task, task.request.id, (), {})
        token = task.request.run_token
    finally:
        task.pop_request()
    assert (values(run)["status"], values(run)["token"]) == ("running", token)


def test_a_run_is_not_started_twice_by_two_deliveries_of_one_message(caplog):
    run = make()
    first = request_for(run)
    gate.enter(first)
    again = request_for(run, id=first.id)
    caplog.set_level("INFO", "dispatcher.worker.gate")
    with pytest.raises(gate.Vetoed):
        gate.enter(again)
    assert not hasattr(again, "run_token")
    assert values(run)["token"] == first.run_token
    [veto] = [line for line in caplog.records if line.name == "dispatcher.worker.gate"]
    assert (veto.action, veto.run) == ("vetoed", str(run.pk))


def test_what_expired_unstarted_is_missed_and_told_of():
    told = []
    run_finished.connect(hear := lambda run, **signal: told.append((run.pk, run.status)))
    try:
        late = make(expires_at=database_now() - S)
        also_late = make(expires_at=database_now() - S)
        with pytest.raises(gate.Vetoed):
            gate.enter(request_for(late))
        assert (values(late)["status"], values(late)["reason"]) == ("missed", "expired")
        assert values(also_late)["status"] == "published"
        with pytest.raises(gate.Vetoed):
            gate.enter(request_for(late))
        assert told == [(late.pk, "missed")]
    finally:
        run_finished.disconnect(hear)


@pytest.mark.parametrize("columns", [{"attempt": 1}, {"status": "cancelled"}])
def test_a_vetoed_run_that_has_not_expired_stays_as_it_is(columns):
    run = make(expires_at=database_now() + 60 * S, **columns)
    before = values(run)
    with pytest.raises(gate.Vetoed):
        gate.enter(request_for(run))
    assert values(run) == before


# The database -----------------------------------------------------------------------------------


@committing
def test_a_claim_whose_answer_was_lost_on_the_way_is_ours():
    run = make()
    request = request_for(run)
    with connection.execute_wrapper(Fault(after=True)):
        gate.enter(request)
    assert (values(run)["status"], values(run)["token"]) == ("running", request.run_token)


@committing
def test_a_claim_gets_a_fresh_connection_where_the_one_it_had_is_dead():
    run = make()
    dead = connection.connection
    with connection.execute_wrapper(Fault()):
        gate.enter(request_for(run))
    assert values(run)["status"] == "running"
    assert connection.connection is not dead


@committing
def test_a_database_that_is_away_vetoes_and_leaves_the_run_as_it_was():
    run = make()
    before, fault, request = values(run), Fault(times=99), request_for(run)
    with connection.execute_wrapper(fault), pytest.raises(gate.Vetoed, match="database is away"):
        gate.enter(request)
    assert (values(run), fault.met) == (before, 3)
    assert not hasattr(request, "run_token")


@committing
def test_another_writer_in_the_way_is_waited_for_by_the_verb_and_not_once_more():
    run, open_one = make(), connection.connection
    fault = Fault(times=99, message="database is locked")
    with connection.execute_wrapper(fault), pytest.raises(gate.Vetoed):
        gate.enter(request_for(run))
    assert fault.met == 3
    assert connection.connection is open_one


@committing
def test_in_somebodys_transaction_the_connection_is_theirs_and_stays():
    run = make()
    with transaction.atomic():
        theirs = connection.connection
        with connection.execute_wrapper(Fault(times=9)), pytest.raises(gate.Vetoed):
            gate.enter(request_for(run))
        assert (connection.connection, connection.closed_in_transaction) == (theirs, False)
        transaction.set_rollback(True)


def test_an_expired_run_that_cannot_be_marked_is_vetoed_all_the_same(monkeypatch):
    def away(*args, **params):
        raise OperationalError("away")

    run = make(expires_at=database_now() - S)
    monkeypatch.setattr(TaskRunQuerySet, "close", away)
    with pytest.raises(gate.Vetoed):
        gate.enter(request_for(run))
    assert values(run)["status"] == "published"


@committing
def test_a_claim_that_meets_a_holder_is_decided_by_its_policy():
    task = job(overlap_policy="skip")
    holder, second = dispatcher.run_now(task), dispatcher.run_now(task)
    gate.enter(request_for(holder))
    with pytest.raises(gate.Vetoed):
        gate.enter(request_for(second))
    assert (values(second)["status"], values(second)["reason"]) == ("skipped", "overlap")
