"""The worker's main process: its heart, and the ends that a pool child cannot tell."""

import os
import time
import uuid
from datetime import timedelta
from types import SimpleNamespace

import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import Terminated, WorkerLostError
from celery import signals
from celery.app import app_or_default
from celery.exceptions import Ignore, Reject, Retry
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from django.db import OperationalError, connection

import dispatcher
from dispatcher import run_finished
from dispatcher.models import Status, TaskRun, Worker
from dispatcher.worker import celery_signals, gate, leases, record
from dispatcher.worker.consumer import ResilientConsumer
from dispatcher.worker.request import RunRequest
from scheduling.database import database_now
from tests.dispatcher.models.test_verb_conditions import values
from tests.dispatcher.rows import OK, job

pytestmark = pytest.mark.django_db(transaction=True)

S = timedelta(seconds=1)


def make(task=None, **columns):
    now = database_now()
    defaults = {"scheduled_task": task, "name": "job", "task": OK, "trigger": "manual"}
    defaults |= {"scheduled_for": now, "start_at": now, "planned_at": now, "message_id": "m"}
    defaults |= {"status": "running", "attempt": 1, "token": uuid.uuid4()}
    return TaskRun.objects.create(**defaults | columns)


def outcome(run):
    row = values(run)
    return (row["status"], row["reason"])


def is_closed():
    return connection.connection is None


@pytest.fixture
def told():
    found = []
    run_finished.connect(hear := lambda run, **signal: found.append(run.pk))
    yield found
    run_finished.disconnect(hear)


# Its heart ----------------------------------------------------------------------------------------


def heart_of(**columns):
    defaults = {"id": uuid.uuid4(), "hostname": "w@here", "pid": 1, "pool": "prefork"}
    return leases.Heart(Worker(**defaults | columns))


@pytest.fixture
def active(monkeypatch):
    """The requests that this worker is busy with."""
    requests = set()
    monkeypatch.setattr(state, "active_requests", requests)

    def add(run_id):
        headers = {} if run_id is None else {"run_id": str(run_id), "attempt": 1}
        requests.add(Active(headers))

    return add


class Active:
    def __init__(self, request_dict):
        self.request_dict = request_dict


def test_a_beat_says_that_the_worker_lives_and_renews_the_runs_that_it_has(active):
    heart, other = heart_of(), uuid.uuid4()
    lease = database_now()
    columns = {"worker_uuid": heart.worker.pk, "lease_until": lease}
    here, elsewhere = make(**columns), make(**columns)
    foreign = make(**columns | {"worker_uuid": other})
    for run_id in (here.pk, foreign.pk, None):
        active(run_id)

    before = database_now()
    heart.beat()

    assert values(here)["lease_until"] >= before + 45 * S
    assert values(elsewhere)["lease_until"] == values(foreign)["lease_until"] == lease
    row = Worker.objects.get()
    assert (row.pk, row.hostname) == (heart.worker.pk, "w@here")
    assert row.started_at >= before and row.seen_at >= before
    assert before + 10 * S <= row.lease_until <= database_now() + 10 * S
    assert abs(row.clock_offset) < 60


def test_a_worker_is_written_down_once_and_again_when_its_row_is_gone(active):
    heart = heart_of()
    heart.beat()
    first = Worker.objects.get()
    heart.beat()
    second = Worker.objects.get()
    assert second.started_at == first.started_at
    assert second.seen_at > first.seen_at and second.lease_until > first.lease_until
    Worker.objects.all().delete()
    heart.beat()  # finds that nobody knows it
    heart.beat()
    assert Worker.objects.get().pk == heart.worker.pk


@pytest.mark.parametrize("error", [OperationalError, ValueError])
def test_a_heart_goes_on_after_an_error_and_says_so(active, monkeypatch, caplog, error):
    def fail():
        raise error("not now")

    heart, run = heart_of(), make(lease_until=database_now())
    TaskRun.objects.filter(pk=run.pk).update(worker_uuid=heart.worker.pk)
    active(run.pk)
    beats = []
    monkeypatch.setattr(leases, "WORD_SECONDS", 0.01)
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(leases, "clock_offset", fail)
    beat = heart.beat

    def counted():
        beat()
        beats.append(is_closed())
        if len(beats) == 3:
            monkeypatch.setattr(leases, "clock_offset", lambda: 0.5)
        if len(beats) == 6:
            heart.stopping.set()

    monkeypatch.setattr(heart, "beat", counted)
    heart.start()
    heart.join(timeout=30)

    assert not heart.is_alive()
    assert beats == [True] * 6
    failed = [line for line in caplog.records if getattr(line, "action", "") == "renewal_failed"]
    assert len(failed) == 3
    assert Worker.objects.get().clock_offset == 0.5
    assert values(run)["lease_until"] > database_now() + 30 * S


