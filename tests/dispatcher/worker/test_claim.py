"""Which messages may start which runs, what a claim writes, and what it leaves alone."""

import uuid
from datetime import UTC, datetime

import pytest

from dispatcher.models import TaskRun
from dispatcher.models.claim import Claim
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import pause_everything
from tests.dispatcher.models.test_verb_conditions import ENDED, EVERY, S, full_row, values, written
from tests.dispatcher.rows import job

pytestmark = pytest.mark.django_db

THEN = datetime(2026, 1, 5, 9, tzinfo=UTC)
TOKEN, OLD = uuid.uuid4(), uuid.uuid4()
WORKER, MESSAGE = uuid.uuid4(), str(uuid.uuid4())
GONE = 4_000_000  # the id of no scheduled task


def claim(run, attempt=0, retries=0, **other):
    """What the message with these headers does."""
    columns = {"token": TOKEN, "worker": "celery@here", "worker_uuid": WORKER, "pid": 42}
    columns |= {"run_id": run.pk, "message_id": MESSAGE} | other
    return TaskRun.objects.claim(Claim(attempt=attempt, retries=retries, **columns))


#: Rows, each with the message that may start it: first, next, and of the task's own `self.retry`.
FIRST = {"status": "published", "attempt": 0, "retries": 0, "token": None}
NEXT = {"status": "retrying", "attempt": 2, "retries": 0, "token": None}
OWN_RETRY = {"status": "retrying", "attempt": 2, "retries": 1, "token": OLD}
MESSAGES = {"first": (0, 0), "next": (2, 0), "own_retry": (2, 2)}
ROWS = {"first": FIRST, "next": NEXT, "own_retry": OWN_RETRY}


@pytest.fixture
def task():
    return job("job")


@pytest.fixture(autouse=True)
def bystanders(task):
    """Runs that each message could start, were it theirs."""
    columns = {"trigger": "schedule", "revision": 1, "expires_at": None}
    beside = [full_row(task, n, **row | columns) for n, row in enumerate(ROWS.values())]
    before = [values(run) for run in beside]
    yield beside
    assert [values(run) for run in beside] == before


def make(task, kind, **columns):
    defaults = ROWS[kind] | {"trigger": "schedule", "revision": 1, "holds": None, "waits": 7}
    return full_row(task, **defaults | columns)


def claimed(kind, attempt=2):
    return {
        "status": "running",
        "attempt": attempt,
        "retries": MESSAGES[kind][1],
        "token": TOKEN,
        "worker": "celery@here",
        "worker_uuid": WORKER,
        "pid": 42,
        "message_id": MESSAGE,
        "claimed_at": "now",
        "lease_until": "now + 45 s",
        "publish_at": None,
        "waits": None,
        "reason": "",
    }


def test_a_first_claim_writes_who_runs_it_since_when_and_nothing_else(task):
    run = make(task, "first", started_at=None, claimed_at=None, retries=3)
    answer, changed = written(run, lambda: claim(run, 0))
    assert answer is True
    assert changed == claimed("first", attempt=1) | {"started_at": "now"}


@pytest.mark.parametrize("header", [0, 1])
@pytest.mark.parametrize("status", ["planned", "published"])
def test_header_0_and_1_both_mean_the_first_attempt(task, status, header):
    run = make(task, "first", status=status)
    assert claim(run, header) is True
    assert values(run)["attempt"] == 1


@pytest.mark.parametrize("kind", ["next", "own_retry"])
def test_a_later_claim_keeps_the_time_of_the_first_start(task, kind):
    run = make(task, kind)
    answer, changed = written(run, lambda: claim(run, *MESSAGES[kind]))
    assert answer is True
    expected = {k: v for k, v in claimed(kind).items() if ROWS[kind].get(k, "before") != v}
    assert changed == expected
    assert values(run)["started_at"] == THEN


def test_a_tasks_own_retry_may_come_before_the_first_try_has_said_so(task):
    run = make(task, "own_retry", status="running")
    assert claim(run, 2, 2) is True


REFUSED = [
    *[("first", {"status": status}, (0, 0)) for status in ("running", "retrying", *ENDED)],
    ("first", {"attempt": 1}, (0, 0)),
    ("first", {"attempt": 1}, (1, 0)),
    ("first", {"attempt": 2}, (2, 0)),
    ("first", {}, (2, 0)),
    ("first", {"revision": 2}, (0, 0)),
    ("first", {"revision": None}, (0, 0)),
    ("first", {"scheduled_task_id": GONE}, (0, 0)),
    ("first", {"scheduled_task_id": None}, (0, 0)),
    *[("next", {"status": status}, (2, 0)) for status in EVERY if status != "retrying"],
    ("next", {}, (0, 0)),
    ("next", {}, (1, 0)),
    ("next", {}, (3, 0)),
    ("next", {"attempt": 1}, (1, 0)),
    ("next", {"attempt": 1}, (0, 0)),
    ("next", {"token": OLD}, (2, 0)),
    *[
        ("own_retry", {"status": status}, (2, 2))
        for status in EVERY
        if status not in ("running", "retrying")
    ],
    ("own_retry", {}, (2, 0)),
    ("own_retry", {}, (2, 1)),
    ("own_retry", {}, (1, 2)),
    ("own_retry", {}, (3, 2)),
    ("own_retry", {"status": "running", "token": None}, (2, 2)),
    ("own_retry", {"status": "running"}, (2, 1)),
]


