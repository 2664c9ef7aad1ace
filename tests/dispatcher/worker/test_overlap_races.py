"""Two workers reach runs of one scheduled task at the same instant, over and over."""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery.app import app_or_default
from django.db import transaction

import dispatcher
from dispatcher.models import Status, TaskRun, Tick
from dispatcher.models.ends import End
from dispatcher.models.verbs import TaskRunQuerySet
from dispatcher.tick import tick
from dispatcher.upkeep import rescue
from dispatcher.worker import record
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.workers import Crew, fresh, start

pytestmark = pytest.mark.django_db(transaction=True)

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)

#: Where there is time; OVERLAP_ROUNDS=300 for less.
MANY = pytest.param(int(os.environ.get("OVERLAP_ROUNDS", "1000")), marks=pytest.mark.slow)
ROUNDS = [40, MANY]


@pytest.fixture
def inbox(sent_messages: Any) -> Iterator[Callable[..., list[str]]]:
    """The runs whose messages wait in the queue; takes them from it."""
    app = app_or_default()
    with app.connection_for_read() as broker:
        queue = broker.SimpleQueue(app.amqp.queues["celery"], no_ack=True)

        def take(expected: int = 0) -> list[str]:
            """All that is there, once at least so many have come: RabbitMQ takes its time."""
            found: list[str] = []
            deadline = time.monotonic() + 20
            while True:
                with suppress(queue.Empty):
                    while True:
                        found.append(queue.get(block=False).headers["run_id"])
                if len(found) >= expected or time.monotonic() > deadline:
                    return found
                time.sleep(0.005)

        yield take
        queue.close()


def schedule(policy: str, **options: Any) -> ScheduledTask:
    return ScheduledTask.objects.create_interval(
        f"{policy} {uuid4()}", OK, 3600, overlap_policy=policy, **options
    )


def published(task: ScheduledTask, count: int) -> list[TaskRun]:
    """Runs asked for by hand whose messages are on their way to a worker."""
    now = database_now()
    columns = {"name": task.name, "task": OK, "queue": "celery", "trigger": "manual"}
    columns |= {"scheduled_for": now, "start_at": now, "planned_at": now, "status": "published"}
    runs = [TaskRun(scheduled_task=task, publish_at=now + 30 * S, **columns) for _ in range(count)]
    return TaskRun.objects.bulk_create(runs)


def only(items: Any) -> Any:
    [item] = items
    return item


# How a run that holds its schedule ends -----------------------------------------------------------


def succeed(run: TaskRun) -> bool:
    return record.succeed(run.pk, token_of(run), End(Status.SUCCEEDED))


def fail(run: TaskRun) -> bool:
    return record.fail(run.pk, token_of(run), End(Status.FAILED, "exception"))


def lose(run: TaskRun) -> bool:
    """Its lease runs out, and a rescue pass sees it."""
    now = database_now()
    Tick.objects.bulk_create(
        Tick(kind=Tick.Kind.RESCUE, started_at=now - seconds * S) for seconds in (60, 40, 20)
    )
    TaskRun.objects.filter(pk=run.pk, status=Status.RUNNING).update(lease_until=now - S)
    return rescue.lose(now) == 1


def cancel(run: TaskRun) -> bool:
    return dispatcher.cancel(run, by="ada")


def token_of(run: TaskRun) -> UUID:
    token = fresh(run).token
    assert token is not None
    return token


ENDS = [succeed, fail, lose, cancel]


# Thousands of rounds ------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", ROUNDS)
def test_under_allow_both_start(crew: Crew, rounds: int) -> None:
    task = schedule("allow")
    for _ in range(rounds):
        runs = published(task, 2)
        tokens = crew.at_once(*[lambda run=run: start(run) for run in runs])
        assert None not in tokens
        for run, token in zip(runs, tokens, strict=True):
            run = fresh(run)
            assert (run.status, run.holds, run.token) == ("running", None, token)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_under_skip_one_starts_and_the_other_is_skipped(crew: Crew, rounds: int) -> None:
    task = schedule("skip")
    for _ in range(rounds):
        runs = published(task, 2)
        tokens = crew.at_once(*[lambda run=run: start(run) for run in runs])
        assert tokens.count(None) == 1
        holder, skipped = sorted(map(fresh, runs), key=lambda run: run.status)
        assert (holder.status, holder.holds) == ("running", task.pk)
        assert (skipped.status, skipped.reason) == ("skipped", "overlap")
        assert skipped.reason_params == {"running": str(holder.pk)}
        assert succeed(holder) is True


