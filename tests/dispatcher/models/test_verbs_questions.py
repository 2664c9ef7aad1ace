"""What the stages ask of the runs: which to publish, which to look at again, which to end."""

from datetime import timedelta

import pytest

from dispatcher.models import Status, TaskRun
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import pause_everything, resume_everything

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)


@pytest.fixture
def now():
    return database_now()


@pytest.fixture
def task():
    task = ScheduledTask.objects.create_interval("job", OK, 86_400, overlap_policy="skip")
    TaskRun.objects.all().delete()
    return task


def row(now, name="job", start_in=-60.0, publish_in=-60.0, **columns):
    """A run by the seconds from `now` to its start and to its next publishing."""
    start_at = now + start_in * S
    defaults = {"name": name, "task": OK, "trigger": "manual", "planned_at": now}
    defaults |= {"scheduled_for": start_at, "start_at": start_at}
    defaults |= {"publish_at": None if publish_in is None else now + publish_in * S}
    return TaskRun.objects.create(**defaults | columns)


def names(rows):
    return set(rows.values_list("name", flat=True))


# To be published ----------------------------------------------------------------------------------


def test_publishable_is_what_was_never_sent_and_is_due_up_to_the_horizon(now):
    row(now, "due", start_in=0, publish_in=0)
    row(now, "long due", start_in=-5000, publish_in=-5000)
    row(now, "at the horizon", start_in=90, publish_in=0)
    row(now, "retries without a message", start_in=0, publish_in=0, status="retrying")
    row(now, "retries, just unsent", start_in=-29.9, publish_in=0, status="retrying")
    row(now, "beyond the horizon", start_in=90.1, publish_in=0)
    row(now, "leased", start_in=0, publish_in=0.1)
    row(now, "nobody publishes it", start_in=0, publish_in=None)
    row(now, "is for rescue", start_in=-30, publish_in=0, status="retrying")
    for status in set(Status.values) - {"planned", "retrying"}:
        row(now, status, start_in=0, publish_in=0, status=status)
    assert names(TaskRun.objects.publishable(now)) == {
        "due",
        "long due",
        "at the horizon",
        "retries without a message",
        "retries, just unsent",
    }


@pytest.mark.parametrize("question", ["publishable", "unanswered"])
def test_while_everything_is_paused_what_people_asked_for_goes_on(now, question):
    status = "planned" if question == "publishable" else "published"
    for trigger in ("schedule", "manual", "backfill", "rerun"):
        row(now, trigger, trigger=trigger, status=status)
    rows = getattr(TaskRun.objects, question)
    assert names(rows(now)) == {"schedule", "manual", "backfill", "rerun"}
    pause_everything()
    assert names(rows(now)) == {"manual", "backfill", "rerun"}
    resume_everything()
    assert names(rows(now)) == {"schedule", "manual", "backfill", "rerun"}


# To be looked at again ----------------------------------------------------------------------------


def test_unanswered_is_what_was_published_and_not_started_half_a_minute_after_its_start(now):
    row(now, "late", start_in=-30, status="published")
    row(now, "late, and looked at later", publish_in=600, status="published")
    row(now, "its next attempt", status="retrying")
    row(now, "in time", start_in=-29.9, status="published")
    row(now, "to come", start_in=30, status="published")
    row(now, "started", publish_in=None, status="published")
    for status in set(Status.values) - {"published", "retrying"}:
        row(now, status, status=status)
    late = {"late", "late, and looked at later", "its next attempt"}
    assert names(TaskRun.objects.unanswered(now)) == late


def test_who_waits_in_line_is_answered_by_the_end_of_the_holder(now, task):
    other = ScheduledTask.objects.create_interval("other", OK, 86_400, overlap_policy="skip")
    TaskRun.objects.all().delete()
    held = {"scheduled_task": task, "status": "published"}
    free = {"scheduled_task": other, "status": "published"}
    row(now, "holder", status="running", scheduled_task=task, holds=task.pk, publish_in=None)
    row(now, "waits", waits=task.pk, **held)
    row(now, "takes turns", reason="takes_turns", **held)
    row(now, "on its way to a worker", **held)
    row(now, "waits for nobody", waits=other.pk, **free)
    row(now, "turns with nobody", reason="takes_turns", **free)
    assert names(TaskRun.objects.unanswered(now)) == {
        "on its way to a worker",
        "waits for nobody",
        "turns with nobody",
    }


