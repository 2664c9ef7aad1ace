"""How an attempt ends, when another one follows, and what becomes of an end that cannot be kept."""

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import InterfaceError, OperationalError, connection

from dispatcher import run_finished
from dispatcher.models import RunAttempt, Status, TaskRun
from dispatcher.models.ends import End
from dispatcher.worker import record
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.models.test_verb_conditions import values
from tests.dispatcher.rows import OK, job

needs_rows = pytest.mark.django_db

S = timedelta(seconds=1)
FAILED = End(Status.FAILED, "exception")
LOST = End(Status.LOST, "process_gone")
SUCCEEDED = End(Status.SUCCEEDED)


def make(task, **columns):
    now = database_now()
    defaults = {"scheduled_task": task, "name": "job", "task": OK, "trigger": "schedule"}
    defaults |= {"scheduled_for": now, "slot": now, "start_at": now, "planned_at": now}
    defaults |= {"status": "running", "attempt": 1, "token": uuid.uuid4(), "message_id": "m"}
    return TaskRun.objects.create(**defaults | columns)


def retrying(**options):
    return job(max_retries=1, retry_delay_seconds=0, **options)


def fail(run, end=FAILED):
    return record.fail(run.pk, run.token, end)


def outcome(run):
    row = values(run)
    return (row["status"], row["attempt"])


@pytest.fixture
def told():
    """The runs whose end was told, in order."""
    found = []
    run_finished.connect(hear := lambda run, **signal: found.append((run.pk, run.status)))
    yield found
    run_finished.disconnect(hear)


# Whether another attempt follows ------------------------------------------------------------------


@needs_rows
@pytest.mark.parametrize("end", [FAILED, LOST])
@pytest.mark.parametrize(
    ("schedule", "slot", "again"),
    [
        ({}, True, True),
        ({"enabled": False, "state_reason": "paused"}, True, False),
        ({"enabled": False, "state_reason": "set_aside"}, True, False),
        ({"enabled": False, "state_reason": "finished"}, True, True),
        # Asked for by a person: it runs whatever became of its schedule.
        ({"enabled": False, "state_reason": "paused"}, False, True),
        ({"enabled": False, "state_reason": "set_aside"}, False, True),
    ],
)
def test_a_schedule_that_is_paused_tries_nothing_again(end, schedule, slot, again):
    task = retrying(on_lost="rerun")
    run = make(task, **({} if slot else {"slot": None, "trigger": "manual"}))
    ScheduledTask.objects.filter(pk=task.pk).keep(**schedule)
    assert fail(run, end) is True
    assert outcome(run) == (("retrying", 2) if again else (end.status, 1))


@needs_rows
def test_a_run_without_a_definition_is_tried_once(told):
    loose, orphan = make(None, slot=None), make(retrying(), slot=None)
    TaskRun.objects.filter(pk=orphan.pk).update(scheduled_task=4_000_000)
    for run in (loose, orphan):
        assert fail(run) is True
        assert outcome(run) == ("failed", 1)


@needs_rows
@pytest.mark.parametrize("on_lost", ["fail", "rerun"])
@pytest.mark.parametrize("max_retries", [0, 2])
@pytest.mark.parametrize("end", [FAILED, LOST])
def test_retries_are_for_failures_and_reruns_for_what_was_lost(on_lost, max_retries, end):
    run = make(job(max_retries=max_retries, on_lost=on_lost, retry_delay_seconds=0))
    fail(run, end)
    again = max_retries > 0 if end is FAILED else on_lost == "rerun"
    assert outcome(run) == (("retrying", 2) if again else (end.status, 1))


@needs_rows
@pytest.mark.parametrize(("end", "allowed"), [(FAILED, 2), (LOST, 3)])
def test_it_is_tried_again_so_many_times_and_not_once_more(end, allowed):
    run = make(job(max_retries=2, on_lost="rerun", retry_delay_seconds=0))
    other = End(Status.LOST if end is FAILED else Status.FAILED)
    past = {"finished_at": database_now(), "attempt": 1}
    RunAttempt.objects.create(run=make(run.scheduled_task, slot=None), status=end.status, **past)
    RunAttempt.objects.create(run=run, status=other.status, **past)  # counts for the other rule
    for number in range(allowed):
        assert fail(run, end) is True
        assert outcome(run) == ("retrying", number + 2)
        TaskRun.objects.filter(pk=run.pk).update(status="running", token=run.token)
    assert fail(run, end) is True
    assert outcome(run) == (end.status, allowed + 1)


