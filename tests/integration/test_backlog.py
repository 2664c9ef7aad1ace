"""A backlog is not a loss: what rescue sends again while messages wait, and while some are gone."""

import os
import time
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from dispatcher.models import TaskRun, bulk
from dispatcher.publish import broker, publisher
from dispatcher.upkeep import rescue
from project.celery import app
from scheduling.database import database_now
from tests.integration.harness import Stack
from tests.integration.tasks_app import tasks

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("empty_queues"),
]

S = timedelta(seconds=1)

#: In the ordinary suite, and the size that was promised.
SIZES = [300, pytest.param(20_000, marks=pytest.mark.slow)]


def published(count: int, *, lost: int = 0, **columns: Any) -> list[TaskRun]:
    """Runs that were due 100 s ago and published. The messages of the first `lost` are gone, as
    when the broker restarts empty or a worker dies with what it held."""
    now = database_now()
    defaults = {"name": "backlog", "task": tasks.record_run.name, "trigger": "manual"}
    defaults |= {"scheduled_for": now - 100 * S, "start_at": now - 100 * S, "planned_at": now}
    lease = now + 30 * S
    options = defaults | {"queue": "celery"} | columns
    runs = [TaskRun(publish_at=lease, **options) for _ in range(count)]
    bulk.insert(runs)
    publisher.publish(runs[lost:], now)
    for start in range(0, lost, 1000):
        ids = [run.pk for run in runs[start : min(start + 1000, lost)]]
        TaskRun.objects.mark_published(ids, 0, lease)
    return runs


def waiting(queue: str = "celery") -> int:
    """How many messages are in the queue, asked of the broker itself."""
    url = os.environ["CELERY_BROKER_URL"]
    if url.startswith("redis"):
        import redis

        with redis.Redis.from_url(url) as client:
            keys = [
                key for key in client.scan_iter() if key.split(b"\x06\x16")[0] == queue.encode()
            ]
            return sum(client.llen(key) for key in keys)
    with app.connection_for_read() as connection, connection.channel() as channel:
        return int(channel.queue_declare(queue, passive=True).message_count)


def settled(count: int, queue: str = "celery") -> None:
    """So many are in the queue. RabbitMQ counts a message a moment after it was sent."""
    deadline = time.monotonic() + 30
    while waiting(queue) != count and time.monotonic() < deadline:
        time.sleep(0.1)
    assert waiting(queue) == count


def passes(*seconds: int) -> int:
    """Rescue passes so many seconds from now; how many messages they sent."""
    now = database_now()
    return sum(rescue.publish_again(now + second * S) for second in seconds)


TEN_MINUTES = range(40, 660, 20)


@pytest.mark.parametrize("count", SIZES)
def test_rescue_does_not_multiply_what_waits_for_slow_or_missing_workers(count: int) -> None:
    published(count)
    settled(count)

    assert passes(*TEN_MINUTES) == 0
    assert waiting() == count