# Of slots -----------------------------------------------------------------------------------------


def test_untouched_is_a_slots_run_that_no_gate_has_seen(now, task):
    row(now, "planned", trigger="schedule", status="planned")
    row(now, "published", trigger="schedule", status="published")
    row(now, "claimed before", trigger="schedule", attempt=1)
    row(now, "waits", trigger="schedule", waits=task.pk)
    row(now, "takes turns", trigger="schedule", reason="takes_turns")
    for trigger in ("manual", "backfill", "rerun"):
        row(now, trigger, trigger=trigger)
    for status in set(Status.values) - {"planned", "published"}:
        row(now, status, trigger="schedule", status=status)
    assert names(TaskRun.objects.untouched()) == {"planned", "published"}


def test_owed_is_what_is_due_or_waits_for_a_retry_of_these_schedules(now, task):
    other = ScheduledTask.objects.create_interval("other", OK, 86_400)
    TaskRun.objects.all().delete()
    mine = {"scheduled_task": task, "trigger": "schedule"}
    row(now, "due", start_in=0, **mine)
    row(now, "due, published", status="published", **mine)
    row(now, "retries later", start_in=600, status="retrying", **mine)
    row(now, "due by its slot", **mine | {"scheduled_for": now, "start_at": now + 60 * S})
    row(now, "to come", start_in=0.1, **mine)
    row(now, "to come by its slot", **mine | {"scheduled_for": now + S, "start_at": now})
    row(now, "asked for", scheduled_task=task, trigger="manual")
    row(now, "another's", scheduled_task=other, trigger="schedule")
    for status in set(Status.values) - {"planned", "published", "retrying"}:
        row(now, status, status=status, **mine)
    due = {"due", "due, published", "retries later", "due by its slot"}
    assert names(TaskRun.objects.owed([task.pk], now)) == due
    assert names(TaskRun.objects.owed([task.pk, other.pk], now)) == due | {"another's"}


def test_expired_is_what_has_not_started_by_the_databases_time(now):
    row(now, "planned", expires_at=now - S)
    row(now, "published", status="published", expires_at=now - S)
    row(now, "to expire", expires_at=now + 600 * S)
    row(now, "never")
    for status in set(Status.values) - {"planned", "published"}:
        row(now, status, status=status, expires_at=now - S)
    assert names(TaskRun.objects.expired()) == {"planned", "published"}


def test_lost_is_what_runs_without_a_lease_by_the_databases_time(now):
    row(now, "gone", status="running", lease_until=now - S)
    row(now, "alive", status="running", lease_until=now + 600 * S)
    row(now, "no lease", status="running")
    for status in set(Status.values) - {"running"}:
        row(now, status, status=status, lease_until=now - S)
    assert names(TaskRun.objects.lost()) == {"gone"}


def test_those_that_take_turns_come_oldest_slot_first(now, task):
    other = ScheduledTask.objects.create_interval("other", OK, 86_400)
    mine = {"scheduled_task": task, "reason": "takes_turns", "status": "published"}
    for name, slot_in in (("second", -20), ("third", -10), ("first", -30)):
        row(now, name, **mine | {"scheduled_for": now + slot_in * S})
    row(now, "retries", **mine | {"scheduled_for": now - 5 * S, "status": "retrying"})
    row(now, "another's", **mine | {"scheduled_task": other})
    row(now, "no turn", scheduled_task=task, status="published")
    row(now, "runs", **mine | {"status": "running"})
    found = TaskRun.objects.taking_turns(task.pk).values_list("name", flat=True)
    assert list(found) == ["first", "second", "third", "retries"]


# Take, and mark -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", Status.values)
def test_only_what_waits_is_taken(now, status):
    run = row(now, status=status)
    taken = TaskRun.objects.filter(pk=run.pk).take(now + 30 * S)
    waits = status in ("planned", "published", "retrying")
    assert taken == waits
    run.refresh_from_db()
    assert run.publish_at == now + (30 if waits else -60) * S