@needs_rows
@pytest.mark.parametrize(("backoff", "delays"), [(False, [40, 40, 40]), (True, [40, 80, 160])])
def test_each_attempt_waits_for_its_delay(backoff, delays):
    run = make(job(max_retries=3, retry_delay_seconds=40, retry_backoff=backoff))
    for seconds in delays:
        before = database_now()
        fail(run)
        assert before + seconds * S <= values(run)["start_at"] <= database_now() + seconds * S
        TaskRun.objects.filter(pk=run.pk).update(status="running", token=run.token)


def test_what_was_lost_is_run_again_at_once(sent_messages):
    run = make(job(on_lost="rerun", retry_delay_seconds=600))
    fail(run, LOST)
    [message] = sent_messages()
    assert message["headers"]["run_id"] == str(run.pk)
    assert (message["headers"]["attempt"], message["headers"]["eta"]) == (2, None)


@pytest.mark.parametrize(("delay", "sent"), [(0, 1), (60, 1), (600, 0)])
def test_the_next_attempt_is_sent_at_once_if_it_is_due_within_the_horizon(
    sent_messages, delay, sent
):
    run = make(job(max_retries=1, retry_delay_seconds=delay))
    fail(run)
    assert len(sent_messages()) == sent
    row = values(run)
    assert (row["published_at"] is not None) is bool(sent)
    if not sent:
        assert row["publish_at"] == row["start_at"] - 90 * S


def test_the_next_attempt_of_a_message_that_was_refused_is_not_sent_ahead(sent_messages):
    run = make(job(max_retries=2, retry_delay_seconds=60), status="published", attempt=0)
    assert record.refuse(run.pk, 0, End(Status.FAILED, "not_registered")) is True
    assert sent_messages() == []
    assert values(run)["publish_at"] == values(run)["start_at"]


def test_where_a_refused_message_waits_for_nothing_the_next_one_is_sent_at_once(sent_messages):
    run = make(job(max_retries=1, retry_delay_seconds=0), status="published", attempt=0)
    assert record.refuse(run.pk, 0, End(Status.FAILED, "not_registered")) is True
    assert [m["headers"]["attempt"] for m in sent_messages()] == [2]


# Who may say so -----------------------------------------------------------------------------------


@needs_rows
@pytest.mark.parametrize("say", [record.succeed, record.fail])
@pytest.mark.parametrize(
    "status", ["planned", "published", "retrying", "cancelled", "missed", "skipped"]
)
def test_no_end_changes_what_does_not_run(told, say, status):
    run = make(retrying(), status=status)
    before = values(run)
    assert say(run.pk, run.token, SUCCEEDED if say is record.succeed else FAILED) is False
    assert (values(run), told) == (before, [])


@needs_rows
@pytest.mark.parametrize(("say", "end"), [(record.succeed, FAILED), (record.fail, FAILED)])
def test_an_end_needs_the_token_of_the_claim(told, say, end):
    run = make(job())
    assert say(run.pk, uuid.uuid4(), end) is False
    assert say(uuid.uuid4(), run.token, end) is False
    assert (outcome(run), told) == (("running", 1), [])


@needs_rows
def test_a_late_failure_corrects_lost_and_follows_the_rules_of_the_schedule(told):
    plain, again = make(job(), status="lost"), make(retrying(), status="lost")
    assert fail(plain) is True
    assert fail(again) is True
    assert (outcome(plain), outcome(again)) == (("failed", 1), ("retrying", 2))
    assert told == [(plain.pk, "failed")]


@needs_rows
def test_a_late_success_corrects_lost_also_where_the_schedule_forbids_overlap(told):
    run = make(job(overlap_policy="skip"), status="lost")
    assert record.succeed(run.pk, run.token, SUCCEEDED) is True
    assert (outcome(run), told) == (("succeeded", 1), [(run.pk, "succeeded")])


@needs_rows
@pytest.mark.parametrize("written", ["succeeded", "failed"])
def test_the_other_end_is_no_repetition(told, written):
    run = make(job(), status=written)
    say, end = (record.fail, FAILED) if written == "succeeded" else (record.succeed, SUCCEEDED)
    assert say(run.pk, run.token, end) is False
    assert (outcome(run), told) == ((written, 1), [])