@pytest.mark.parametrize("count", SIZES)
def test_of_a_backlog_exactly_what_is_missing_is_sent_again_and_each_run_starts_once(
    stack: Stack, count: int
) -> None:
    runs = published(count, lost=count // 2)
    settled(count // 2)

    sent = 0
    for _pass in range(-(-count // 2 // rescue.LIMIT)):
        sent += passes(40)
        settled(count // 2 + sent)
    assert sent == count // 2
    assert passes(*TEN_MINUTES) == 0

    stack.start("worker", queues="celery")
    stack.wait_until(lambda: not TaskRun.objects.waiting().exists(), 900, "the backlog's end", 0.5)
    all_started_once(stack, runs)


def all_started_once(stack: Stack, runs: list[TaskRun]) -> None:
    stack.wait_until(lambda: not TaskRun.objects.active().exists(), 30, "the last ends")
    started = Counter(execution.more["run_id"] for execution in stack.executions("record_run"))
    assert started == Counter({str(run.pk): 1 for run in runs})
    assert set(TaskRun.objects.values_list("status", "attempt")) == {("succeeded", 1)}


def test_what_was_lost_out_of_the_middle_is_sent_when_the_queue_has_moved_on(stack: Stack) -> None:
    """Nobody sees whose messages wait: some are sent twice, and those that are missing later."""
    runs = published(80) + published(20, lost=20) + published(80)
    settled(160)
    assert passes(40) == 20
    settled(180)

    stack.start("worker", queues="celery")
    sent = 0

    def drained() -> bool:
        nonlocal sent
        sent += passes(60)
        return not TaskRun.objects.waiting().exists()

    stack.wait_until(drained, 120, "the backlog's end", poll=1)
    all_started_once(stack, runs)
    print(f"20 lost of 180: 20 sent again at once, {sent} while the queue was worked off")
    assert 0 < sent < 100  # some of the missing may have been among the first 20


def test_what_one_pass_could_not_send_the_next_passes_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent again is in the queue too, and must not be taken for the rest."""
    monkeypatch.setattr(rescue, "LIMIT", 10)
    published(100, lost=50)
    settled(50)
    for count in range(60, 110, 10):
        assert passes(40) == 10
        settled(count)
    assert passes(*TEN_MINUTES) == 0


def test_queues_are_judged_one_by_one() -> None:
    published(300, queue="celery")
    published(40, queue="other", lost=15)
    published(20, queue="slow", lost=20)
    settled(300)
    settled(25, "other")

    assert passes(40) == 35
    for queue, count in (("celery", 300), ("other", 40), ("slow", 20)):
        settled(count, queue)
    assert passes(*TEN_MINUTES) == 0


def test_a_great_loss_in_one_queue_does_not_keep_another_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rescue, "LIMIT", 100)
    published(500, queue="celery", lost=500)
    published(20, queue="slow", lost=20)

    assert passes(40) == 100
    settled(20, "slow")
    settled(80, "celery")


def test_messages_of_every_priority_count() -> None:
    for priority in (None, 0, 3, 5, 9):
        published(20, priority=priority)
    settled(100)
    assert broker.messages_ready("celery") == 100

    assert passes(*TEN_MINUTES) == 0
    published(7, priority=9, lost=7)
    assert passes(40) == 7
    settled(107)


def foreign(count: int) -> None:
    for _ in range(count):
        app.send_task(tasks.ok.name, [1], queue="celery")


def test_behind_the_messages_of_others_nothing_is_sent_too_often() -> None:
    foreign(50)
    published(40)
    settled(90)

    assert passes(*TEN_MINUTES) == 0
    assert waiting() == 90


def test_what_is_lost_behind_the_messages_of_others_is_seen_when_a_later_run_has_started() -> None:
    now = database_now()
    gone, early = published(2, lost=2), published(3)
    TaskRun.objects.update(published_at=now - 100 * S)
    later = published(1)[0]
    foreign(50)
    settled(54)
    assert passes(*TEN_MINUTES) == 0

    started(later, published_at=now - 60 * S, start_at=now - 40 * S)
    TaskRun.objects.filter(pk__in=[run.pk for run in early]).update(published_at=now - 61 * S)
    assert passes(40) == 2
    settled(56)
    assert passes(41) == 0
    again = TaskRun.objects.filter(published_at__gt=now).exclude(pk=later.pk)
    assert set(again) == set(gone)


def started(run: TaskRun, published_at: datetime, start_at: datetime) -> None:
    """A worker has had its message, the only one that was sent for it."""
    TaskRun.objects.filter(pk=run.pk).update(
        published_at=published_at,
        start_at=start_at,
        started_at=start_at,
        status="running",
        attempt=1,
        publish_at=None,
    )


@pytest.mark.slow
def test_messages_that_a_busy_worker_holds_are_not_sent_again(stack: Stack) -> None:
    """The worker says every 3 s which they are."""
    count = 100
    worker = stack.start("worker", queues="other", concurrency=1)
    now = database_now()
    eta = now + 20 * S  # time enough to make the worker busy before it
    held = [
        TaskRun(
            name="held",
            task=tasks.record_run.name,
            trigger="manual",
            queue="other",
            scheduled_for=eta,
            start_at=eta,
            planned_at=now,
            publish_at=now + 30 * S,
        )
        for _ in range(count)
    ]
    bulk.insert(held)
    publisher.publish(held, now)
    stack.wait_until(lambda: worker.log.count("received") >= count, 30, "the messages to be held")
    release = stack.directory / "release"
    app.send_task(tasks.hold.name, [str(release)], queue="other")
    stack.wait_until(lambda: stack.executions("hold"), 30, "the worker to be busy")
    stack.wait_until(lambda: database_now() > eta + 2 * S, 40, "the eta")
    assert TaskRun.objects.unstarted().count() == count

    sent = []
    for seconds in range(60, 1860, 60):  # half an hour
        sent.append(passes(seconds))
    again = sum(sent)
    print(f"{count} messages held by a busy worker: {again} sent again, by pass: {sent}")
    assert again == 0

    release.touch()
    stack.wait_until(lambda: not TaskRun.objects.waiting().exists(), 60, "the runs")
    stack.wait_until(lambda: waiting("other") == 0, 30, "the duplicates to be refused")
    all_started_once(stack, held)
