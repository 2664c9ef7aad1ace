"""Messages that kill their workers: who is a suspect, who is taken with care, who is found."""

import os
import threading
import uuid
from datetime import timedelta
from types import SimpleNamespace

import pytest
from celery.app import app_or_default
from celery.exceptions import InvalidTaskError
from celery.worker.request import create_request_cls
from django.db import OperationalError, connection

from dispatcher.models import TaskRun, Worker
from dispatcher.models.ends import End
from dispatcher.models.process import packed
from dispatcher.publish import publisher
from dispatcher.publish.messages import SUSPECT
from dispatcher.upkeep import rescue
from dispatcher.worker import holding, suspects
from dispatcher.worker.gate import WORKER_ID
from dispatcher.worker.request import RunRequest
from scheduling.database import database_now
from tests.dispatcher.held import impatient, in_an_open_transaction
from tests.dispatcher.rows import OK

pytestmark = pytest.mark.django_db(transaction=True)

S = timedelta(seconds=1)


def make(**columns):
    now = database_now()
    defaults = {"name": "job", "task": OK, "trigger": "manual", "status": "published"}
    defaults |= {"scheduled_for": now, "start_at": now, "planned_at": now, "queue": "held"}
    defaults |= {"published_at": now - 10 * S, "publish_at": now + 30 * S}
    return TaskRun.objects.create(**defaults | columns)


def worker(held=(), *, silent=False, **columns):
    now = database_now()
    defaults = {"id": uuid.uuid4(), "hostname": "w@here", "pid": 1, "pool": "prefork"}
    defaults |= {"started_at": now, "seen_at": now, "lease_until": now + (-1 if silent else 60) * S}
    return Worker.objects.create(**defaults | {"held": packed(run.pk for run in held)} | columns)


@pytest.fixture(autouse=True)
def me(monkeypatch):
    """The worker that this process is."""
    row = worker()
    monkeypatch.setenv(WORKER_ID, str(row.pk))
    monkeypatch.setattr(suspects, "_away_until", 0.0)
    return row


@pytest.fixture
def sent(monkeypatch):
    """The runs whose message was sent, with their suspicion, instead of a broker."""
    runs = []
    monkeypatch.setattr(
        publisher,
        "_send",
        lambda app, batch, now, sent: (
            runs.extend((r.pk, r.took_workers) for r in batch) or sent.extend(batch)
        ),
    )
    return runs


@pytest.fixture(autouse=True)
def empty_queue(monkeypatch):
    monkeypatch.setattr(holding, "messages_ready", lambda queue: 0)
    monkeypatch.setattr(rescue, "messages_ready", lambda queue: 0)


def counted(run):
    return TaskRun.objects.values_list("took_workers", flat=True).get(pk=run.pk)


def note():
    return Worker.objects.values_list("taking", flat=True).get(pk=os.environ[WORKER_ID])


# Suspicion ----------------------------------------------------------------------------------------


def test_a_death_makes_suspects_of_what_may_have_been_taken_and_not_of_what_waited(sent):
    now = database_now()
    due, waited = make(start_at=now + 2 * S), make(start_at=now + 60 * S)
    unsaid = make(start_at=now + 60 * S)
    beside = make(start_at=now + 60 * S)
    worker([beside])
    worker([due, waited], silent=True, queues=["held"])
    assert holding.take_over_from_silent(now) == 3
    assert dict(sent) == {due.pk: 1, waited.pk: 0, unsaid.pk: 1}
    assert [counted(run) for run in (due, waited, unsaid, beside)] == [1, 0, 1, 0]


def test_where_the_broker_gives_out_again_what_it_had_the_oldest_of_its_queue_are_suspects(
    sent, monkeypatch
):
    monkeypatch.setattr(holding, "messages_ready", lambda queue: 3)
    monkeypatch.setattr(holding, "SUSPECTED", 2)
    now = database_now()
    oldest, second, third = (make(published_at=now - age * S) for age in (12, 11, 10))
    worker([], silent=True, queues=["held"])
    assert holding.take_over_from_silent(now) == 0
    assert sent == []
    assert [counted(run) for run in (oldest, second, third)] == [1, 1, 0]


