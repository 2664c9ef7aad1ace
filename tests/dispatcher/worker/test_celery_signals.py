"""What Celery's signals say of a run, in the process that ran it."""

import os
import time
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from billiard.einfo import ExceptionInfo
from celery.app.task import Context
from celery.exceptions import Reject, Retry, SoftTimeLimitExceeded
from django.db import OperationalError, connection
from kombu.exceptions import OperationalError as BrokerError

from dispatcher.models import TaskRun
from dispatcher.worker import celery_signals, connections, gate, record, run_log
from scheduling.database import database_now
from tests.dispatcher.models.test_verb_conditions import values
from tests.dispatcher.rows import OK

pytestmark = pytest.mark.django_db

S = timedelta(seconds=1)
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def make(**columns):
    now = database_now()
    defaults = {"name": "loose", "task": OK, "trigger": "manual", "status": "published"}
    times = {"scheduled_for": now, "start_at": now, "planned_at": now, "publish_at": now}
    return TaskRun.objects.create(**defaults | times | columns)


@pytest.fixture
def run():
    return make()


@pytest.fixture
def request_(run):
    """The request of a run that has passed the gate and logged a line."""
    request = Context(
        id="m", retries=0, hostname="here", run_id=str(run.pk), attempt=0, args=[], kwargs={}
    )
    gate.enter(request)
    run_log._current.get().add("a line")
    yield request
    run_log.take()


@pytest.fixture
def sender(request_):
    return SimpleNamespace(request=request_)


def columns(run, *names):
    row = values(run)
    return tuple(row[name] for name in names)


def einfo(error):
    try:
        raise error
    except type(error):
        return ExceptionInfo()


def test_a_success_keeps_its_result_and_its_log(run, sender):
    celery_signals.on_success(sender, result={"a": float("nan")})
    assert columns(run, "status", "reason", "result") == ("succeeded", "", {"a": "nan"})
    assert columns(run, "log") == ("a line\n",)


def test_of_a_long_traceback_the_end_is_kept(run, sender, monkeypatch):
    monkeypatch.setattr("dispatcher.worker.stored_values.TEXT_LIMIT", 20)
    error = ValueError("x")
    celery_signals.on_failure(sender, exception=error, einfo=einfo(error))
    assert values(run)["traceback"].rstrip().endswith("ValueError: x")


def test_a_failure_keeps_its_exception_its_traceback_and_its_log(run, sender):
    error = ValueError("x")
    celery_signals.on_failure(sender, exception=error, einfo=einfo(error))
    assert columns(run, "status", "reason", "reason_params") == ("failed", "exception", {})
    assert columns(run, "exception", "log") == ("ValueError: x", "a line\n")
    assert values(run)["traceback"].rstrip().endswith("ValueError: x")


def test_a_soft_time_limit_is_told_from_other_exceptions(run, sender):
    celery_signals.on_failure(sender, exception=SoftTimeLimitExceeded(1), einfo=None)
    assert columns(run, "status", "reason", "reason_params", "traceback") == (
        "failed",
        "time_limit",
        {"soft": True},
        "",
    )


def test_a_failure_without_an_exception_says_nothing(run, sender):
    celery_signals.on_failure(sender, exception=None)
    assert columns(run, "status") == ("running",)


def test_ignore_is_a_success_with_its_reason(run, sender):
    celery_signals.on_postrun(sender, state="IGNORED")
    assert columns(run, "status", "reason", "log") == ("succeeded", "ignored", "a line\n")


def test_reject_is_a_failure_with_its_reason(run, sender):
    celery_signals.on_postrun(sender, state="REJECTED", retval=Reject("not for me", requeue=False))
    assert columns(run, "status", "reason", "log") == ("failed", "rejected", "a line\n")
    assert "not for me" in values(run)["exception"]