@pytest.mark.parametrize("rounds", ROUNDS)
def test_under_queue_one_one_starts_one_waits_and_the_third_is_skipped(
    crew: Crew, inbox: Any, rounds: int
) -> None:
    task = schedule("queue_one")
    for end in itertools.islice(itertools.cycle(ENDS), rounds):
        runs = published(task, 3)
        tokens = crew.at_once(*[lambda run=run: start(run) for run in runs])
        assert tokens.count(None) == 2
        rows = {run.status: run for run in map(fresh, runs)}
        assert sorted(rows) == ["published", "running", "skipped"]
        holder, waiter = rows["running"], rows["published"]
        assert (holder.holds, waiter.waits, rows["skipped"].waits) == (task.pk, task.pk, None)
        assert end(holder) is True
        assert inbox(1) == [str(waiter.pk)]
        assert start(waiter) is not None
        assert succeed(waiter) is True
    assert not TaskRun.objects.waiting().exists()


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_wake_up_is_never_lost_when_the_holder_ends_while_the_waiter_decides(
    crew: Crew, inbox: Any, rounds: int
) -> None:
    task = schedule("queue_one")
    started_at_once = 0
    for end in itertools.islice(itertools.cycle(ENDS), rounds):
        holder, waiter = published(task, 2)
        assert start(holder) is not None
        ended, token = crew.at_once(lambda h=holder, e=end: e(h), lambda w=waiter: start(w))
        assert ended is True
        started_at_once += token is not None
        if token is None:
            assert str(waiter.pk) in inbox(1)
            assert start(waiter) is not None
        assert fresh(waiter).holds == task.pk
        assert succeed(waiter) is True
        inbox()
    assert started_at_once > 0


@pytest.mark.parametrize("rounds", ROUNDS)
def test_under_cancel_previous_one_runs_and_the_other_can_record_nothing(
    crew: Crew, sent_messages: Any, rounds: int
) -> None:
    task = schedule("cancel_previous")
    for _ in range(rounds):
        runs = published(task, 2)
        tokens = crew.at_once(*[lambda run=run: start(run) for run in runs])
        rows = {run.status: run for run in map(fresh, runs)}
        assert sorted(rows) == ["cancelled", "running"]
        previous, holder = rows["cancelled"], rows["running"]
        assert (previous.reason, previous.reason_params) == (
            "cancel_previous",
            {"by": str(holder.pk)},
        )
        assert (holder.holds, holder.token in tokens) == (task.pk, True)
        assert None not in tokens  # the one that was replaced had started
        assert record.succeed(previous.pk, token_of(previous), End(Status.SUCCEEDED)) is False
        assert succeed(holder) is True


@pytest.mark.parametrize("rounds", [20, MANY])
def test_backfilled_runs_that_come_all_at_once_run_one_after_the_other(
    crew: Crew, inbox: Any, rounds: int
) -> None:
    task = schedule("skip")
    for _ in range(rounds):
        runs = published(task, 3)
        TaskRun.objects.filter(pk__in=[run.pk for run in runs]).update(trigger="backfill")
        tokens = crew.at_once(*[lambda run=run: start(run) for run in runs])
        assert tokens.count(None) == 2
        for left in (2, 1, 0):
            assert succeed(only(TaskRun.objects.filter(status=Status.RUNNING))) is True
            woken = inbox(min(left, 1))
            assert len(woken) == min(left, 1)
            assert [start(TaskRun.objects.get(pk=pk)) is not None for pk in woken] == [True] * len(
                woken
            )
        assert {fresh(run).status for run in runs} == {"succeeded"}