def test_what_was_held_and_is_sent_again_hides_nothing_that_was_received_after_the_last_word(
    sent, monkeypatch
):
    """In the queue lies what was sent again before somebody counts there."""
    monkeypatch.setattr(holding, "messages_ready", lambda queue: len(sent))
    held, unsaid = [make(), make(), make()], [make(), make()]
    taking = make()
    worker([*held, taking], silent=True, queues=["held"], taking=taking.pk)
    assert holding.take_over_from_silent(database_now()) == 6
    assert sorted(pk for pk, _count in sent) == sorted(run.pk for run in (*held, *unsaid, taking))


def test_twenty_deaths_beside_a_run_do_not_add_up_against_it(sent):
    run = make()
    for _ in range(20):
        worker([run], silent=True)
        assert holding.take_over_from_silent(database_now()) == 1
    assert sent == [(run.pk, 1)] * 20
    assert TaskRun.objects.get().status == "published"


def test_rescue_suspects_what_was_sent_before_a_worker_died_and_nothing_else(sent):
    now = database_now()
    late = {"start_at": now - 100 * S, "publish_at": now - S}
    before, after = make(**late), make(**late, published_at=now - 2 * S)
    worker(seen_at=now - 20 * S, silent=True)  # not yet taken over
    worker(seen_at=now, lease_until=None, stopped_at=now)  # it was told to stop
    TaskRun.objects.filter(pk=before.pk).update(published_at=now - 50 * S)
    assert rescue.publish_again(now) == 2
    assert dict(sent) == {before.pk: 1, after.pk: 0}
    assert counted(before) == 1


def test_without_a_death_rescue_suspects_nobody(sent):
    now = database_now()
    run = make(start_at=now - 100 * S, publish_at=now - S)
    rescue.publish_again(now)
    assert sent == [(run.pk, 0)]


def test_the_message_of_a_suspect_says_so_and_no_other():
    from dispatcher.publish.messages import _headers

    assert _headers(make(took_workers=1))[SUSPECT] is True
    assert SUSPECT not in _headers(make())


@pytest.mark.parametrize("again", ["own retry", "next attempt"])
def test_a_run_that_was_started_is_no_suspect_any_more(again):
    token = uuid.uuid4()
    run = make(status="running", took_workers=1, token=token, attempt=1)
    if again == "own retry":
        assert TaskRun.objects.all().retry_own(run.pk, token, run.start_at, "")
    else:
        now = database_now()
        assert TaskRun.objects.all().try_again(run, End("failed"), now, now)
    assert counted(run) == 0


# Care ---------------------------------------------------------------------------------------------


class Message:
    def __init__(self, run=None, attempt=0, redelivered=False, suspect=False):
        self.headers = {"run_id": str(run.pk), "attempt": attempt} if run else {}
        self.headers |= {SUSPECT: True} if suspect else {}
        self.delivery_info = {"redelivered": redelivered}
        self.acknowledged = 0

    def ack_log_error(self, logger, errors):
        self.acknowledged += 1


def strategy(seen, error=None):
    """A worker's receipt, which notes what the database says meanwhile."""

    def start(task, app, consumer):
        def take(message, *rest):
            seen.append(note())
            if error:
                raise error

        return take

    consumer = SimpleNamespace(connection_errors=())
    return suspects.careful(start)(None, None, consumer)


@pytest.mark.parametrize("said", [{"suspect": True}, {"redelivered": True}])
def test_a_suspects_message_is_noted_while_it_is_taken(said):
    run, seen = make(), []
    strategy(seen)(Message(run, **said), None)
    assert (seen, note()) == ([run.pk], None)


@pytest.mark.parametrize(("row", "said"), [(0, 1), (1, 0), (1, 1), (2, 2)])
def test_a_message_of_the_same_attempt_is_taken(row, said):
    """0 and 1 both mean the first."""
    run, seen = make(attempt=row), []
    strategy(seen)(Message(run, attempt=said, redelivered=True), None)
    assert seen == [run.pk]


def test_the_note_is_gone_when_the_message_is_refused():
    run, seen = make(), []
    with pytest.raises(InvalidTaskError):
        strategy(seen, InvalidTaskError("no"))(Message(run, suspect=True), None)
    assert (seen, note()) == ([run.pk], None)


def test_any_other_message_costs_no_query(django_assert_num_queries):
    taken = []
    handler = suspects.careful(lambda *a: lambda message, *rest: taken.append(message))(0, 0, 0)
    messages = [Message(make()), Message(redelivered=True), Message(suspect=True)]
    with django_assert_num_queries(0):
        for message in messages:
            handler(message, None)
    assert taken == messages


