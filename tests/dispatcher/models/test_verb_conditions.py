"""Of every verb: which rows it takes and which not, what it writes, and what it leaves alone.

Each table begins with a row that the verb takes. Then one thing at a time is different, and the
verb must say so and change nothing. Beside the row stands another one just like it, which no verb
may touch.
"""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from dispatcher.models import RunAttempt, Status, TaskRun
from dispatcher.models.ends import End
from dispatcher.models.verbs import TaskRunQuerySet
from scheduling.database import database_now
from tests.dispatcher.rows import OK, job

pytestmark = pytest.mark.django_db

S = timedelta(seconds=1)
THEN = datetime(2026, 1, 5, 9, tzinfo=UTC)
# Fixed: they are part of the names of tests, which two processes must agree on.
MINE, OTHER, WORKER = (uuid.UUID(int=n) for n in (1, 2, 3))
MESSAGE = str(uuid.UUID(int=4))

ENDED = ("succeeded", "failed", "lost", "cancelled", "missed", "skipped")
EVERY = ("planned", "published", "running", "retrying", *ENDED)


def all_but(*statuses):
    return [{"status": status} for status in EVERY if status not in statuses]


def full_row(task, number=0, **columns):
    """A row of which every column says something, so that what is cleared can be seen."""
    defaults = {
        "scheduled_task": task,
        "name": "job",
        "task": OK,
        "trigger": "manual",
        "scheduled_for": THEN,
        "start_at": THEN,
        "publish_at": THEN,
        "reason": "before",
        "reason_params": {"a": 1},
        "queue": "celery",
        "planned_at": THEN,
        "published_at": THEN,
        "started_at": THEN,
        "claimed_at": THEN,
        "worker": "before",
        "worker_uuid": WORKER,
        "pid": 7,
        "message_id": MESSAGE,
        "token": MINE,
        "lease_until": THEN,
        "holds": 1000 + number,
        "waits": 2000 + number,
        "result": {"b": 2},
        "exception": "before",
        "traceback": "before",
        "log": "before\n",
    }
    return TaskRun.objects.create(**defaults | columns)


def values(run):
    return TaskRun.objects.filter(pk=run.pk).values().get()


def written(run, action):
    """The answer of the verb, and the columns that it changed; times told by the database's."""
    before, start = values(run), database_now()
    answer = action()
    after, end = values(run), database_now()

    def said(value):
        for name, distance in {"now": 0, "now + 30 s": 30, "now + 45 s": 45}.items():
            if isinstance(value, datetime) and start <= value - distance * S <= end:
                return name
        return value

    return answer, {key: said(new) for key, new in after.items() if new != before[key]}


RELEASED = {"publish_at": None, "lease_until": None, "holds": None, "waits": None}


# The verbs of a running attempt -------------------------------------------------------------------

RUNNING = {"status": "running", "attempt": 2, "retries": 1}
FAILURE = End(Status.FAILED, "exception", {"c": 3}, None, "ValueError: x", "Traceback", "after\n")
SUCCESS = End(Status.SUCCEEDED, result=[1], log="after\n")
NEXT = THEN + 60 * S


def end(run, token=MINE, how=SUCCESS):
    return TaskRun.objects.all().end(run.pk, token, how)


def retry_own(run, token=MINE):
    return TaskRun.objects.all().retry_own(run.pk, token, NEXT, "again", "after\n")


def try_again(run, how=FAILURE):
    return TaskRun.objects.all().try_again(run, how, NEXT, NEXT + 9 * S)


def cancel_running(run):
    return TaskRun.objects.all().cancel_running(run, "by_person", by="ada")


def by_message(run, **other):
    asked = {"run_id": run.pk, "attempt": 2, "retries": 1, "message_id": MESSAGE} | other
    return TaskRun.objects.claimed_by_message(**asked).count()


def renew(run, worker=WORKER):
    return TaskRun.objects.all().renew_leases([run.pk], worker)


@pytest.fixture
def task():
    return job("job", overlap_policy="skip")


@pytest.fixture
def run(task):
    return full_row(task, **RUNNING)


@pytest.fixture(autouse=True)
def bystander(run):
    """The same in all that a verb may ask, but not the same run."""
    beside = full_row(run.scheduled_task, 1, **RUNNING)
    before = values(beside)
    yield beside
    assert values(beside) == before


def test_an_end_writes_what_it_was_and_releases_all_that_the_run_held(run):
    answer, changed = written(run, lambda: end(run))
    assert answer is True
    assert changed == RELEASED | {
        "status": "succeeded",
        "reason": "",
        "reason_params": {},
        "result": [1],
        "exception": "",
        "traceback": "",
        "log": "before\nafter\n",
        "finished_at": "now",
    }