@pytest.mark.parametrize(("in_main", "status"), [(True, "lost"), (False, "running")])
def test_an_exit_is_told_where_there_is_no_main_process_to_see_it(
    run, sender, monkeypatch, in_main, status
):
    monkeypatch.setenv(celery_signals.MAIN_PID, str(os.getpid() if in_main else os.getppid()))
    celery_signals.on_postrun(sender, state=None)
    assert columns(run, "status", "reason") == (status, "exited" if in_main else "")
    assert run_log.take() == ""  # whatever became of it, the next run has its own


def test_what_other_signals_tell_is_not_told_twice(run, sender):
    for state in ("SUCCESS", "FAILURE", "RETRY"):
        celery_signals.on_postrun(sender, state=state)
    assert columns(run, "status") == ("running",)


def test_a_message_that_was_vetoed_ends_nothing(run, sender):
    """Its signals come all the same: Celery takes the veto for an Ignore of the task."""
    vetoed = Context(id="m2", retries=0, hostname="here", run_id=str(run.pk), attempt=0)
    with pytest.raises(gate.Vetoed):
        gate.enter(vetoed)
    beside = SimpleNamespace(request=vetoed)
    celery_signals.on_success(beside, result=1)
    celery_signals.on_failure(beside, exception=ValueError("x"))
    celery_signals.on_retry(request=vetoed, reason="later")
    for state in ("IGNORED", "REJECTED", None):
        celery_signals.on_postrun(beside, state=state, retval=Reject("no", requeue=False))
    assert columns(run, "status", "log") == ("running", "")


def test_the_lines_of_a_run_are_kept_while_a_task_that_is_no_run_ends(run, sender):
    """Called by the run's own function, in its process."""
    celery_signals.on_postrun(SimpleNamespace(request=Context(id="x")), state="SUCCESS")
    celery_signals.on_success(sender, result=None)
    assert columns(run, "log") == ("a line\n",)


@pytest.mark.parametrize(("eager", "asked"), [(False, [True]), (True, [])])
def test_before_each_task_the_connections_are_looked_after(monkeypatch, eager, asked):
    """But in a call that is no message, they are somebody's, perhaps in his transaction."""
    done = []
    monkeypatch.setattr(connections, "look_after", lambda: done.append(True))
    celery_signals.on_prerun(task=SimpleNamespace(request=Context(is_eager=eager)))
    assert done == asked


# The task's own retry -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "start_at"),
    [
        (NOON, NOON),
        (NOON.replace(tzinfo=None), NOON),
        (NOON.isoformat(), NOON),
        ("2026-01-05T12:00:00", NOON),
        ("2026-01-05T14:00:00+02:00", NOON),
    ],
)
def test_its_own_retry_waits_for_the_time_that_the_task_gave(run, request_, when, start_at):
    celery_signals.on_retry(request=request_, reason=Retry("again", ValueError("x"), when=when))
    assert columns(run, "status", "reason", "attempt") == ("retrying", "own_retry", 1)
    assert columns(run, "start_at", "publish_at") == (start_at, start_at + 30 * S)
    assert "again" in values(run)["exception"]
    assert values(run)["log"] == "a line\n"


@pytest.fixture
def far_from_utc(monkeypatch):
    """A process whose local time is not UTC."""
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("when", [NOON.replace(tzinfo=None), "2026-01-05T12:00:00"])
def test_a_time_without_a_zone_is_utc_as_celery_means_it(run, request_, far_from_utc, when):
    celery_signals.on_retry(request=request_, reason=Retry("again", when=when))
    assert columns(run, "start_at") == (NOON,)


@pytest.mark.parametrize(("when", "seconds"), [(600, 600), (0.5, 0.5), (None, 0), ("none", 0)])
def test_its_own_retry_waits_for_the_seconds_that_the_task_gave(run, request_, when, seconds):
    before = datetime.now(UTC)
    reason = "again" if when == "none" else Retry("again", when=when)
    celery_signals.on_retry(request=request_, reason=reason)
    wait = timedelta(seconds=seconds)
    assert before + wait <= values(run)["start_at"] <= datetime.now(UTC) + wait