def test_a_beat_leaves_no_connection_for_the_next_pool_child(active):
    connection.ensure_connection()
    heart_of().beat()
    assert is_closed()


def test_a_stopped_heart_says_so_and_beats_no_more(active):
    heart = heart_of()
    heart.start()
    heart.stop()
    assert not heart.is_alive()
    assert is_closed()
    row = Worker.objects.get()
    assert row.stopped_at is not None and row.lease_until is None


def test_a_heart_that_cannot_say_that_it_stops_stops_all_the_same(active, monkeypatch):
    def away(*args):
        raise OperationalError("away")

    heart = heart_of()
    heart.start()
    monkeypatch.setattr(type(Worker.objects.all()), "stop", away)
    connection.ensure_connection()
    heart.stop()
    assert not heart.is_alive()
    assert is_closed()


def test_the_requests_are_copied_again_where_another_thread_changed_them(monkeypatch):
    class Changing(set):
        left = 2

        def __iter__(self):
            if self.left:
                self.left -= 1
                raise RuntimeError("Set changed size during iteration")
            return super().__iter__()

    run_id = uuid.uuid4()
    changing = Changing(
        [
            Active({"run_id": str(run_id), "attempt": 1}),
            Active({"run_id": "x", "attempt": 1}),
            Active({}),
        ]
    )
    monkeypatch.setattr(state, "active_requests", changing)
    assert leases.active_run_ids() == {run_id}
    assert changing.left == 0


def test_only_a_daemon_thread_lets_the_worker_end():
    assert heart_of().daemon is True


# Its start and its end ----------------------------------------------------------------------------


@pytest.fixture
def identity(monkeypatch):
    monkeypatch.setenv(gate.WORKER_ID, "")
    monkeypatch.setenv(celery_signals.MAIN_PID, "")
    leases.identify()
    return uuid.UUID(os.environ[gate.WORKER_ID])


@pytest.fixture
def started(identity, active, monkeypatch):
    """A worker that is ready."""
    monkeypatch.setattr(leases, "_heart", None)
    pool = type("TaskPool", (), {"__module__": "celery.concurrency.prefork"})
    app = app_or_default()
    controller = SimpleNamespace(hostname="w@here", pool_cls=pool, concurrency=3, app=app)
    leases.on_ready(sender=SimpleNamespace(controller=controller))
    yield leases._heart
    leases._heart.stop()


def test_each_start_is_a_worker_of_its_own(identity):
    assert os.environ[celery_signals.MAIN_PID] == str(os.getpid())
    leases.identify()
    assert os.environ[gate.WORKER_ID] != str(identity)


def test_a_worker_that_is_ready_says_what_it_is(identity, started):
    started.stop()
    row = Worker.objects.get()
    assert (row.pk, row.hostname, row.pid) == (identity, "w@here", os.getpid())
    assert (row.pool, row.concurrency, row.can_terminate) == ("prefork", 3, True)
    assert row.queues == sorted(app_or_default().amqp.queues.consume_from)
    assert {"dispatcher.rescue", "dispatcher.tick"} <= set(row.tasks)
    assert row.tasks == sorted(row.tasks)
    assert not [name for name in row.tasks if name.startswith("celery.")]


@pytest.fixture
def slow_database(monkeypatch):
    register = leases.Heart._register
    monkeypatch.setattr(leases.Heart, "_register", lambda heart: time.sleep(0.3) or register(heart))


def test_a_worker_is_known_before_it_takes_the_message_that_may_kill_it(slow_database, started):
    assert Worker.objects.get().pid == os.getpid()


def test_a_worker_that_shuts_down_writes_what_it_kept_and_says_that_it_ends(started):
    written = []
    record._kept.append(lambda: bool(written.append("end")) or True)
    leases.on_shutdown()
    assert (written, len(record._kept)) == (["end"], 0)
    assert not started.is_alive()
    assert Worker.objects.get().stopped_at is not None


