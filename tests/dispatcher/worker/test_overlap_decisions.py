"""What the policy makes of a run that reaches a worker while another one holds, step by step."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import transaction

import dispatcher
from dispatcher.models import Status, TaskRun
from dispatcher.models.claim import Claim
from dispatcher.models.ends import End
from dispatcher.models.verbs import TaskRunQuerySet
from dispatcher.worker import gate, overlap, record
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import pause_everything, resume_everything
from tests.dispatcher.workers import Crew, fresh, start

pytestmark = pytest.mark.django_db(transaction=True)

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)


@pytest.fixture
def make(sent_messages):
    def task(policy, **options):
        made = ScheduledTask.objects.create_interval(
            f"{policy} {uuid4()}", OK, 86_400, overlap_policy=policy, **options
        )
        sent_messages()
        return made

    return task


def run_of(task, **columns):
    """Its message is on the way to a worker."""
    now = database_now()
    defaults = {"scheduled_task": task, "name": "job", "task": OK, "trigger": "manual"}
    defaults |= {"scheduled_for": now, "start_at": now, "planned_at": now, "queue": "celery"}
    defaults |= {"status": "published", "publish_at": now + 30 * S, "revision": task.revision}
    return TaskRun.objects.create(**defaults | columns)


def slot_of(task, slot_in, decided_in=0.0):
    """The run of a slot, decided so many seconds after it."""
    slot = database_now().replace(microsecond=0) + slot_in * S
    columns = {"trigger": "schedule", "slot": slot, "scheduled_for": slot, "start_at": slot}
    return run_of(task, planned_at=slot + decided_in * S, **columns)


def holder_of(task, **columns):
    """A run that a worker has claimed by a message whose id is its own."""
    run = run_of(task, **columns)
    claim = Claim(run.pk, 0, 0, uuid4(), "worker", None, 1, f"message of {run.pk}")
    assert TaskRun.objects.claim(claim) is True
    return fresh(run)


def run_ids(messages):
    return [message["headers"]["run_id"] for message in messages]


# Skip ---------------------------------------------------------------------------------------------


def test_a_skipped_run_names_the_holder_of_its_own_schedule_and_is_told_of_once(make, told):
    task, earlier, later = make("skip"), make("skip"), make("skip")
    holder_of(earlier)
    holder, run = holder_of(task), run_of(task)
    holder_of(later)
    assert start(run) is None
    run = fresh(run)
    assert (run.status, run.reason) == ("skipped", "overlap")
    assert run.reason_params == {"running": str(holder.pk)}
    assert told == [(run.pk, "skipped")]
    assert fresh(holder).status == "running"
    assert start(run) is None  # its message, delivered again
    assert told == [(run.pk, "skipped")]


def test_only_the_run_that_met_the_holder_is_skipped(make):
    task = make("skip")
    holder_of(task)
    run, other = run_of(task), run_of(task)
    start(run)
    assert (fresh(run).status, fresh(other).status) == ("skipped", "published")


def test_what_was_cancelled_at_that_moment_is_not_skipped(make, told, monkeypatch):
    task = make("skip")
    holder_of(task)
    run, decide = run_of(task), overlap._skip

    def cancel_first(seen):
        TaskRun.objects.filter(pk=run.pk).close(Status.CANCELLED, "by_person")
        return decide(seen)

    monkeypatch.setattr(overlap, "_skip", cancel_first)
    assert start(run) is None
    assert (fresh(run).status, told) == ("cancelled", [])


# Queue one ----------------------------------------------------------------------------------------


def test_one_waits_with_its_message_used_up_and_the_next_is_skipped(make, told):
    task = make("queue_one")
    holder, first, second = holder_of(task), run_of(task), run_of(task)
    TaskRun.objects.filter(pk=first.pk).update(publish_at=database_now() - S)
    assert (start(first), start(second)) == (None, None)
    assert (fresh(first).status, fresh(first).waits) == ("published", task.pk)
    assert fresh(first).publish_at > database_now() + 20 * S
    assert (fresh(second).status, fresh(second).waits) == ("skipped", None)
    assert fresh(second).reason_params == {"running": str(holder.pk)}
    assert told == [(second.pk, "skipped")]


def test_a_waiter_whose_message_comes_twice_goes_on_waiting(make):
    task = make("queue_one")
    holder_of(task)
    run = run_of(task)
    assert (start(run), start(run)) == (None, None)
    assert (fresh(run).status, fresh(run).waits) == ("published", task.pk)


# Cancel previous ----------------------------------------------------------------------------------


def test_the_holder_is_terminated_by_the_message_that_claimed_it_and_told_of(make, revoked, told):
    task = make("cancel_previous")
    holder, run = holder_of(task), run_of(task)
    other = holder_of(make("cancel_previous"))
    token = start(run)
    assert token is not None
    assert revoked == [(f"message of {holder.pk}", True)]
    assert told == [(holder.pk, "cancelled")]
    assert (fresh(holder).reason, fresh(holder).reason_params) == (
        "cancel_previous",
        {"by": str(run.pk)},
    )
    assert (fresh(run).status, fresh(run).holds, fresh(run).token) == ("running", task.pk, token)
    assert fresh(other).status == "running"


def test_a_holder_that_ends_at_that_moment_is_neither_terminated_nor_called_cancelled(
    make, revoked, told, monkeypatch
):
    task = make("cancel_previous")
    holder, run = holder_of(task), run_of(task)
    cancel_running = TaskRunQuerySet.cancel_running

    def end_first(rows, *args, **params):
        assert TaskRun.objects.all().end(holder.pk, holder.token, End(Status.SUCCEEDED)) is True
        return cancel_running(rows, *args, **params)

    monkeypatch.setattr(TaskRunQuerySet, "cancel_running", end_first)
    assert start(run) is not None
    assert fresh(holder).status == "succeeded"
    assert (revoked, told) == ([], [])


def test_a_holder_between_two_attempts_is_cancelled_without_a_process_to_end(make, revoked, told):
    task = make("cancel_previous")
    holder, run = holder_of(task), run_of(task)
    later = database_now() + 600 * S
    assert TaskRun.objects.all().try_again(holder, End(Status.FAILED), later, later) is True
    assert start(run) is not None
    assert (fresh(holder).status, fresh(holder).reason) == ("cancelled", "cancel_previous")
    assert fresh(holder).reason_params == {"by": str(run.pk)}
    assert (revoked, told) == ([], [(holder.pk, "cancelled")])


def test_the_holders_next_attempt_that_starts_meanwhile_is_ended_all_the_same(
    make, revoked, monkeypatch
):
    """Seen running, then retrying and running again: another token holds."""
    task = make("cancel_previous")
    holder, run = holder_of(task), run_of(task)
    cancel_running, moves = TaskRunQuerySet.cancel_running, []

    def go_on_first(rows, *args, **params):
        if not moves:
            now = database_now()
            moves.append(TaskRun.objects.all().try_again(holder, End(Status.FAILED), now, now))
            second = Claim(holder.pk, 2, 0, uuid4(), "worker", None, 1, "its second message")
            moves.append(TaskRun.objects.claim(second))
        return cancel_running(rows, *args, **params)

    monkeypatch.setattr(TaskRunQuerySet, "cancel_running", go_on_first)
    assert start(run) is not None
    assert moves == [True, True]
    assert revoked == [("its second message", True)]
    assert (fresh(holder).status, fresh(run).status) == ("cancelled", "running")


def test_a_worker_that_cannot_be_asked_does_not_keep_the_new_run_from_its_start(
    broken_broker, caplog
):
    task = ScheduledTask.objects.create_interval(
        "job", OK, 86_400, overlap_policy="cancel_previous"
    )
    holder, run = holder_of(task), run_of(task)
    assert start(run) is not None
    assert fresh(holder).status == "cancelled"
    assert "terminate_failed" in {getattr(record, "action", "") for record in caplog.records}


# Turns --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decided_in", "takes_turns"), [(0, False), (60, False), (60.001, True), (3600, True)]
)
def test_a_slot_decided_later_than_its_grace_catches_up_and_takes_turns(
    make, decided_in, takes_turns
):
    task = make("skip")
    holder_of(task)
    run = slot_of(task, -7200, decided_in)
    assert start(run) is None
    expected = ("published", "takes_turns") if takes_turns else ("skipped", "overlap")
    assert (fresh(run).status, fresh(run).reason) == expected


def test_the_grace_is_that_of_the_schedule(make):
    task = make("skip", misfire_grace_seconds=600)
    holder_of(task)
    run, late = slot_of(task, -7200, 600), slot_of(task, -7100, 601)
    assert (start(run), start(late)) == (None, None)
    assert (fresh(run).status, fresh(late).reason) == ("skipped", "takes_turns")


@pytest.mark.parametrize("trigger", ["manual", "rerun"])
def test_what_a_person_asks_for_once_follows_the_policy(make, trigger):
    task = make("skip")
    holder_of(task)
    long_ago = database_now() - 7200 * S
    run = run_of(task, trigger=trigger, scheduled_for=long_ago)
    assert start(run) is None
    assert fresh(run).status == "skipped"


@pytest.mark.parametrize("policy", ["skip", "queue_one", "cancel_previous"])
def test_a_backfilled_run_that_meets_a_holder_ends_nothing(make, revoked, told, policy):
    task = make(policy)
    holder, run = holder_of(task), run_of(task, trigger="backfill")
    assert start(run) is None
    assert (fresh(run).status, fresh(run).reason, fresh(run).waits) == (
        "published",
        "takes_turns",
        None,
    )
    assert fresh(holder).status == "running"
    assert (revoked, told) == ([], [])


# Wake ---------------------------------------------------------------------------------------------


def test_an_end_wakes_one_the_waiter_first_and_then_the_oldest_slot(make, sent_messages):
    task, other = make("queue_one"), make("queue_one")
    holder, waiter = holder_of(task), run_of(task)
    hours = (2, 1, 3)
    turns = [slot_of(task, -3600 * hour, decided_in=3600) for hour in hours]
    oldest_first = [turns[2], turns[0], turns[1]]
    holder_of(other)
    others = run_of(other)
    assert [start(run) for run in (*turns, waiter, others)] == [None] * 5
    assert record.succeed(holder.pk, holder.token, End(Status.SUCCEEDED)) is True
    for woken in (waiter, *oldest_first):
        assert run_ids(sent_messages()) == [str(woken.pk)]
        assert start(woken) is not None
        assert record.succeed(woken.pk, fresh(woken).token, End(Status.SUCCEEDED)) is True
    assert sent_messages() == []
    assert fresh(others).waits == other.pk


def test_a_run_that_belongs_to_no_schedule_wakes_nobody(make, sent_messages):
    loose = dispatcher.run_task(OK)
    turn = run_of(make("skip"), reason="takes_turns")
    sent_messages()
    overlap.wake(None)
    assert start(loose) is not None
    assert record.succeed(loose.pk, fresh(loose).token, End(Status.SUCCEEDED)) is True
    assert sent_messages() == []
    assert fresh(turn).status == "published"


@pytest.mark.parametrize("waits", ["for the one place", "for its turn"])
def test_while_everything_is_paused_the_end_of_a_holder_wakes_only_what_people_asked_for(
    make, sent_messages, waits
):
    task = make("queue_one")
    holder = holder_of(task)
    in_line = {"reason": "takes_turns"} if waits == "for its turn" else {"waits": task.pk}
    slot = database_now() - 600 * S
    held = run_of(task, trigger="schedule", slot=slot, scheduled_for=slot, **in_line)
    asked = run_of(task, trigger="backfill", reason="takes_turns")
    pause_everything()
    assert record.succeed(holder.pk, holder.token, End(Status.SUCCEEDED)) is True
    assert run_ids(sent_messages()) == [str(asked.pk)]
    resume_everything()
    sent_messages()
    overlap.wake(task.pk)
    assert run_ids(sent_messages()) == [str(held.pk)]


def test_a_waiter_that_is_gone_by_the_commit_is_not_sent(make, sent_messages):
    task = make("queue_one")
    waiter = run_of(task, waits=task.pk)
    with transaction.atomic():
        overlap.wake(task.pk)
        TaskRun.objects.filter(pk=waiter.pk).close(Status.CANCELLED, "by_person")
    assert sent_messages() == []
    assert fresh(waiter).status == "cancelled"


def test_the_wake_up_is_marked_so_that_rescue_does_not_repeat_it(make, sent_messages):
    task = make("queue_one")
    long_ago = database_now() - 3600 * S
    waiter = run_of(task, waits=task.pk, start_at=long_ago, publish_at=long_ago)
    overlap.wake(task.pk)
    assert run_ids(sent_messages()) == [str(waiter.pk)]
    assert fresh(waiter).publish_at > database_now() + 20 * S
    assert fresh(waiter).published_at is not None


# What is left of the run by then ------------------------------------------------------------------


@pytest.mark.parametrize("gone", ["the run", "its schedule"])
def test_of_what_is_gone_nothing_is_started(make, gone):
    task = make("skip")
    holder_of(task)
    run = run_of(task)
    claim = Claim(run.pk, 0, 0, uuid4(), "worker", None, 1, "message")
    if gone == "the run":
        TaskRun.objects.filter(pk=run.pk).delete()
    else:
        TaskRun.objects.filter(pk=run.pk).update(scheduled_task=None)
    assert overlap.follow_policy(claim) is False
    assert list(TaskRun.objects.filter(pk=run.pk).values_list("status", "attempt")) == (
        [] if gone == "the run" else [("published", 0)]
    )


def test_the_second_try_of_a_claim_may_find_the_place_taken_again(make):
    """Between the two, another one has started."""
    task = make("queue_one")
    holder_of(task)
    run = run_of(task)
    claim = Claim(run.pk, 0, 0, uuid4(), "worker", None, 1, "message")
    assert overlap._claim_again(claim) is False
    assert gate._claim(claim) is False
    assert fresh(run).waits == task.pk


# Before the commit --------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["skip", "queue_one", "cancel_previous"])
def test_nobody_is_woken_or_ended_by_a_cancellation_that_is_not_committed(
    make, sent_messages, revoked, crew: Crew, policy
):
    """Seen by another process while the transaction that cancels is still open."""
    task = make(policy)
    holder = holder_of(task)
    turn = run_of(task, trigger="backfill")
    assert start(turn) is None
    sent_messages()
    with transaction.atomic():
        assert dispatcher.cancel(holder) is True
        [seen] = crew.at_once(lambda: (fresh(holder).status, fresh(turn).published_at))
        assert seen == ("running", None)
        assert (sent_messages(), revoked) == ([], [])
    assert run_ids(sent_messages()) == [str(turn.pk)]
    assert revoked == [(f"message of {holder.pk}", True)]
