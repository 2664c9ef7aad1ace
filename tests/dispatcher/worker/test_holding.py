"""What a worker holds: which runs its word names, and who may send again what a silent one held."""

import threading
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from celery.app import app_or_default
from celery.worker import state
from celery.worker.request import Request
from django.db import OperationalError, connection

from dispatcher.models import TaskRun, Worker
from dispatcher.models.process import packed, unpacked
from dispatcher.models.times import WORKER_LEASE
from dispatcher.publish import publisher
from dispatcher.publish.publisher import BrokerAway
from dispatcher.upkeep import rescue
from dispatcher.worker import holding, leases
from scheduling.database import database_now
from tests.dispatcher.rows import OK

pytestmark = pytest.mark.django_db(transaction=True)

S = timedelta(seconds=1)


class Message:
    """A request as Celery builds it at receipt."""

    def __init__(self, run_id=None, eta=None, acknowledged=False):
        self.id, self.eta, self.acknowledged = str(uuid.uuid4()), eta, acknowledged
        self.request_dict = {"run_id": str(run_id or uuid.uuid4()), "attempt": 1}

    @property
    def run_id(self):
        return uuid.UUID(self.request_dict["run_id"])


@pytest.fixture
def receive(monkeypatch):
    """Messages that this process has received, for the length of the test."""
    kept = []
    monkeypatch.setattr(holding, "_received", type(holding._received)())
    monkeypatch.setattr(holding, "_at_stop", None)
    monkeypatch.setattr(state, "requests", {})
    monkeypatch.setattr(state, "active_requests", set())

    def received(**columns):
        message = Message(**columns)
        kept.append(message)
        state.requests[message.id] = message
        holding.received(message)
        return message

    received.kept = kept
    return received


def make(**columns):
    now = database_now()
    defaults = {"name": "job", "task": OK, "trigger": "manual", "status": "published"}
    defaults |= {"scheduled_for": now, "start_at": now, "planned_at": now, "queue": "held"}
    return TaskRun.objects.create(**defaults | {"publish_at": now + 30 * S} | columns)


def worker(held=(), *, silent=False, **columns):
    now = database_now()
    lease = now - S if silent else now + 60 * S
    defaults = {"id": uuid.uuid4(), "hostname": "w@here", "pid": 1, "pool": "prefork"}
    defaults |= {"started_at": now, "seen_at": now, "lease_until": lease}
    return Worker.objects.create(**defaults | {"held": packed(run.pk for run in held)} | columns)


@pytest.fixture
def sent(monkeypatch):
    """The runs that were published, instead of a broker."""
    runs = []

    def publish(batch, now):
        runs.extend(run.pk for run in batch)
        return len(batch)

    monkeypatch.setattr(publisher, "publish", publish)
    return runs


# The word -----------------------------------------------------------------------------------------


def test_the_word_names_what_waits_and_not_what_runs_has_ended_or_was_dropped(receive):
    waits, runs, ended, dropped = receive(), receive(), receive(acknowledged=True), receive()
    state.active_requests.add(runs)
    del state.requests[dropped.id]
    assert holding.held_run_ids() == [waits.run_id]
    assert ended.run_id not in unpacked(holding.word())


def test_celery_5_6_does_not_list_a_message_that_waits_for_its_time(receive, monkeypatch):
    waits = receive()
    state.requests.clear()
    monkeypatch.delattr(state, "scheduled_requests", raising=False)
    assert holding.held_run_ids() == [waits.run_id]


def test_the_word_is_bounded_and_names_those_first_that_start_first(receive, monkeypatch):
    at = datetime(2030, 1, 1, tzinfo=UTC)
    messages = [receive(eta=at + number * S) for number in (3, 1, 2)]
    messages.append(receive())  # for now
    monkeypatch.setattr(holding, "LIMIT", 3)
    third, first, second, now = (message.run_id for message in messages)
    assert unpacked(holding.word()) == [now, first, second]
    assert third not in holding.held_run_ids()


def test_a_message_that_celery_lets_go_is_held_no_more(receive):
    message = receive()
    receive.kept.clear()
    state.requests.clear()
    del message
    assert holding.held_run_ids() == []
    assert len(holding._received) == 0


def test_a_worker_that_stops_hands_back_once_and_then_what_it_has_taken_since(receive, sent):
    """A consumer that has not heard of the stop takes its own messages back."""
    run = make(publish_at=database_now() - S)
    receive(run_id=run.pk)
    holding.told_to_stop()
    assert [holding.hand_back(database_now()) for _ in range(2)] == [1, 0]
    receive(run_id=run.pk)
    assert [holding.hand_back(database_now()) for _ in range(2)] == [1, 0]
    assert sent == [run.pk, run.pk]