# Each interleaving on purpose ---------------------------------------------------------------------


def retrying(run: TaskRun) -> TaskRun:
    """The holder is between two attempts."""
    run, now = fresh(run), database_now()
    assert TaskRun.objects.all().try_again(run, End(Status.FAILED), now + 600 * S, now + 600 * S)
    return run


def cancel_between_attempts(run: TaskRun) -> bool:
    return dispatcher.cancel(retrying(run))


def refuse(run: TaskRun) -> bool:
    """The message of its next attempt reaches a worker that does not know the task."""
    return record.refuse(retrying(run).pk, 2, End(Status.FAILED, "not_registered", {"task": OK}))


def pause(run: TaskRun) -> bool:
    """Its schedule is paused between two attempts; what a person asked for goes on."""
    TaskRun.objects.filter(pk=run.pk).update(trigger="schedule", slot=run.scheduled_for)
    return ScheduledTask.objects.get(pk=retrying(run).scheduled_task_id).pause()


def delete(run: TaskRun) -> bool:
    TaskRun.objects.filter(pk=run.pk).update(trigger="schedule", slot=run.scheduled_for)
    return bool(ScheduledTask.objects.get(pk=retrying(run).scheduled_task_id).delete())


@pytest.mark.sampled(3)
@pytest.mark.parametrize("point", ["before it waits", "before it tries again", "while it waits"])
@pytest.mark.parametrize("end", [*ENDS, cancel_between_attempts, refuse, pause, delete])
@pytest.mark.parametrize("waits", ["for one place", "for its turn"])
def test_whenever_the_holder_ends_the_waiter_starts(
    inbox: Any, monkeypatch: pytest.MonkeyPatch, waits: str, end: Any, point: str
) -> None:
    task = schedule("queue_one")
    holder, waiter = published(task, 2)
    if waits == "for its turn":
        TaskRun.objects.filter(pk=waiter.pk).update(trigger="backfill")
    verb = "wait" if waits == "for one place" else "wait_turn"
    original = getattr(TaskRunQuerySet, verb)
    ended = []

    def with_the_end(self: Any, *args: Any) -> Any:
        if point == "before it waits":
            ended.append(end(holder))
        answer = original(self, *args)
        if point == "before it tries again":
            ended.append(end(holder))
        return answer

    assert start(holder) is not None
    with monkeypatch.context() as patch:
        patch.setattr(TaskRunQuerySet, verb, with_the_end)
        token = start(waiter)
    if point == "while it waits":
        assert token is None
        ended.append(end(holder))
        assert inbox(1) == [str(waiter.pk)]
        token = start(waiter)

    assert bool(only(ended)) is True
    assert token is not None
    assert fresh(waiter).status == "running"
    assert fresh(holder).is_ended


@pytest.mark.parametrize("policy", ["skip", "queue_one", "cancel_previous"])
def test_a_claim_waits_for_a_cancellation_that_is_not_committed_yet(
    crew: Crew, inbox: Any, policy: str
) -> None:
    """A request that cancels the holder within its transaction, and a worker at that moment."""
    task = schedule(policy)
    holder, follower = published(task, 2)
    assert start(holder) is not None
    turn = only(published(task, 1))
    TaskRun.objects.filter(pk=turn.pk).update(trigger="backfill")
    assert start(turn) is None  # it waits for its turn, and is woken by the end of the holder
    cancelled, claiming = threading.Event(), threading.Event()
    sent_before_the_commit: list[str] = []

    def cancel_in_a_transaction() -> bool:
        with transaction.atomic():
            done = dispatcher.cancel(holder)
            cancelled.set()
            assert claiming.wait(60)
            threading.Event().wait(0.2)  # let it reach the database; nothing rests on the time
            sent_before_the_commit.extend(inbox())
        return done

    def claim() -> UUID | None:
        assert cancelled.wait(60)
        claiming.set()
        return start(follower)

    done, token = crew.at_once(cancel_in_a_transaction, claim)
    assert done is True
    assert token is not None
    assert (fresh(holder).status, fresh(follower).status) == ("cancelled", "running")
    assert sent_before_the_commit == []
    assert inbox(1) == [str(turn.pk)]