def test_an_end_that_failed_says_why(run):
    answer, changed = written(run, lambda: end(run, how=FAILURE))
    assert answer is True
    assert changed == RELEASED | {
        "status": "failed",
        "reason": "exception",
        "reason_params": {"c": 3},
        "result": None,
        "exception": "ValueError: x",
        "traceback": "Traceback",
        "log": "before\nafter\n",
        "finished_at": "now",
    }


def test_an_end_without_lines_leaves_the_log(run):
    _answer, changed = written(run, lambda: end(run, how=End(Status.LOST, "exited")))
    assert (changed["status"], "log" in changed) == ("lost", False)


def test_a_log_keeps_its_newest_part(run, settings):
    settings.SCHEDULER_RUN_LOG_KIB = 1
    end(run, how=End(Status.SUCCEEDED, log="x" * 1020 + "\n"))
    assert values(run)["log"] == "re\n" + "x" * 1020 + "\n"


def test_a_tasks_own_retry_keeps_the_attempt_its_token_and_what_it_holds(run):
    answer, changed = written(run, lambda: retry_own(run))
    assert answer is True
    assert changed == {
        "status": "retrying",
        "reason": "own_retry",
        "exception": "again",
        "log": "before\nafter\n",
        "lease_until": None,
        "start_at": NEXT,
        "publish_at": NEXT + 30 * S,
    }


def test_a_next_attempt_takes_the_token_away_and_keeps_what_the_run_holds(run):
    answer, changed = written(run, lambda: try_again(run))
    assert answer is True
    assert changed == {
        "status": "retrying",
        "reason": "exception",
        "reason_params": {"c": 3},
        "result": None,
        "exception": "ValueError: x",
        "traceback": "Traceback",
        "log": "",
        "lease_until": None,
        "start_at": NEXT,
        "publish_at": NEXT + 9 * S,
        "attempt": 3,
        "retries": 0,
        "token": None,
    }


def test_the_attempt_that_ended_is_kept_as_it_was(run):
    before = database_now()
    try_again(run)
    [past] = RunAttempt.objects.values()
    assert before <= past.pop("finished_at") <= database_now()
    del past["id"]
    assert past == {
        "run_id": run.pk,
        "attempt": 2,
        "retries": 1,
        "status": "failed",
        "reason": "exception",
        "reason_params": {"c": 3},
        "started_at": THEN,
        "worker": "before",
        "pid": 7,
        "message_id": MESSAGE,
        "exception": "ValueError: x",
        "traceback": "Traceback",
        "log": "before\nafter\n",
    }


def test_an_attempt_is_left_only_where_it_can_be_kept(run, monkeypatch):
    def fail(self, **options):
        raise ValueError("no room")

    before = values(run)
    monkeypatch.setattr(RunAttempt, "save", fail)
    with pytest.raises(ValueError, match="no room"):
        try_again(run)
    assert values(run) == before


def test_a_first_message_that_no_worker_could_take_was_the_first_attempt(task):
    refused = full_row(task, 2, status="published", attempt=0, token=None, claimed_at=None)
    assert try_again(refused) is True
    assert (values(refused)["attempt"], values(refused)["status"]) == (2, "retrying")
    assert list(RunAttempt.objects.values_list("attempt", "started_at")) == [(1, None)]


def test_a_cancelled_attempt_keeps_its_token_and_lets_go_of_the_rest(run):
    answer, changed = written(run, lambda: cancel_running(run))
    assert answer is True
    assert changed == RELEASED | {
        "status": "cancelled",
        "reason": "by_person",
        "reason_params": {"by": "ada"},
        "finished_at": "now",
    }


def test_a_renewal_writes_the_lease_and_nothing_else(run):
    answer, changed = written(run, lambda: renew(run))
    assert (answer, changed) == (1, {"lease_until": "now + 45 s"})


def test_the_message_of_a_running_attempt_finds_it(run):
    assert by_message(run) == 1


def test_header_0_and_1_both_mean_the_first_attempt(run):
    TaskRun.objects.filter(pk=run.pk).update(attempt=1)
    assert [by_message(run, attempt=number) for number in (0, 1, 2)] == [1, 1, 0]


def stale(run, **seen):
    """The run as somebody read it before it changed."""
    for name, value in seen.items():
        setattr(run, name, value)
    return run