@needs_rows
@pytest.mark.parametrize("written", ["succeeded", "failed"])
def test_an_end_whose_answer_was_lost_is_repeated_and_told_of(told, written):
    run = make(job(), status=written)
    say, end = (record.succeed, SUCCEEDED) if written == "succeeded" else (record.fail, FAILED)
    before = values(run)
    assert say(run.pk, run.token, end) is True
    assert (values(run), told) == (before, [(run.pk, written)])


@needs_rows
def test_the_process_without_the_token_ends_only_what_its_message_started(told):
    run = make(job(), attempt=2, retries=1)
    asked = {"run_id": run.pk, "attempt": 2, "retries": 1, "message_id": "m"}
    for wrong in ({"attempt": 1}, {"retries": 0}, {"message_id": "x"}, {"run_id": uuid.uuid4()}):
        assert record.fail_by_message(**asked | wrong, end=LOST) is False
    assert outcome(run) == ("running", 2)
    assert record.fail_by_message(**asked, end=LOST) is True
    assert (outcome(run), told) == (("lost", 2), [(run.pk, "lost")])
    assert record.fail_by_message(**asked, end=LOST) is False


@needs_rows
@pytest.mark.parametrize(
    ("status", "attempt", "header", "refused"),
    [
        ("planned", 0, 0, True),
        ("published", 0, 0, True),
        ("retrying", 1, 0, True),  # the task's own retry: its message has the first's header
        ("retrying", 2, 2, True),
        ("published", 0, 1, False),
        ("retrying", 2, 0, False),
        ("retrying", 2, 1, False),
        ("retrying", 2, 3, False),
        ("running", 1, 0, False),
        ("lost", 1, 0, False),
        ("cancelled", 0, 0, False),
    ],
)
def test_a_refused_message_fails_the_attempt_that_it_was_for(status, attempt, header, refused):
    run = make(job(), status=status, attempt=attempt)
    assert record.refuse(run.pk, header, FAILED) is refused
    assert outcome(run) == ("failed" if refused else status, attempt)


@needs_rows
def test_a_waiting_run_that_was_refused_keeps_nothing(told):
    run = make(job(), status="retrying", attempt=2, holds=5, waits=6, publish_at=database_now())
    assert record.refuse(run.pk, 2, End(Status.FAILED, "not_registered", {"task": "x"})) is True
    row = values(run)
    assert (row["reason"], row["reason_params"]) == ("not_registered", {"task": "x"})
    assert (row["holds"], row["waits"], row["publish_at"]) == (None, None, None)
    assert told == [(run.pk, "failed")]


@needs_rows
def test_who_looked_at_an_earlier_attempt_ends_no_later_one(told):
    run = make(job(), status="retrying", attempt=2, token=None)
    TaskRun.objects.filter(pk=run.pk).update(attempt=3)  # meanwhile
    before = values(run)
    assert record.end_or_retry(run, FAILED) is False
    assert (values(run), told) == (before, [])


# What follows an end ------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [record.succeed, record.fail])
def test_who_waits_for_a_run_is_published_when_it_ends(sent_messages, write):
    task = job(overlap_policy="queue_one")
    holder = make(task, holds=task.pk)
    waiter = make(task, status="published", attempt=0, token=None, waits=task.pk, slot=None)
    assert write(holder.pk, holder.token, SUCCEEDED if write is record.succeed else FAILED)
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(waiter.pk)]


def test_who_waits_is_published_when_the_attempt_between_two_is_refused(sent_messages):
    task = job(overlap_policy="queue_one")
    holder = make(task, holds=task.pk, status="retrying", attempt=2, token=None)
    waiter = make(task, status="published", attempt=0, token=None, waits=task.pk, slot=None)
    assert record.refuse(holder.pk, 2, FAILED) is True
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(waiter.pk)]


def test_who_waits_for_a_run_goes_on_waiting_while_it_is_tried_again(sent_messages):
    task = retrying(overlap_policy="queue_one")
    holder = make(task, holds=task.pk)
    make(task, status="published", attempt=0, token=None, waits=task.pk, slot=None)
    assert fail(holder) is True
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(holder.pk)]
    assert values(holder)["holds"] == task.pk


@needs_rows
def test_an_attempt_that_is_followed_by_another_is_no_end(told):
    run = make(retrying(pause_after_failures=1))
    fail(run)
    assert told == []
    run.scheduled_task.refresh_from_db()
    assert run.scheduled_task.enabled is True


