"""A rescue pass repairs what it can: what stops one repair does not stop the others."""

from datetime import timedelta
from uuid import uuid4

import pytest

from dispatcher.models import Status, TaskRun, Tick
from dispatcher.models.ends import End
from dispatcher.upkeep import rescue
from dispatcher.worker import record
from scheduling.database import database_now
from scheduling.models import ScheduledTask

pytestmark = pytest.mark.django_db(transaction=True)

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)


def make_run(**columns):
    now = database_now()
    defaults = {"name": "job", "task": OK, "trigger": "manual", "queue": "celery"}
    defaults |= {"scheduled_for": now - 60 * S, "start_at": now - 60 * S, "planned_at": now}
    defaults |= {"status": "published", "publish_at": now - S}
    return TaskRun.objects.create(**defaults | columns)


def lost_run(**columns):
    now = database_now()
    columns |= {"status": "running", "attempt": 1, "token": uuid4(), "publish_at": None}
    return make_run(lease_until=now - S, **columns)


@pytest.fixture
def passes_before(transactional_db):
    """Rescue has been running: leases can be judged."""
    now = database_now()
    for seconds in (60, 40, 20):
        Tick.objects.create(kind=Tick.Kind.RESCUE, started_at=now - seconds * S)


def status_of(run):
    return TaskRun.objects.get(pk=run.pk).status


def test_without_a_broker_what_is_lost_and_expired_ends_all_the_same(broken_broker, passes_before):
    lost, late = lost_run(), make_run(expires_at=database_now() - S)
    overdue = make_run()
    rescued = rescue.rescue()
    assert (rescued.lost, rescued.expired, rescued.published) == (1, 1, 0)
    assert (status_of(lost), status_of(late), status_of(overdue)) == (
        "lost",
        "missed",
        "published",
    )


def test_one_lost_run_that_cannot_be_recorded_does_not_keep_the_others(
    sent_messages, passes_before, monkeypatch
):
    bad, good, overdue = lost_run(), lost_run(), make_run()
    end_or_retry = record.end_or_retry

    def end_unless_bad(run, end):
        if run.pk == bad.pk:
            raise ValueError("garbage in its row")
        return end_or_retry(run, end)

    monkeypatch.setattr(record, "end_or_retry", end_unless_bad)
    rescued = rescue.rescue()
    assert (rescued.lost, rescued.published) == (1, 1)
    assert (status_of(bad), status_of(good)) == ("running", "lost")
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(overdue.pk)]


def test_a_repair_that_fails_as_a_whole_lets_the_others_happen_and_is_told(
    sent_messages, passes_before, monkeypatch
):
    overdue = make_run()

    def fail(now):
        raise RuntimeError("the leases cannot be read")

    monkeypatch.setattr(rescue, "lose", fail)
    with pytest.raises(RuntimeError, match="the leases"):
        rescue.rescue()
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(overdue.pk)]


def test_a_refused_run_waits_for_its_next_attempt_and_then_fails_with_the_last(sent_messages):
    task = ScheduledTask.objects.create_interval(
        "job", OK, 3600, max_retries=1, retry_delay_seconds=60
    )
    run = make_run(scheduled_task=task)
    end = End(Status.FAILED, "not_registered", {"task": OK})
    before = database_now()

    assert record.refuse(run.pk, 0, end) is True
    run.refresh_from_db()
    assert (run.status, run.reason, run.attempt) == ("retrying", "not_registered", 2)
    assert run.start_at >= before + 60 * S
    assert run.publish_at == run.start_at  # ahead of its time the same worker would refuse it again
    assert sent_messages() == []
    assert (run.lateness, run.holds, run.token) == (None, None, None)
    assert record.refuse(run.pk, 0, end) is False  # a second message of the first attempt
    assert record.refuse(run.pk, 2, end) is True
    run.refresh_from_db()
    assert (run.status, run.reason_params) == ("failed", {"task": OK})


def test_a_wake_up_is_sent_with_a_new_time_to_look_again(sent_messages):
    """Its start is long past: without it, the next rescue pass would send a second message."""
    run = make_run(start_at=database_now() - 3600 * S)
    lease = run.publish_at
    TaskRun.objects.mark_published([run.pk], 0, lease)
    run.refresh_from_db()
    assert run.publish_at >= database_now() + 20 * S