REFUSED = [
    *[("end", end, row) for row in all_but("running", "lost")],
    ("end", lambda run: end(run, OTHER), {}),
    ("end", end, {"token": OTHER}),
    ("end", end, {"token": None}),
    *[("retry_own", retry_own, row) for row in all_but("running")],
    ("retry_own", lambda run: retry_own(run, OTHER), {}),
    ("retry_own", retry_own, {"token": OTHER}),
    ("retry_own", retry_own, {"token": None}),
    # The row has become so after it was read as running.
    *[
        ("try_again", lambda run: try_again(stale(run, status="running")), row)
        for row in all_but("running", "lost")
    ],
    *[
        ("try_again", lambda run: try_again(stale(run, status="retrying")), row)
        for row in all_but("planned", "published", "retrying")
    ],
    ("try_again", lambda run: try_again(stale(run, token=OTHER)), {}),
    ("try_again", lambda run: try_again(stale(run, token=MINE)), {"token": None}),
    ("try_again", lambda run: try_again(stale(run, attempt=1)), {}),
    ("try_again", lambda run: try_again(stale(run, attempt=3)), {}),
    *[("cancel_running", cancel_running, row) for row in all_but("running")],
    ("cancel_running", lambda run: cancel_running(stale(run, token=OTHER)), {}),
    ("cancel_running", lambda run: cancel_running(stale(run, token=MINE)), {"token": None}),
    *[("by_message", by_message, row) for row in all_but("running")],
    ("by_message", lambda run: by_message(run, run_id=OTHER), {}),
    ("by_message", lambda run: by_message(run, attempt=1), {}),
    ("by_message", lambda run: by_message(run, attempt=3), {}),
    ("by_message", lambda run: by_message(run, retries=0), {}),
    ("by_message", lambda run: by_message(run, retries=2), {}),
    ("by_message", lambda run: by_message(run, message_id=str(OTHER)), {}),
    *[("renew", renew, row) for row in all_but("running")],
    ("renew", lambda run: renew(run, OTHER), {}),
    ("renew", renew, {"worker_uuid": None}),
]


@pytest.mark.parametrize(
    ("verb", "row"),
    [case[1:] for case in REFUSED],
    ids=[f"{name}-{number}-{row}" for number, (name, _, row) in enumerate(REFUSED)],
)
def test_a_verb_of_a_running_attempt_changes_no_other(run, verb, row):
    TaskRun.objects.filter(pk=run.pk).update(**row)
    run.refresh_from_db()
    before = values(run)
    assert not verb(run)
    assert values(run) == before
    assert not RunAttempt.objects.exists()


@pytest.mark.parametrize("verb", [end, try_again])
def test_what_was_lost_is_corrected_by_who_holds_its_token(run, verb):
    lost = {"status": "lost", "reason": "lease_ran_out", "finished_at": THEN, **RELEASED}
    TaskRun.objects.filter(pk=run.pk).update(**lost)
    run.refresh_from_db()
    assert verb(run) is True
    expected = ("succeeded", "") if verb is end else ("retrying", "exception")
    assert (values(run)["status"], values(run)["reason"]) == expected


def test_a_run_that_was_lost_and_is_tried_again_has_not_finished(run):
    lost = {"status": "lost", "finished_at": THEN, **RELEASED}
    TaskRun.objects.filter(pk=run.pk).update(**lost)
    run.refresh_from_db()
    assert try_again(run) is True
    assert values(run)["finished_at"] is None


# Ends without a worker ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["planned", "published", "retrying"])
def test_a_run_that_waits_is_closed_with_its_reason_and_lets_go_of_everything(run, status):
    TaskRun.objects.filter(pk=run.pk).update(status=status)
    rows = TaskRun.objects.filter(pk=run.pk)
    answer, changed = written(run, lambda: rows.close("skipped", "overlap", running="x"))
    assert answer == 1
    assert changed == RELEASED | {
        "status": "skipped",
        "reason": "overlap",
        "reason_params": {"running": "x"},
        "finished_at": "now",
    }


@pytest.mark.parametrize("status", ["running", *ENDED])
def test_what_runs_or_has_ended_is_not_closed(run, status):
    TaskRun.objects.filter(pk=run.pk).update(status=status)
    before = values(run)
    assert TaskRun.objects.filter(pk=run.pk).close("cancelled", "by_person") == 0
    assert values(run) == before


PAST, FUTURE = "PAST", "FUTURE"


def statuses_of(question, **columns):
    """The states in which a question to the rows finds a row with these columns."""
    now = database_now()
    at = {PAST: now - S, FUTURE: now + 60 * S}
    columns = {name: at.get(value, value) for name, value in columns.items()}
    rows = [full_row(None, status=s, holds=None, waits=None, **columns) for s in EVERY]
    found = question(TaskRun.objects.filter(pk__in=[row.pk for row in rows]))
    return set(found.values_list("status", flat=True))


@pytest.mark.parametrize(
    ("expires_at", "expected"),
    [(PAST, {"planned", "published"}), (FUTURE, set()), (None, set())],
)
def test_expired_is_what_has_not_started_when_its_time_is_over(expires_at, expected):
    assert statuses_of(TaskRunQuerySet.expired, expires_at=expires_at) == expected


@pytest.mark.parametrize(
    ("lease_until", "expected"), [(PAST, {"running"}), (FUTURE, set()), (None, set())]
)
def test_lost_is_what_runs_and_has_a_lease_that_ran_out(lease_until, expected):
    assert statuses_of(TaskRunQuerySet.lost, lease_until=lease_until) == expected