# Ends that could not be written -------------------------------------------------------------------


@pytest.fixture
def kept(monkeypatch):
    """Kept ends are written when the test says so, not by a thread."""
    monkeypatch.setattr(record, "_start_keeper", lambda: None)
    record._kept.clear()
    yield record._kept
    record._kept.clear()


class Away:
    """An end that finds the database away some times, and is then written."""

    def __init__(self, times, name="end", done=None, error=OperationalError):
        self.left, self.name, self.error = times, name, error
        self.done = [] if done is None else done

    def __call__(self):
        if self.left > 0:
            self.left -= 1
            raise self.error("the database is away")
        self.done.append(self.name)
        return True


def test_an_end_is_written_at_once_where_it_can_be(kept):
    end = Away(0)
    record.write_or_keep(end)
    assert (end.done, len(kept)) == (["end"], 0)


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_an_end_that_only_met_a_dead_connection_is_written_at_once(kept, error):
    end = Away(2, error=error)
    record.write_or_keep(end)
    assert (end.done, len(kept)) == (["end"], 0)


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_an_end_that_cannot_be_written_is_kept_and_written_once_later(kept, error):
    end = Away(3, error=error)
    record.write_or_keep(end)
    assert (end.done, len(kept)) == ([], 1)
    record.flush_kept()
    assert (end.done, len(kept)) == (["end"], 0)
    record.flush_kept()
    assert end.done == ["end"]


def test_kept_ends_are_written_oldest_first_and_wait_while_the_database_is_away(kept):
    done = []
    kept.extend([Away(0, "a", done), Away(1, "b", done), Away(0, "c", done)])
    record.flush_kept()
    assert (done, len(kept)) == (["a"], 2)
    record.flush_kept()
    assert (done, len(kept)) == (["a", "b", "c"], 0)


def test_an_end_that_can_never_be_written_does_not_stop_the_others(kept, caplog):
    done = []
    kept.extend([Away(0, "a", done), Away(9, error=ValueError), Away(0, "c", done)])
    record.flush_kept()
    assert (done, len(kept)) == (["a", "c"], 0)
    assert "The end of a run is lost" in caplog.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("times", [0, 9])
def test_after_a_flush_no_connection_is_open(kept, times):
    """The thread that flushed ends, or its process is about to fork."""
    kept.append(Away(times, done=[]))
    connection.ensure_connection()
    record.flush_kept()
    assert connection.connection is None


def test_what_is_kept_is_written_in_the_background(monkeypatch):
    monkeypatch.setattr(record, "KEPT_RETRY_SECONDS", 0.01)
    written, threads, left = threading.Event(), [], [5]

    def write():
        if left[0]:
            left[0] -= 1
            raise OperationalError("the database is away")
        threads.append(threading.current_thread())
        written.set()
        return True

    for _ in range(2):  # the second time, the first keeper has ended
        written.clear()
        left[0] = 5
        record.write_or_keep(write)
        assert written.wait(timeout=30)
        threads[-1].join(timeout=30)
        assert not threads[-1].is_alive() and not record._kept
    assert threads[0] is not threads[1]
    assert all(thread.daemon for thread in threads)  # or a worker would never end
    assert threading.main_thread() not in threads


def test_one_keeper_at_a_time_writes_what_is_kept(monkeypatch):
    go_on, seen = threading.Event(), set()

    def write():
        seen.add(threading.current_thread())
        return go_on.wait(timeout=30)

    monkeypatch.setattr(record, "KEPT_RETRY_SECONDS", 0.01)
    record._kept.extend([write, write])
    for _ in range(3):
        record._start_keeper()
    keepers = [thread for thread in threading.enumerate() if thread.name == "kept-ends"]
    go_on.set()
    for keeper in keepers:
        keeper.join(timeout=30)
    assert len(keepers) == 1 and seen == set(keepers)


def test_a_flush_while_the_keeper_writes_writes_nothing_twice(monkeypatch):
    begun, go_on, count = threading.Event(), threading.Event(), []

    def write():
        begun.set()
        go_on.wait(timeout=30)
        count.append(1)
        return True

    record._kept.append(write)
    flushes = [threading.Thread(target=record.flush_kept) for _ in range(2)]
    flushes[0].start()
    assert begun.wait(timeout=30)
    flushes[1].start()
    go_on.set()
    for thread in flushes:
        thread.join(timeout=30)
    assert (count, len(record._kept)) == ([1], 0)