# What rescue makes of those that wait -------------------------------------------------------------


def at(seconds: float) -> Any:
    return database_now() + seconds * S


def test_while_the_holder_runs_rescue_leaves_those_that_wait_alone(inbox: Any) -> None:
    task = schedule("queue_one")
    holder, waiter, turn = published(task, 3)
    TaskRun.objects.filter(pk=turn.pk).update(trigger="backfill")
    assert start(holder) is not None
    assert (start(waiter), start(turn)) == (None, None)

    for seconds in (60, 120, 600):
        assert rescue.publish_again(at(seconds)) == 0
    assert inbox() == []


def test_a_wake_up_lost_with_its_process_is_made_up_for_once(inbox: Any) -> None:
    task = schedule("queue_one")
    holder, waiter = published(task, 2)
    assert start(holder) is not None
    assert start(waiter) is None
    ended = TaskRun.objects.all().end(holder.pk, token_of(holder), End(Status.SUCCEEDED))
    assert ended and inbox() == []  # as if the process had died between the two

    assert rescue.publish_again(at(60)) == 1
    assert rescue.publish_again(at(300)) == 0  # its message waits in the queue
    assert inbox(1) == [str(waiter.pk)]
    assert start(waiter) is not None


def test_of_those_that_take_turns_only_the_first_in_line_is_published_again(inbox: Any) -> None:
    task = schedule("skip")
    holder, *line = published(task, 6)
    for number, run in enumerate(line):
        TaskRun.objects.filter(pk=run.pk).update(
            trigger="backfill", scheduled_for=run.scheduled_for - (10 - number) * S
        )
    assert start(holder) is not None
    assert [start(run) for run in reversed(line)] == [None] * 5
    TaskRun.objects.all().end(holder.pk, token_of(holder), End(Status.SUCCEEDED))

    assert rescue.publish_again(at(60)) == 1
    assert inbox(1) == [str(line[0].pk)]


def test_those_that_take_turns_all_go_on_when_overlap_is_allowed_meanwhile(inbox: Any) -> None:
    task = schedule("skip")
    holder, *line = published(task, 4)
    TaskRun.objects.filter(pk__in=[run.pk for run in line]).update(trigger="backfill")
    assert start(holder) is not None
    assert [start(run) for run in line] == [None] * 3
    ScheduledTask.objects.filter(pk=task.pk).update(overlap_policy="allow")
    assert succeed(holder) is True

    assert len(inbox(1)) == 1
    assert rescue.publish_again(at(60)) == 3
    assert sorted(inbox(3)) == sorted(str(run.pk) for run in line)


# Catching up --------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["skip", "queue_one", "cancel_previous"])
def test_slots_that_run_all_catches_up_on_run_one_by_one_oldest_first(
    inbox: Any, policy: str
) -> None:
    now = database_now()
    began = now.replace(microsecond=0) - 9.5 * 3600 * S
    task = schedule(policy, misfire_policy="run_all", starts_at=began)
    ScheduledTask.objects.filter(pk=task.pk).keep(next_run_at=began, armed_at=began - S)
    tick(now)
    sent = [TaskRun.objects.get(pk=pk) for pk in inbox(10)]
    assert len(sent) == TaskRun.objects.filter(slot__lte=now).count() == 10

    started = [run for run in reversed(sent) if start(run) is not None]  # the newest comes first
    assert started == [sent[-1]]
    order = []
    while running := TaskRun.objects.filter(status=Status.RUNNING).first():
        order.append(running.slot)
        assert succeed(running) is True
        for pk in inbox(1 if len(order) < len(sent) else 0):
            start(TaskRun.objects.get(pk=pk))

    assert order[1:] == sorted(order[1:])
    assert set(TaskRun.objects.filter(slot__lte=now).values_list("status", flat=True)) == {
        "succeeded"
    }
