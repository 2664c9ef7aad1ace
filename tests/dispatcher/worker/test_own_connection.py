"""The worker's own connection: apart from what a task does to its own, bounded, never shared."""

import os
import signal
import threading
import time
import uuid
from types import SimpleNamespace

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, connections, transaction

import dispatcher
from dispatcher import run_finished
from dispatcher.models import TaskRun
from dispatcher.models.ends import End
from dispatcher.worker import celery_signals, gate, record
from scheduling.database import own_connection, session
from tests.dispatcher.models.test_verb_conditions import values
from tests.dispatcher.rows import job
from tests.dispatcher.worker.test_connections import CUT, SESSION
from tests.dispatcher.worker.test_gate import make, request_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def worker():
    own_connection.enable()
    yield
    own_connection.disable()


@pytest.fixture
def server(worker):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer: Django's connection is used")


def session_id():
    with connection.cursor() as cursor:
        cursor.execute(SESSION[connection.vendor])
        return cursor.fetchone()[0]


def ours():
    with own_connection.used():
        return session_id()


def end(request):
    sender = SimpleNamespace(request=request)
    celery_signals.on_success(sender, result=1)


# Apart --------------------------------------------------------------------------------------------


def test_it_is_one_and_the_same_and_not_the_projects(server):
    host, first = session_id(), ours()
    assert first != host
    connections.close_all()
    with own_connection.used(), own_connection.used():
        assert session_id() == first
    assert session_id() not in (first, None)


def test_outside_of_a_worker_and_for_eager_calls_it_is_djangos(db):
    host = connection.connection
    with own_connection.used():
        assert connection.connection is host
    own_connection.enable()
    try:
        with own_connection.used(eager=True):
            assert connection.connection is host
    finally:
        own_connection.disable()


def test_a_claim_and_an_end_do_not_stand_in_the_transaction_of_the_task(server):
    request = request_for(run := make())
    gate.enter(request)
    with transaction.atomic():
        Group.objects.create(name="uncommitted")
        end(request)
        transaction.set_rollback(True)
    assert values(run)["status"] == "succeeded"
    assert not Group.objects.exists()


@pytest.mark.parametrize("left", ["atomic", "autocommit", "begin", "closed"])
def test_a_connection_that_was_left_open_is_connected_again_before_the_next_task(worker, left):
    block = transaction.atomic()
    if left == "autocommit":
        transaction.set_autocommit(False)
    elif left == "begin":
        connection.cursor().execute("BEGIN")
    else:
        block.__enter__()
    Group.objects.create(name="uncommitted")
    if left == "closed":
        connection.close()

    celery_signals.on_prerun(task=SimpleNamespace(request=SimpleNamespace()))

    assert connection.get_autocommit() and not connection.in_atomic_block
    assert not Group.objects.exists()
    Group.objects.create(name="committed")
    assert session.is_unclean(connection) is False


def test_a_connection_that_cannot_be_mended_now_is_mended_by_its_next_query(worker, monkeypatch):
    def away(params):
        raise OperationalError("away")

    transaction.atomic().__enter__()
    monkeypatch.setattr(connections["default"], "get_new_connection", away)
    session.renew(connections["default"])
    monkeypatch.undo()
    assert not Group.objects.exists()


def test_on_sqlite_no_write_of_ours_stands_in_the_transaction_of_the_task(worker):
    if connection.vendor != "sqlite":
        pytest.skip("where there are own connections, they are used")
    request = request_for(run := make())
    gate.enter(request)
    transaction.atomic().__enter__()
    Group.objects.create(name="uncommitted")
    end(request)
    assert not connection.in_atomic_block
    assert values(run)["status"] == "succeeded"
    assert not Group.objects.exists()


def test_a_receiver_that_is_told_of_the_end_has_the_projects_connection(server):
    told = []
    run_finished.connect(hear := lambda run, **signal: told.append(session_id()))
    try:
        request = request_for(make())
        gate.enter(request)
        end(request)
        assert told == [session_id()]
    finally:
        run_finished.disconnect(hear)


def test_one_that_comes_back_unclean_is_not_used_again(server):
    first = ours()
    with own_connection.used():
        connection.cursor().execute("BEGIN")
    with own_connection.used():
        transaction.atomic().__enter__()
    assert ours() != first
    with own_connection.used():
        assert not connection.in_atomic_block


def test_an_eager_claim_that_meets_a_holder_spoils_nobodys_transaction(worker):
    task = job(overlap_policy="skip")
    holder, second = dispatcher.run_now(task), dispatcher.run_now(task)
    with transaction.atomic():
        gate.enter(request_for(holder, is_eager=True))
        with pytest.raises(gate.Vetoed):
            gate.enter(request_for(second, is_eager=True))
        Group.objects.create(name="mine")
    assert (values(second)["status"], Group.objects.count()) == ("skipped", 1)