def test_an_own_retry_that_the_broker_did_not_take_waits_in_the_database(run, sender, monkeypatch):
    monkeypatch.setattr(celery_signals, "current_task", sender)
    celery_signals.on_publish({"id": "m", "task": "t", "eta": NOON.isoformat()}, ([], {}, {}))
    reject = Reject(BrokerError("refused"), requeue=False)
    celery_signals.on_postrun(sender, state="REJECTED", retval=reject)
    assert columns(run, "status", "reason", "start_at") == ("retrying", "own_retry", NOON)
    assert "refused" in values(run)["exception"]
    assert values(run)["log"] == "a line\n"


@pytest.mark.parametrize(
    "headers",
    [None, {}, {"run_id": None, "eta": "x"}, {"run_id": str(uuid.uuid4()), "eta": "x"}],
)
def test_the_messages_that_a_run_sends_to_others_are_no_retry_of_its_own(
    run, sender, monkeypatch, headers
):
    monkeypatch.setattr(celery_signals, "current_task", sender)
    celery_signals.on_publish(headers=headers)
    reject = Reject(BrokerError("refused"), requeue=False)
    celery_signals.on_postrun(sender, state="REJECTED", retval=reject)
    assert columns(run, "status", "reason") == ("failed", "rejected")


def test_a_reject_of_the_task_after_its_retry_could_be_sent_is_a_reject(run, sender, monkeypatch):
    monkeypatch.setattr(celery_signals, "current_task", sender)
    celery_signals.on_publish(headers={"id": sender.request.id, "eta": None})
    reject = Reject("of its own", requeue=False)
    celery_signals.on_postrun(sender, state="REJECTED", retval=reject)
    assert columns(run, "status", "reason") == ("failed", "rejected")


def test_messages_that_no_task_sends_are_left_alone(run):
    celery_signals.on_publish(headers={"run_id": str(run.pk), "eta": None})


def test_a_message_of_a_request_that_was_not_claimed_is_no_retry(run, monkeypatch):
    request = Context(run_id=str(run.pk))
    monkeypatch.setattr(celery_signals, "current_task", SimpleNamespace(request=request))
    celery_signals.on_publish(headers={"run_id": str(run.pk), "eta": None})
    assert not hasattr(request, "own_retry_at")


# A worker that cannot take a message --------------------------------------------------------------


def message_for(run, attempt=0):
    return SimpleNamespace(headers={"run_id": str(run.pk), "attempt": attempt})


def unknown(message):
    celery_signals.on_unknown(name="a.task", message=message)


def rejected(message):
    celery_signals.on_rejected(message=message, exc=ValueError("x" * 900))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("refuse", "reason", "params"),
    [
        (unknown, "not_registered", {"task": "a.task"}),
        (rejected, "message_rejected", {"error": f"ValueError('{'x' * 900}')"[:500]}),
    ],
)
def test_a_message_that_the_worker_cannot_take_fails_its_attempt(run, refuse, reason, params):
    refuse(message_for(run))
    assert connection.connection is None  # the next pool child would inherit it
    assert columns(run, "status", "reason", "reason_params") == ("failed", reason, params)


@pytest.mark.django_db(transaction=True)
def test_where_that_cannot_be_written_it_is_kept_and_no_connection_stays(run, monkeypatch):
    def away(*args):
        connection.ensure_connection()
        raise OperationalError("away")

    monkeypatch.setattr(record, "_start_keeper", lambda: None)
    monkeypatch.setattr(record, "refuse", away)
    unknown(message_for(run))
    assert (len(record._kept), connection.connection) == (1, None)
    record._kept.clear()


@pytest.mark.parametrize("attempt", [2, 3])
def test_a_message_of_another_attempt_fails_nothing(attempt):
    run = make(status="retrying", attempt=2 if attempt == 3 else 3)
    before = values(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "close", lambda: None)  # in the test's transaction
        unknown(message_for(run, attempt))
    assert values(run) == before


@pytest.mark.parametrize("message", [None, SimpleNamespace(headers=None), SimpleNamespace()])
def test_a_message_that_is_not_of_a_run_is_not_ours(run, message):
    unknown(message)
    rejected(message)
    assert columns(run, "status") == ("published",)