@pytest.mark.parametrize("status", Status.values)
def test_only_what_waits_is_marked_and_a_retry_stays_one(now, status):
    run = row(now, status=status)
    marked = TaskRun.objects.mark_published([run.pk], 0, run.publish_at)
    run.refresh_from_db()
    assert marked == (status in ("planned", "published", "retrying"))
    assert run.status == ("published" if status == "planned" else status)
    assert (run.published_at is not None) == marked


@pytest.mark.parametrize(
    ("attempt", "lease_in", "marked"),
    [(2, -60, 1), (1, -60, 0), (3, -60, 0), (2, -61, 0), (2, 30, 0), (2, None, 0)],
)
def test_only_who_holds_the_lease_of_this_attempt_marks_it(now, attempt, lease_in, marked):
    run = row(now, status="retrying", attempt=2)
    lease = None if lease_in is None else now + lease_in * S
    assert TaskRun.objects.mark_published([run.pk], attempt, lease) == marked
    run.refresh_from_db()
    assert (run.published_at is not None) == bool(marked)
    assert (run.publish_at == now - 60 * S) == (not marked)


def test_only_the_runs_that_were_sent_are_marked(now):
    sent, other = row(now, "sent"), row(now, "other")
    assert TaskRun.objects.mark_published([sent.pk], 0, sent.publish_at) == 1
    assert names(TaskRun.objects.filter(status="published")) == {"sent"}
    other.refresh_from_db()
    assert (other.publish_at, other.published_at) == (now - 60 * S, None)


@pytest.mark.parametrize(
    ("start_in", "distance", "looks_in"),
    [(60, None, 90), (-600, None, 30), (60, 120 * S, 120), (-600, 900 * S, 900)],
)
def test_it_is_looked_at_again_after_its_start_or_after_the_distance(
    now, start_in, distance, looks_in
):
    run = row(now, start_in=start_in)
    TaskRun.objects.mark_published([run.pk], 0, run.publish_at, distance)
    run.refresh_from_db()
    assert timedelta(0) <= run.publish_at - (now + looks_in * S) < 10 * S


# Wait ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", Status.values)
@pytest.mark.parametrize("how", ["for the one place", "for its turn"])
def test_only_what_waits_to_start_can_wait_for_another(now, task, status, how):
    run = row(now, status=status, scheduled_task=task)
    rows = TaskRun.objects.filter(pk=run.pk)
    won = rows.wait(run.pk, task.pk) if how == "for the one place" else rows.wait_turn()
    waits = status in ("planned", "published", "retrying")
    assert won == waits
    run.refresh_from_db()
    assert run.status == ("published" if status == "planned" else status)
    if not waits:
        assert (run.waits, run.reason, run.publish_at) == (None, "", now - 60 * S)
        return
    turn = how == "for its turn"
    assert (run.waits, run.reason) == ((None, "takes_turns") if turn else (task.pk, ""))
    assert timedelta(0) <= run.publish_at - (now + 30 * S) < 10 * S


def test_only_the_run_that_is_meant_waits(now, task):
    run, other = row(now, scheduled_task=task), row(now, scheduled_task=task)
    assert TaskRun.objects.all().wait(run.pk, task.pk) is True
    assert TaskRun.objects.filter(pk=other.pk).wait_turn() == 1
    run.refresh_from_db()
    other.refresh_from_db()
    assert (run.waits, run.reason) == (task.pk, "")
    assert (other.waits, other.reason) == (None, "takes_turns")


def test_who_takes_turns_gives_up_a_place_in_line(now, task):
    run = row(now, scheduled_task=task, waits=task.pk)
    TaskRun.objects.filter(pk=run.pk).wait_turn()
    run.refresh_from_db()
    assert (run.waits, run.reason) == (None, "takes_turns")


def test_started_at_first_sending_is_what_its_only_message_started(now):
    sent = {"published_at": now - 100 * S, "started_at": now, "attempt": 1, "status": "succeeded"}
    row(now, "started", start_in=-110, **sent)
    row(now, "sent ahead", start_in=-10, **sent)
    row(now, "sent again", start_in=-131, **sent)
    row(now, "another attempt", start_in=-110, **sent | {"attempt": 2})
    row(now, "retried itself", start_in=-110, retries=1, **sent)
    row(now, "not started", start_in=-110, **sent | {"started_at": None})
    found = TaskRun.objects.started_at_first_sending()
    assert names(found) == {"started", "sent ahead"}