def test_what_celery_forgets_when_its_consumer_is_closed_is_handed_back(receive, sent):
    """Before the heart has looked, and what came in that moment."""
    before, since, started = (make(publish_at=database_now() - S) for _ in range(3))
    receive(run_id=before.pk)
    begins = receive(run_id=started.pk)
    holding.told_to_stop()
    receive(run_id=since.pk)
    state.requests.clear()
    receive.kept.clear()
    begins.acknowledged = True
    assert holding.hand_back(database_now()) == 2
    assert set(sent) == {before.pk, since.pk}


def test_what_the_broker_did_not_take_is_handed_back_at_the_next_word(receive, sent, monkeypatch):
    def away(*args, **options):
        raise BrokerAway("away")

    run = make(publish_at=database_now() - S)
    receive(run_id=run.pk)
    holding.told_to_stop()
    with monkeypatch.context() as patches:
        patches.setattr(holding.publisher, "publish", away)
        assert holding.hand_back(database_now()) == 0
    assert (holding.hand_back(database_now()), sent) == (1, [run.pk])


@pytest.mark.parametrize(
    ("headers", "count"), [({"run_id": str(uuid.UUID(int=7)), "attempt": 1}, 1), ({}, 0)]
)
def test_a_request_of_a_run_is_noted_when_it_is_built(receive, headers, count):
    from dispatcher.worker.request import RunRequest

    message = SimpleNamespace(
        delivery_info={}, properties={}, headers={}, body=b"[[], {}, {}]", content_type="json"
    )
    message.content_encoding, message.payload = "utf-8", [[], {}, {}]
    head = {"id": "1", "task": "dispatcher.tick", "lang": "py"} | headers
    request = RunRequest(
        message, app=app_or_default(), headers=head, body=message.payload, decoded=True
    )
    assert isinstance(request, Request)
    assert len(holding._received) == count


# Those who are silent -----------------------------------------------------------------------------


def test_what_a_silent_worker_held_is_sent_again_once_and_only_what_has_not_started(sent):
    held = [make(), make(status="retrying"), make(status="running"), make(status="succeeded")]
    row = worker(held, silent=True)
    living = worker([make()])
    now = database_now()
    assert holding.take_over_from_silent(now) == 2
    assert sorted(sent) == sorted(run.pk for run in held[:2])
    assert holding.take_over_from_silent(now) == 0
    row.refresh_from_db()
    living.refresh_from_db()
    assert (bytes(row.held), row.lease_until) == (b"", None)
    assert bytes(living.held) != b""


@pytest.mark.parametrize(("in_the_queue", "missing"), [(0, 2), (1, 1), (2, 0), (5, 0), (None, 0)])
def test_what_it_received_after_its_last_word_is_what_is_nowhere_else(
    sent, monkeypatch, in_the_queue, missing
):
    """Two runs are in no word. A queue is first in, first out: the older one is missing first."""
    monkeypatch.setattr(holding, "messages_ready", lambda queue: in_the_queue)
    now = database_now()
    soon = {"start_at": now + 30 * S, "published_at": now - 9 * S}
    second, first = make(**soon), make(**soon | {"published_at": now - 10 * S})
    elsewhere = make(**soon | {"queue": "other"})
    fresh = make(**soon | {"published_at": now - 2 * S})  # a living worker may still say it
    of_old = make(**soon | {"start_at": now - 60 * S})  # rescue's business
    running = make(**soon | {"status": "running"})
    held = make(**soon)
    worker([held])
    worker([], silent=True, queues=["held"])
    assert holding.take_over_from_silent(now) == missing
    assert set(sent) == {run.pk for run in (first, second)[:missing]}
    assert not {elsewhere.pk, fresh.pk, of_old.pk, running.pk, held.pk} & set(sent)


def test_a_worker_that_stopped_or_held_nothing_leaves_nothing_to_take_over(sent):
    worker([make()], silent=True, stopped_at=database_now())
    worker([], silent=True)
    assert holding.take_over_from_silent(database_now()) == 0
    assert sent == []