@pytest.mark.parametrize(("kind", "row", "message"), REFUSED)
def test_a_message_that_is_not_the_next_one_of_its_run_starts_nothing(task, kind, row, message):
    run = make(task, kind)
    TaskRun.objects.filter(pk=run.pk).update(**row)
    before = values(run)
    assert claim(run, *message) is False
    assert values(run) == before


@pytest.mark.parametrize("kind", ROWS)
def test_a_message_whose_row_is_gone_starts_nothing(task, kind):
    run = make(task, kind)
    assert claim(run, *MESSAGES[kind], run_id=uuid.uuid4()) is False


@pytest.mark.parametrize("kind", ROWS)
def test_the_schedules_runs_wait_while_everything_is_paused_and_others_start(task, kind):
    held, asked = make(task, kind), make(task, kind, trigger="manual", waits=None)
    pause_everything()
    before = values(held)
    assert claim(held, *MESSAGES[kind]) is False
    assert values(held) == before
    assert claim(asked, *MESSAGES[kind]) is True


@pytest.mark.parametrize("trigger", ["schedule", "manual", "backfill", "rerun"])
@pytest.mark.parametrize(
    ("schedule", "ok"),
    [
        ({"enabled": False, "state_reason": "paused"}, False),
        ({"enabled": False, "state_reason": "set_aside"}, False),
        ({"enabled": False, "state_reason": ""}, False),
        ({"enabled": False, "state_reason": "finished"}, True),
        ({"enabled": True, "state_reason": ""}, True),
        ({"revision": 2}, False),
        ({"revision": 2, "enabled": False, "state_reason": "finished"}, False),
    ],
)
def test_only_the_schedules_own_runs_depend_on_it(task, trigger, schedule, ok):
    ScheduledTask.objects.filter(pk=task.pk).keep(**schedule)
    run = make(task, "first", trigger=trigger)
    assert claim(run) is (ok or trigger != "schedule")


def test_another_schedule_that_is_enabled_does_not_count(task):
    """With the revision that the run has: it is the schedule of the run that is asked."""
    job("another")
    run = make(task, "first")
    ScheduledTask.objects.filter(pk=task.pk).keep(revision=2)
    assert claim(run) is False


@pytest.mark.parametrize("trigger", ["schedule", "manual"])
def test_an_expired_run_does_not_start_and_one_that_has_started_goes_on(task, trigger):
    past, future = database_now() - S, database_now() + 60 * S
    assert claim(make(task, "first", trigger=trigger, expires_at=past, waits=None)) is False
    assert claim(make(task, "first", trigger=trigger, expires_at=future, waits=None)) is True
    assert claim(make(task, "next", trigger=trigger, expires_at=past, waits=None), 2) is True
    assert claim(make(task, "own_retry", trigger=trigger, expires_at=past), 2, 2) is True


# Its own claim ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ROWS)
def test_a_claim_is_repeated_with_its_own_token_even_when_all_is_paused_meanwhile(task, kind):
    run = make(task, kind)
    assert claim(run, *MESSAGES[kind]) is True
    ScheduledTask.objects.filter(pk=task.pk).keep(enabled=False, state_reason="paused")
    pause_everything()
    before = values(run)
    assert claim(run, *MESSAGES[kind]) is True
    assert before["started_at"] == values(run)["started_at"]
    assert claim(run, *MESSAGES[kind], token=uuid.uuid4()) is False


@pytest.mark.parametrize("status", [status for status in EVERY if status != "running"])
def test_its_own_token_brings_no_run_back_that_runs_no_more(task, status):
    run = make(task, "own_retry", status=status, token=TOKEN)
    assert claim(run, 2, 1) is False


# Overlap ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["allow", "skip", "queue_one", "cancel_previous"])
def test_a_run_holds_its_schedule_under_every_policy_but_allow(task, policy):
    ScheduledTask.objects.filter(pk=task.pk).keep(overlap_policy=policy)
    run = make(task, "first")
    assert claim(run) is True
    assert values(run)["holds"] == (None if policy == "allow" else task.pk)


def test_a_run_without_a_schedule_holds_nothing(task):
    ScheduledTask.objects.filter(pk=task.pk).keep(overlap_policy="skip")
    run = make(task, "first", trigger="manual", scheduled_task=None)
    assert claim(run) is True
    assert values(run)["holds"] is None


def test_a_run_that_held_goes_on_holding_in_its_next_attempt(task):
    ScheduledTask.objects.filter(pk=task.pk).keep(overlap_policy="skip")
    run = make(task, "next", holds=task.pk)
    assert claim(run, 2) is True
    assert values(run)["holds"] == task.pk