def test_a_worker_that_never_was_ready_writes_what_it_kept(monkeypatch):
    monkeypatch.setattr(leases, "_heart", None)
    written = []
    record._kept.append(lambda: bool(written.append("end")) or True)
    leases.on_shutdown()
    assert written == ["end"]


def test_a_pool_child_that_ends_writes_what_it_kept():
    celery_signals.connect()
    written = []
    record._kept.append(lambda: bool(written.append("end")) or True)
    signals.worker_process_shutdown.send(sender=None, pid=os.getpid(), exitcode=0)
    assert (written, len(record._kept)) == (["end"], 0)


def test_the_worker_listens_to_its_start_and_its_end(monkeypatch):
    heard = []
    monkeypatch.setattr(leases, "on_ready", lambda **signal: heard.append("ready"))
    monkeypatch.setattr(leases, "on_shutdown", lambda **signal: heard.append("shutdown"))
    for signal in (signals.worker_ready, signals.worker_shutdown):
        monkeypatch.setattr(signal, "receivers", [])
    leases.connect()
    leases.connect()
    for signal in (signals.worker_ready, signals.worker_shutdown):
        signal.send(sender=object())  # one that no cache of receivers knows
    assert heard == ["ready", "shutdown"]


# What happens to a pool child ---------------------------------------------------------------------


@pytest.fixture
def silent(monkeypatch):
    """Celery's own part of a request, which needs a worker around it, does nothing."""
    did = []
    for name in ("on_timeout", "on_failure", "_announce_revoked"):
        monkeypatch.setattr(Request, name, lambda self, *a, _n=name: did.append(_n) or a)
    return did


def request_of(run, message_id="m", **headers):
    request = RunRequest.__new__(RunRequest)
    headers = {"run_id": str(run.pk) if run else None, "attempt": 1, "retries": 0} | headers
    request._request_dict, request.id = headers, message_id
    return request


def failure(error):
    """What Celery hands over for an exception in, or of, a pool child."""
    try:
        raise error
    except type(error):
        return ExceptionInfo()


def test_a_hard_time_limit_fails_the_run(silent, told):
    run = make()
    request_of(run).on_timeout(False, 7)
    assert outcome(run) == ("failed", "time_limit")
    assert values(run)["reason_params"] == {"soft": False, "seconds": 7}
    assert (silent, told) == (["on_timeout"], [run.pk])


def test_a_soft_time_limit_is_told_by_the_process_itself(silent):
    run = make()
    request_of(run).on_timeout(True, 7)
    assert (outcome(run), silent) == (("running", ""), ["on_timeout"])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (WorkerLostError("signal 9"), "process_gone"),
        (Terminated(9), "process_gone"),
        (SystemExit(3), "exited"),
    ],
)
def test_a_run_whose_process_is_gone_is_lost(silent, error, reason):
    run = make()
    request_of(run).on_failure(failure(error))
    assert outcome(run) == ("lost", reason)
    assert type(error).__name__ in values(run)["exception"]
    assert silent == ["on_failure"]


@pytest.mark.parametrize(
    "error", [ValueError("x"), MemoryError(), Retry(), Ignore(), Reject("no", requeue=False)]
)
def test_what_the_process_tells_itself_is_not_told_for_it(silent, error):
    run = make()
    request_of(run).on_failure(failure(error))
    assert (outcome(run), silent) == (("running", ""), ["on_failure"])


def test_celery_is_told_what_it_would_have_been(silent):
    einfo = failure(WorkerLostError("gone"))
    assert request_of(None).on_failure(einfo, False, True) == (einfo, False, True)
    assert request_of(None).on_failure(einfo) == (einfo, True, False)


@pytest.mark.parametrize("headers", [{"attempt": 2}, {"retries": 1}, {"run_id": "x"}])
def test_the_death_of_another_attempts_process_is_not_this_ones(silent, headers):
    run = make()
    request_of(run, **headers).on_failure(failure(WorkerLostError("gone")))
    request_of(run, "another message").on_failure(failure(WorkerLostError("gone")))
    assert outcome(run) == ("running", "")


def test_the_first_message_has_no_count_of_retries_or_attempts(silent):
    run = make()
    request_of(run, retries=None, attempt=0).on_failure(failure(WorkerLostError("gone")))
    assert outcome(run) == ("lost", "process_gone")


