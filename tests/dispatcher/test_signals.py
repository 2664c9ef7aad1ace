"""`run_finished` is sent once for every end of a run, whoever ended it, after the commit."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from dispatcher import run_finished
from dispatcher.models import TaskRun
from dispatcher.plan import planner
from dispatcher.publish import messages
from dispatcher.tick import tick
from dispatcher.upkeep.rescue import rescue
from scheduling.database import database_now
from scheduling.models import ScheduledTask

pytestmark = pytest.mark.django_db(transaction=True)

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)


@pytest.fixture
def heard():
    """(slot, status, reason) of each run that was announced; its row says the same."""
    found = []

    def hear(sender, run, **signal):
        assert sender is TaskRun
        assert run.is_ended
        assert not connection.in_atomic_block
        found.append((run.slot, run.status, run.reason))

    run_finished.connect(hear)
    yield found
    run_finished.disconnect(hear)


@pytest.fixture
def now():
    return database_now().replace(microsecond=0)


def row(now, every=60, *, since=timedelta(0), **columns):
    start = now - since
    columns = {"starts_at": start, "armed_at": start - S, "created_at": start} | columns
    task = ScheduledTask(name="job", task=OK, kind="interval", interval_seconds=every, **columns)
    return ScheduledTask.objects.bulk_create([task])[0]


def ends():
    """What the rows say."""
    rows = TaskRun.objects.ended().order_by("slot")
    return list(rows.values_list("slot", "status", "reason"))


def plan(now):
    for ids in planner.due_batches(now):
        planner.plan_batch(ids, now)


def test_the_ends_that_the_planner_writes(heard, now):
    row(
        now,
        since=600 * S,
        misfire_policy="run_all",
        expires_seconds=150,
        skip_slots=[(now - 60 * S).isoformat()],
    )
    plan(now)
    assert sorted(heard) == ends()
    assert {reason for _, _, reason in heard} == {"expired", "skipped_by_hand"}


def test_a_row_of_missed_slots_is_told_of_once(heard, now):
    row(now, since=600 * S)
    plan(now)
    assert heard == ends() == [(now - 600 * S, "missed", "misfire")]


def test_nothing_is_told_of_a_plan_that_is_rolled_back(heard, now):
    row(now, since=600 * S)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        plan(now)
        _ = 1 / 0
    assert heard == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda task: task.pause(), "paused"),
        (lambda task: task.delete(), "deleted"),
    ],
    ids=["pause", "delete"],
)
def test_the_ends_of_a_pause_and_of_a_delete(heard, now, change, reason):
    task = row(now, 10, since=40 * S)
    plan(now - 30 * S)
    ScheduledTask.objects.filter(pk=task.pk).keep(next_run_at=now - 20 * S)
    TaskRun.objects.filter(slot__gte=now - 20 * S).delete()  # due, and never planned
    change(ScheduledTask.objects.get(pk=task.pk))
    assert sorted(heard) == ends()
    assert [entry[1:] for entry in ends()] == [
        ("cancelled", reason),
        ("cancelled", reason),
        ("missed", "edited"),
    ]


def test_a_retry_that_a_pause_cancels(heard, now):
    task = row(now)
    plan(now)
    TaskRun.objects.filter(slot=now).update(status="retrying", attempt=2)
    ScheduledTask.objects.get(pk=task.pk).pause()
    assert heard == [(now, "cancelled", "paused")]


def test_a_run_that_cannot_be_a_message(heard, now, sent_messages, monkeypatch):
    def refuse(*arguments, **options):
        raise TypeError("not serialisable")

    row(now)
    monkeypatch.setattr(messages, "_send_task", refuse)
    tick(now)
    assert sorted(heard) == ends()
    assert {reason for _, _, reason in heard} == {"not_publishable"}


def test_a_run_that_expired_before_its_start(heard, now, sent_messages):
    row(now, expires_seconds=30)
    plan(now)
    TaskRun.objects.filter(slot=now).update(expires_at=now - S)
    rescue()
    assert heard == [(now, "missed", "expired")]


def test_a_receiver_that_raises_harms_neither_the_plan_nor_the_other_receivers(heard, now):
    def fail(**signal):
        raise ValueError("a receiver of the user's")

    run_finished.connect(fail)
    try:
        row(now, since=600 * S)
        plan(now)
    finally:
        run_finished.disconnect(fail)
    assert heard == ends() != []


def test_what_it_costs_is_spent_only_where_somebody_listens(now):
    def queries():
        ScheduledTask.objects.all().delete()
        task = row(now, since=600 * S)
        with CaptureQueriesContext(connection) as captured:
            plan(now)
            task.pause()
        return len(captured)

    alone = queries()
    run_finished.connect(hear := lambda **signal: None)
    try:
        heard = queries()
    finally:
        run_finished.disconnect(hear)
    assert heard > alone