def test_of_two_who_judge_at_once_one_sends(sent):
    row = worker([make()], silent=True)
    both_have_read, answers = threading.Barrier(2), []

    def judge():
        mine = Worker.objects.get(pk=row.pk)
        both_have_read.wait(10)
        answers.append(Worker.objects.take_over(mine))
        connection.close()

    threads = [threading.Thread(target=judge) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(answers) == [False, True]


def test_a_worker_that_speaks_again_meanwhile_keeps_what_it_holds(sent):
    row = worker([make()], silent=True)
    Worker.objects.speak(row.pk, bytes(row.held))
    assert Worker.objects.take_over(row) is False
    assert bytes(Worker.objects.get().held) == bytes(row.held)


def test_many_are_sent_in_batches(sent, monkeypatch):
    monkeypatch.setattr(holding, "SENT_AGAIN_AT_ONCE", 2)
    runs = [make() for _ in range(5)]
    assert holding.send_again([run.pk for run in runs], database_now()) == 5
    assert sent == [run.pk for run in runs]


# Who may judge ------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock of the heart."""
    at = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(leases, "monotonic", lambda: at.now)
    return at


@pytest.fixture
def judged(monkeypatch):
    passes = []
    monkeypatch.setattr(
        leases.holding, "take_over_from_silent", lambda now: passes.append(now) or 0
    )
    return passes


def heart():
    return leases.Heart(Worker(id=uuid.uuid4(), hostname="w@here", pid=1, pool="prefork"))


def beats(heart, clock, count):
    for _ in range(count):
        heart.beat()
        clock.now += 3


def test_a_worker_judges_others_only_when_it_has_spoken_for_longer_than_a_lease(clock, judged):
    mine = heart()
    beats(mine, clock, 4)  # 0, 3, 6, 9 s
    assert judged == []
    beats(mine, clock, 2)  # 12, 15 s
    assert len(judged) == 2


@pytest.mark.parametrize("trouble", ["a machine that stood still", "a database that was away"])
def test_after_a_gap_nobody_is_silent_at_once(clock, judged, monkeypatch, trouble):
    mine = heart()
    beats(mine, clock, 6)
    assert len(judged) == 2
    if trouble == "a machine that stood still":
        clock.now += WORKER_LEASE.total_seconds()
    else:
        with monkeypatch.context() as patch:
            patch.setattr(type(Worker.objects.all()), "speak", lambda *args: 1 / 0)
            mine.beat()
    beats(mine, clock, 4)
    assert len(judged) == 2
    beats(mine, clock, 2)
    assert len(judged) > 2


def test_a_worker_that_stops_hands_back_once_holds_nothing_and_judges_nobody(
    clock, judged, receive, sent
):
    run = make()
    receive(run_id=run.pk)
    mine = heart()
    beats(mine, clock, 5)
    assert unpacked(Worker.objects.get().held) == [run.pk]
    before = len(judged)
    holding.told_to_stop()
    mine.leaving = True
    beats(mine, clock, 3)
    assert sent == [run.pk]
    assert bytes(Worker.objects.get().held) == b""
    assert len(judged) == before


def test_a_worker_that_cannot_hand_back_waits_between_its_tries_and_ends_when_it_is_told(
    clock, monkeypatch
):
    def away(now):
        tries.append(now)
        raise OperationalError("away")

    tries, rests = [], []
    monkeypatch.setattr(holding, "hand_back", away)
    mine = heart()
    monkeypatch.setattr(mine.stopping, "wait", lambda seconds: rests.append(seconds))
    mine.leaving = True
    mine.beat()
    assert (mine._rest(), len(tries), sum(rests) > 2) == (False, 1, True)
    monkeypatch.setattr(mine.stopping, "wait", lambda seconds: True)
    assert mine._rest() is True


def test_the_runs_are_renewed_every_third_or_fourth_word(clock, judged, monkeypatch):
    renewed = []
    monkeypatch.setattr(leases.Heart, "_renew_runs", lambda self: renewed.append(clock.now))
    mine = heart()
    beats(mine, clock, 1)
    assert renewed == [1000.0]  # at the first word


# Rescue -------------------------------------------------------------------------------------------


def test_rescue_leaves_alone_what_a_living_worker_holds(sent, monkeypatch):
    monkeypatch.setattr(rescue, "messages_ready", lambda queue: 0)
    published = []
    monkeypatch.setattr(
        publisher, "publish", lambda runs, now, distance=None: published.extend(runs) or len(runs)
    )
    old = {"start_at": database_now() - 100 * S, "publish_at": database_now() - 10 * S}
    held, gone, orphan = make(**old), make(**old), make(**old)
    worker([held])
    worker([gone], silent=True)
    assert rescue.publish_again(database_now()) == 2
    assert {run.pk for run in published} == {gone.pk, orphan.pk}