@pytest.mark.parametrize("why", ["it has ended", "another attempt", "gone", "another takes it"])
def test_a_suspects_message_is_dropped_that_must_not_start(why):
    run = make(status="failed" if why == "it has ended" else "published")
    if why == "another takes it":
        worker(taking=run.pk, silent=True)
    if why == "gone":
        TaskRun.objects.all().delete()
    attempt = 2 if why == "another attempt" else 1 if why == "another takes it" else 0
    message, seen = Message(run, attempt=attempt, redelivered=True), []
    if why == "another takes it":
        TaskRun.objects.update(attempt=1)
    strategy(seen)(message, None)
    assert (seen, message.acknowledged, note()) == ([], 1, None)


def test_without_the_database_it_is_taken_as_any_message(monkeypatch):
    def away(*args, **options):
        raise OperationalError("away")

    run, taken = make(), []
    handler = suspects.careful(lambda *a: lambda message, *rest: taken.append(message))(0, 0, 0)
    monkeypatch.setattr(type(Worker.objects.all()), "takes", away)
    monkeypatch.setattr(type(TaskRun.objects.all()), "exists", away)
    message = Message(run, suspect=True)
    handler(message, None)
    assert taken == [message]
    assert suspects._taking is None


def hand_over(run, seen, *, is_suspect=True, pickles=True, error=None):
    """Hand the run's message to a pool, which notes what the database says meanwhile."""

    def apply_async(*args, **options):
        seen.append(note())
        if error:
            raise error

    app = app_or_default()
    pool = SimpleNamespace(apply_async=apply_async, uses_semaphore=pickles)
    cls = create_request_cls(RunRequest, app.tasks["dispatcher.tick"], pool, "w", None, app=app)
    request = object.__new__(cls)
    request.is_suspect, request._request_dict = is_suspect, Message(run).headers
    request.id = request.name = "1"
    request.revoked, request._body = lambda: False, b""
    request._type = request._content_type = request._content_encoding = ""
    request._request_dict["timelimit"] = (None, None)
    request.execute_using_pool(pool)


@pytest.mark.parametrize(("is_suspect", "noted"), [(True, True), (False, False)])
def test_a_suspect_is_noted_again_when_it_is_handed_to_the_pool(is_suspect, noted):
    run, seen = make(), []
    hand_over(run, seen, is_suspect=is_suspect)
    assert (seen, note()) == ([run.pk if noted else None], None)


def test_a_pool_that_does_not_pickle_may_wait_or_run_it_so_the_note_ends_before():
    run, seen = make(), []
    with suspects.taking(run.pk):
        hand_over(run, seen, pickles=False)
        assert (seen, note()) == ([None], None)


@pytest.mark.parametrize("error", [RuntimeError("no thread"), OSError("no pipe")])
def test_what_the_environment_does_at_the_hand_over_is_not_the_runs_fault(error):
    run, seen = make(), []
    with pytest.raises(type(error)):
        hand_over(run, seen, error=error)
    assert (TaskRun.objects.get().status, note()) == ("published", None)


def test_a_worker_that_counts_as_dead_takes_without_a_note(me):
    Worker.objects.filter(pk=me.pk).update(lease_until=None)
    run, seen = make(), []
    strategy(seen)(Message(run, suspect=True), None)
    assert seen == [None]


def test_a_database_that_was_away_is_not_asked_for_each_message(monkeypatch):
    asked = []

    def away(*args, **options):
        asked.append(1)
        raise OperationalError("away")

    monkeypatch.setattr(type(TaskRun.objects.all()), "exists", away)
    seen = []
    for _ in range(5):
        strategy(seen)(Message(make(), suspect=True), None)
    assert (len(seen), len(asked)) == (5, 3)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer: nothing is skipped")
def test_a_run_that_somebody_has_locked_is_not_waited_for():
    first, second = make(), make()
    with in_an_open_transaction(lambda: TaskRun.objects.filter(pk=first.pk).update(name="x")):
        suspects.suspect([first.pk, second.pk])
    assert [counted(run) for run in (first, second)] == [0, 1]


def test_what_was_held_is_sent_again_whatever_fails_before(sent, monkeypatch):
    """The dead worker's word is gone by then."""

    def fails(*args, **options):
        raise OperationalError("away")

    run = make()
    worker([run], silent=True, queues=["held"])
    monkeypatch.setattr(holding, "_send_unsaid", fails)
    with pytest.raises(OperationalError):
        holding.take_over_from_silent(database_now())
    assert [pk for pk, _ in sent] == [run.pk]