@pytest.mark.parametrize(
    "happens",
    [
        lambda request: request.on_timeout(False, 7),
        lambda request: request.on_failure(failure(WorkerLostError("gone"))),
        lambda request: request._announce_revoked("terminated", True, "15", False),
    ],
    ids=["timeout", "failure", "revoked"],
)
def test_what_it_writes_leaves_no_connection_for_the_next_pool_child(silent, happens):
    run = make()
    happens(request_of(run))
    assert is_closed()
    assert outcome(run)[0] != "running"


def test_an_end_that_cannot_be_written_there_leaves_no_connection_either(silent, monkeypatch):
    def away(*args):
        connection.ensure_connection()
        raise OperationalError("away")

    monkeypatch.setattr(record, "_start_keeper", lambda: None)
    monkeypatch.setattr(record, "fail_by_message", away)
    request_of(make()).on_timeout(False, 7)
    assert (len(record._kept), is_closed()) == (1, True)
    record._kept.clear()


# Is revoked by Celery's own means -----------------------------------------------------------------


def revoke(run, message_id="m", **headers):
    request_of(run, message_id, **headers)._announce_revoked("terminated", True, "15", False)


def test_who_revokes_the_message_of_a_running_run_cancels_it(silent, told):
    run = make()
    revoke(run)
    assert outcome(run) == ("cancelled", "revoked")
    assert (silent, told) == (["_announce_revoked"], [run.pk])
    revoke(run)
    assert told == [run.pk]


@pytest.mark.parametrize(("status", "attempt"), [("published", 0), ("retrying", 1)])
def test_who_revokes_the_message_of_a_waiting_attempt_cancels_it(silent, told, status, attempt):
    run = make(status=status, attempt=attempt)
    revoke(run, attempt=0)
    assert (outcome(run), told) == (("cancelled", "revoked"), [run.pk])


def test_a_message_that_did_not_start_the_run_cancels_nothing_that_runs(silent, told):
    run = make()
    revoke(run, "an older message of the same attempt")
    assert (outcome(run), told) == (("running", ""), [])


def test_a_message_of_an_earlier_attempt_cancels_nothing_that_waits(silent, told):
    run = make(status="retrying", attempt=2, token=None)
    revoke(run, attempt=0)
    revoke(run, attempt=1)
    assert (outcome(run), told) == (("retrying", ""), [])
    revoke(run, attempt=2)
    assert outcome(run) == ("cancelled", "revoked")


@pytest.mark.parametrize("status", ["succeeded", "lost", "skipped"])
def test_what_has_ended_is_not_cancelled(silent, told, status):
    run = make(status=status)
    revoke(run)
    assert (outcome(run), told) == ((status, ""), [])


def test_revoking_a_message_that_is_not_of_a_run_does_nothing(silent, told):
    run = make()
    revoke(None)
    revoke(SimpleNamespace(pk=uuid.uuid4()))
    assert (outcome(run), told) == (("running", ""), [])


def test_who_waits_for_a_run_that_was_revoked_is_published(silent, sent_messages):
    task = job(overlap_policy="queue_one")
    holder = make(task, holds=task.pk)
    waiter = dispatcher.run_now(task)
    TaskRun.objects.filter(pk=waiter.pk).update(waits=task.pk)
    sent_messages()
    revoke(holder)
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(waiter.pk)]
    assert values(waiter)["status"] == Status.PUBLISHED


# A broker that restarts ---------------------------------------------------------------------------


def test_a_connection_that_cannot_be_closed_does_not_end_the_worker(monkeypatch):
    def close(self, exc):
        raise AttributeError("'NoneType' object has no attribute 'close'")

    monkeypatch.setattr(Consumer, "on_connection_error_after_connected", close)
    consumer = ResilientConsumer.__new__(ResilientConsumer)
    consumer.connection = object()
    consumer.on_connection_error_after_connected(OSError("gone"))
    assert consumer.connection is None


def test_an_error_of_another_kind_is_celerys_to_handle(monkeypatch):
    def close(self, exc):
        raise exc

    monkeypatch.setattr(Consumer, "on_connection_error_after_connected", close)
    consumer = ResilientConsumer.__new__(ResilientConsumer)
    with pytest.raises(OSError, match="gone"):
        consumer.on_connection_error_after_connected(OSError("gone"))