# Lost, and limited --------------------------------------------------------------------------------


def test_a_lost_connection_is_made_again_and_claim_and_end_are_written(server):
    request = request_for(run := make())
    for step in (gate.enter, end):
        cut = ours()
        with connection.cursor() as operator:
            operator.execute(CUT[connection.vendor], [cut])
        step(request)
    assert values(run)["status"] == "succeeded"


def test_an_end_that_cannot_be_written_is_kept_and_written_later(server, monkeypatch):
    monkeypatch.setattr(record, "_start_keeper", lambda: None)
    request = request_for(run := make())
    gate.enter(request)

    def away(self):
        raise OperationalError("None was free")

    with monkeypatch.context() as patch:
        patch.setattr(own_connection._Pool, "take", away)
        end(request)
    assert values(run)["status"] == "running"
    record.flush_kept()
    assert values(run)["status"] == "succeeded"


@pytest.mark.parametrize("pooled", [False, True])
def test_nobodys_lock_is_waited_for_without_end(server, monkeypatch, pooled):
    """Also behind a pooler, which a session with another process than it says looks like."""
    monkeypatch.setattr(session, "LOCK_SECONDS", 1)
    if pooled and connection.vendor != "postgresql":
        pytest.skip("of PostgreSQL's poolers")
    if pooled:
        monkeypatch.setattr(session, "_LOCAL", session._LOCAL.replace("3s", "1s"))
        monkeypatch.setattr(session, "_is_pooled", lambda connection, pid: True)
    run = make()
    with transaction.atomic():
        TaskRun.objects.select_for_update().get(pk=run.pk)
        began = time.monotonic()
        with own_connection.used(), pytest.raises(OperationalError):
            TaskRun.objects.filter(pk=run.pk).update(reason="x")
        assert 0.5 < time.monotonic() - began < 20
    with own_connection.used():
        assert TaskRun.objects.filter(pk=run.pk).update(reason="x") == 1
        assert TaskRun.objects.get(pk=run.pk).reason == "x"
        with transaction.atomic():
            assert TaskRun.objects.filter(pk=run.pk).update(reason="y") == 1
    assert values(run)["reason"] == "y"


def test_the_limits_are_in_the_session(server):
    with own_connection.used(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SHOW lock_timeout")
            assert cursor.fetchone() == ("3s",)
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("10s",)
        else:
            cursor.execute("SELECT @@innodb_lock_wait_timeout")
            assert cursor.fetchone() == (3,)


# Processes and threads ----------------------------------------------------------------------------


def test_threads_share_a_few_and_wait_for_one(server):
    inside, most, seen = [], [], set()
    lock = threading.Lock()

    def use():
        for _time in range(5):
            with own_connection.used():
                with lock:
                    inside.append(1)
                    most.append(len(inside))
                seen.add(session_id())
                with lock:
                    inside.pop()
        connections.close_all()

    threads = [threading.Thread(target=use) for _thread in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) <= own_connection.SIZE
    assert len(seen) <= own_connection.SIZE


def test_none_crosses_a_fork(server):
    mine = ours()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            connections["default"].connection = None  # Celery's business, and left alone here
            os.write(writer, str(ours()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    theirs = os.read(reader, 100)
    os.waitpid(child, 0)
    os.close(reader)
    assert theirs and int(theirs) != mine
    assert ours() == mine


def test_a_fork_while_a_thread_holds_one_does_not_hang_the_child(server):
    holding, done = threading.Event(), threading.Event()

    def hold():
        with own_connection.used():
            session_id()
            holding.set()
            done.wait(30)

    threads = [threading.Thread(target=hold) for _n in range(own_connection.SIZE)]
    for thread in threads:
        thread.start()
    holding.wait(30)
    child = os.fork()
    if not child:
        connections["default"].connection = None
        os._exit(0 if ours() else 1)
    assert os.waitpid(child, 0)[1] == 0
    done.set()
    for thread in threads:
        thread.join()


def test_a_soft_time_limit_strikes_after_the_claim_and_not_within(server):
    def strike(number, frame):
        raise SoftTimeLimitExceeded

    before = signal.signal(signal.SIGUSR1, strike)
    request = request_for(run := make())
    try:
        with pytest.raises(SoftTimeLimitExceeded), own_connection.used():
            os.kill(os.getpid(), signal.SIGUSR1)
            gate.enter(request)
        assert signal.getsignal(signal.SIGUSR1) is strike
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert values(run)["token"] == request.run_token
    assert record.fail(run.pk, request.run_token, End("failed", "time_limit"))
    assert uuid.UUID(str(request.run_token))