def test_what_is_handed_on_at_once_is_noted_once(django_assert_num_queries):
    run = make()
    with suspects.taking(run.pk), django_assert_num_queries(0), suspects.taking(run.pk):
        pass
    assert note() is None


def test_a_worker_that_is_told_to_stop_leaves_no_note(me):
    Worker.objects.takes(me.pk, make().pk)
    Worker.objects.stop(me.pk)
    assert note() is None


# Verdict ------------------------------------------------------------------------------------------


def died_taking(run, held=()):
    return worker(held, silent=True, taking=run.pk)


def test_the_second_worker_that_a_message_takes_is_its_last(sent, caplog):
    run = make()
    worker([run], silent=True)
    holding.take_over_from_silent(database_now())
    died_taking(run)
    holding.take_over_from_silent(database_now())
    run.refresh_from_db()
    assert sent == [(run.pk, 1)]
    assert (run.status, run.reason) == ("failed", "took_workers")
    assert run.reason_params == {"workers": 2}
    loud = [record.action for record in caplog.records if record.levelname == "ERROR"]
    assert loud == ["took_worker", "took_workers"]


def test_retries_of_the_schedule_do_not_send_it_a_third_time(sent):
    from tests.dispatcher.rows import job

    task = job(max_retries=5)
    run = make(scheduled_task=task, took_workers=1)
    died_taking(run)
    holding.take_over_from_silent(database_now())
    assert (TaskRun.objects.get().status, sent) == ("failed", [])


@pytest.mark.parametrize("status", ["running", "succeeded", "cancelled"])
def test_a_run_that_was_started_meanwhile_is_not_counted(sent, status):
    run = make(status=status, took_workers=1)
    died_taking(run)
    assert holding.take_over_from_silent(database_now()) == 0
    run.refresh_from_db()
    assert (run.status, run.took_workers, sent) == (status, 1, [])
    assert not Worker.objects.exclude(taking=None).exists()


def test_what_lay_in_the_same_worker_is_no_more_to_blame_than_before(sent):
    guilty, beside = make(took_workers=1), make(took_workers=1)
    died_taking(guilty, held=[beside])
    holding.take_over_from_silent(database_now())
    assert [counted(run) for run in (guilty, beside)] == [2, 1]
    assert TaskRun.objects.get(pk=beside.pk).status == "published"


def test_of_two_who_judge_at_once_one_counts(sent):
    run = make()
    row = died_taking(run)
    both, answers = threading.Barrier(2), []

    def judge():
        mine = Worker.objects.get(pk=row.pk)
        both.wait(10)
        answers.append(suspects.judge(mine))
        connection.close()

    threads = [threading.Thread(target=judge) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(answers) == [[], [run.pk]]
    assert counted(run) == 1


def test_a_worker_that_speaks_again_is_not_judged(sent):
    run = make()
    row = died_taking(run)
    mine = Worker.objects.get(pk=row.pk)
    Worker.objects.speak(row.pk, b"")
    assert suspects.judge(mine) == []
    assert counted(run) == 0


@pytest.mark.parametrize("died", ["before the count", "after it"])
def test_who_judges_may_die_at_any_step(sent, died):
    """Before the count another one makes it, also where the worker was taken over; after it, the
    run is not sent by whoever finds it."""
    run = make(took_workers=1)
    row = died_taking(run)
    if died == "before the count":
        Worker.objects.take_over(row)
        holding.take_over_from_silent(database_now())
    else:
        suspects.judge(row)
        publisher.publish_or_leave([TaskRun.objects.get()], database_now())
    assert (TaskRun.objects.get().status, sent) == ("failed", [])


def test_a_row_that_somebody_has_locked_keeps_nobody_from_what_the_worker_held(sent):
    run, other = make(took_workers=1), make()
    row = died_taking(run, held=[other])
    if connection.vendor == "sqlite":
        pytest.skip("one writer: there is no row lock")
    with (
        in_an_open_transaction(lambda: TaskRun.objects.filter(pk=run.pk).update(name="x")),
        impatient(),
    ):
        assert suspects.judge(row) == []
        row.refresh_from_db()
        assert row.taking == run.pk
    assert holding.take_over_from_silent(database_now()) == 1
    assert sent == [(other.pk, 1)]
    assert TaskRun.objects.get(pk=run.pk).status == "failed"
