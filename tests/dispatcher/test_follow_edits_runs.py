"""What an edit, a pause and a deletion do to each run there may be, run by run."""

from datetime import timedelta

import pytest

from dispatcher import follow_edits
from dispatcher.models import Status, TaskRun
from dispatcher.plan import planner
from dispatcher.publish import publisher
from dispatcher.runs import run_now
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import pause_everything
from tests.dispatcher.rows import OK, job, run_at

pytestmark = pytest.mark.django_db

S = timedelta(seconds=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def now():
    return database_now().replace(microsecond=0)


def bare(now, **options):
    """An hourly schedule since yesterday: nothing is planned, and nothing owed."""
    options = {"starts_at": now - 24 * HOUR + 1800 * S} | options
    task = job("job", every=3600, **options)
    TaskRun.objects.all().delete()
    return ScheduledTask.objects.get(pk=task.pk)


def edit(task):
    ScheduledTask.objects.filter(pk=task.pk).update(queue="other")


def pause(task):
    assert ScheduledTask.objects.get(pk=task.pk).pause()


def delete(task):
    assert ScheduledTask.objects.get(pk=task.pk).delete()[0] == 1


VERBS = {"edit": edit, "pause": pause, "delete": delete}
STARTED = ("running", "succeeded", "failed", "lost")


def told(run):
    """(status, reason) of the run; None where it is gone."""
    return TaskRun.objects.filter(pk=run.pk).values_list("status", "reason").first()


#: trigger, slot, status, reason → what becomes of it by an edit, a pause, a deletion.
STAYS, GONE = ("stays",) * 3, ("gone",) * 3
OWED = ("renewed", "cancelled", "cancelled")
CASES = {
    "to come, planned": ("schedule", +1, "planned", "", GONE),
    "to come, published": ("schedule", +1, "published", "", GONE),
    "to come, skipped by hand": ("schedule", +1, "skipped", "skipped_by_hand", GONE),
    "to come, skipped by its rule": ("schedule", +1, "skipped", "overlap", STAYS),
    "to come, cancelled by hand": ("schedule", +1, "cancelled", "by_person", STAYS),
    "to come, started early": ("schedule", +1, "running", "", STAYS),
    "to come, retrying": ("schedule", +1, "retrying", "", ("stays", "cancelled", "cancelled")),
    "owed, planned": ("schedule", -1, "planned", "", OWED),
    "owed, published": ("schedule", -1, "published", "", OWED),
    "owed, skipped by hand": ("schedule", -1, "skipped", "skipped_by_hand", STAYS),
    "owed, retrying": ("schedule", -1, "retrying", "", ("stays", "cancelled", "cancelled")),
    "missed": ("schedule", -1, "missed", "misfire", STAYS),
    **{f"owed, {status}": ("schedule", -1, status, "", STAYS) for status in STARTED},
    **{
        f"{trigger}, {status}, {'to come' if when > 0 else 'past'}": (
            trigger,
            when,
            status,
            "",
            STAYS,
        )
        for trigger in ("manual", "backfill", "rerun")
        for status in ("planned", "published", "retrying", "running")
        for when in (-1, +1)
    },
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("verb", VERBS)
def test_each_run_stays_is_renewed_cancelled_or_gone(now, verb, case):
    trigger, when, status, reason, ends = CASES[case]
    task = bare(now)
    at = now + when * 20 * S
    run = run_at(
        at,
        task,
        status,
        trigger=trigger,
        reason=reason,
        slot=at if trigger == "schedule" else None,
        publish_at=now + HOUR,
    )
    other = job("other")
    theirs = list(other.runs.values())
    VERBS[verb](task)
    end = ends[list(VERBS).index(verb)]
    if end == "stays":
        assert told(run) == (status, reason)
    elif end == "cancelled":
        assert told(run) == ("cancelled", "paused" if verb == "pause" else "deleted")
    else:
        assert told(run) is None
    renewed = TaskRun.objects.filter(slot=at, name="job").exclude(pk=run.pk)
    if end == "renewed":
        fresh = renewed.get()
        assert (fresh.status, fresh.queue, fresh.start_at) == ("planned", "other", run.start_at)
        assert fresh.revision == 2
    else:
        assert not renewed.exists()
    assert list(other.runs.values()) == theirs


def test_a_run_whose_slot_is_now_is_owed_and_not_to_come(now, monkeypatch):
    monkeypatch.setattr("scheduling.edits.transaction.database_now", lambda: now)
    task = bare(now)
    run = run_at(now, task, "published", slot=now)
    edit(task)
    assert told(run) is None
    assert task.runs.get(slot=now).queue == "other"


def test_a_run_that_is_claimed_while_it_would_be_renewed_stays(now, monkeypatch):
    """The worker came between the look and the deletion."""
    task = bare(now)
    run = run_at(now - 20 * S, task, "published", slot=now - 20 * S)
    owed = follow_edits._owed

    def claim_meanwhile(*args):
        found = owed(*args)
        TaskRun.objects.filter(pk=run.pk).update(status=Status.RUNNING, attempt=1)
        return found

    monkeypatch.setattr(follow_edits, "_owed", claim_meanwhile)
    edit(task)
    assert told(run) == ("running", "")
    assert task.runs.count() == 1


def test_what_is_owed_too_long_is_missed_by_the_edit_and_the_newest_is_renewed(now):
    """Nobody could publish them; what a worker may have is renewed whatever its age."""
    task = bare(now, misfire_policy="run_latest")
    slots = [now - minutes * 60 * S for minutes in (50, 40, 30)]
    unsent = [run_at(slot, task, "planned", slot=slot, publish_at=now - S) for slot in slots]
    sent = run_at(now - HOUR, task, "published", slot=now - HOUR)
    edit(task)
    assert told(sent) is None
    renewed = task.runs.filter(status="planned").order_by("slot")
    assert [run.slot for run in renewed] == [now - HOUR, slots[-1]]
    assert task.runs.filter(status="missed").exists()
    assert told(unsent[-1]) is None


# What nobody planned ------------------------------------------------------------------------------


def behind(now, **columns):
    """Six slots since, the last a minute ago: its planner was away."""
    task = bare(now, starts_at=now - 24 * HOUR - 60 * S)
    first = task.window().next_after(now - 6 * HOUR)
    ScheduledTask.objects.filter(pk=task.pk).keep(**({"next_run_at": first} | columns))
    return task, first


@pytest.mark.parametrize("verb", VERBS)
def test_slots_that_the_old_rule_owed_are_one_row_of_missed_ones(now, verb):
    _task, first = behind(now)
    VERBS[verb](_task)
    run = TaskRun.objects.get(reason="edited")
    assert (run.slot, run.last_slot, run.slot_count) == (first, first + 5 * HOUR, 6)
    assert (run.status, run.revision, run.queue == "other") == ("missed", 1, False)


@pytest.mark.parametrize("verb", ["edit", "delete"])
def test_a_paused_schedule_owes_nothing(now, verb):
    task, _first = behind(now, enabled=False, state_reason="paused")
    VERBS[verb](task)
    assert not TaskRun.objects.exists()


@pytest.mark.parametrize(("left", "counted"), [(0, None), (1, 1), (4, 4), (6, 6), (9, 6)])
def test_it_owes_no_more_than_max_runs_allows(now, left, counted):
    task, _first = behind(now, max_runs=10, slots_used=10 - left)
    delete(task)
    counts = list(TaskRun.objects.filter(reason="edited").values_list("slot_count", flat=True))
    assert counts == ([] if counted is None else [counted])


def test_what_is_recorded_as_missed_counts_for_max_runs_once(now):
    task, _first = behind(now, max_runs=10, slots_used=1)
    edit(task)
    task.refresh_from_db()
    assert (task.slots_used, task.slots_left()) == (7, 3)


def test_a_rule_that_cannot_be_read_owes_nothing_and_is_edited_all_the_same(now):
    task, _first = behind(now, kind="cron", cron_expression="rubbish", interval_seconds=None)
    ScheduledTask.objects.filter(pk=task.pk).update(cron_expression="0 0 1 1 *", timezone="UTC")
    assert not TaskRun.objects.filter(reason="edited").exists()
    task.refresh_from_db()
    assert (task.state_reason, task.cron_expression) == ("", "0 0 1 1 *")


# Planned at once ----------------------------------------------------------------------------------


def test_what_fails_in_planning_sets_the_row_aside_and_the_edit_is_kept(now, monkeypatch):
    task = bare(now, starts_at=now + 40 * S)

    def fail_half_way(row, now):
        ScheduledTask.objects.filter(pk=row.pk).keep(slots_used=99)
        return 1 / 0

    monkeypatch.setattr(planner, "plan_locked", fail_half_way)
    used = ScheduledTask.objects.get(pk=task.pk).slots_used
    edit(task)
    task.refresh_from_db()
    assert (task.queue, task.revision, task.state_reason) == ("other", 2, "set_aside")
    assert task.slots_used == used  # what was half done is undone
    assert task.state_reason_params["code"] == "ZeroDivisionError"


@pytest.mark.parametrize("what", ["create", "edit", "resume"])
def test_under_a_stop_nothing_is_planned_or_published(
    now, what, django_capture_on_commit_callbacks
):
    task = job("job", every=20)
    if what == "resume":
        task.pause()
    pause_everything()
    with django_capture_on_commit_callbacks() as callbacks:
        if what == "create":
            made = ScheduledTask.objects.create_interval("new", OK, 20)
        elif what == "edit":
            edit(task)
            made = task
        else:
            task.resume()
            made = task
    assert not made.runs.filter(slot__gt=now).exists()
    assert callbacks == []
    made.refresh_from_db()
    assert (made.enabled, made.next_run_at is not None) == (True, True)


@pytest.mark.django_db(transaction=True)
def test_under_a_stop_what_is_owed_is_renewed_and_waits(sent_messages, now, monkeypatch):
    task = bare(now, starts_at=now + HOUR)
    run_at(now - 20 * S, task, "published", slot=now - 20 * S)
    pause_everything()
    sent_messages()
    sent, publish = [], publisher.publish_or_leave
    monkeypatch.setattr(
        publisher, "publish_or_leave", lambda runs, now: sent.extend(runs) or publish(runs, now)
    )
    edit(task)
    renewed = task.runs.get()
    assert (renewed.status, renewed.queue) == ("planned", "other")
    assert (sent, sent_messages()) == ([], [])


@pytest.mark.django_db(transaction=True)
def test_what_an_edit_renews_and_plans_is_published_once_when_it_commits(sent_messages, now):
    task = bare(now, starts_at=now + 40 * S)
    owed = run_at(now - 20 * S, task, "published", slot=now - 20 * S, queue="celery")
    sent_messages()
    ScheduledTask.objects.filter(pk=task.pk).update(kwargs={"x": 1})
    runs = task.runs.order_by("slot")
    assert [(run.slot, run.status) for run in runs] == [
        (now - 20 * S, "published"),
        (now + 40 * S, "published"),
    ]
    assert sorted(m["headers"]["run_id"] for m in sent_messages()) == sorted(
        str(run.pk) for run in runs
    )
    assert owed.pk not in {run.pk for run in runs}


@pytest.mark.django_db(transaction=True)
def test_whatever_publishing_meets_the_edit_is_committed(now, monkeypatch):
    task = bare(now, starts_at=now + 40 * S)
    monkeypatch.setattr(publisher, "publish_or_leave", lambda runs, now: 1 / 0)
    edit(task)
    task.refresh_from_db()
    assert (task.queue, task.runs.count()) == ("other", 1)


# Waiting for one another --------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_what_a_person_asked_for_starts_where_a_pause_cancels_what_it_waited_for(
    sent_messages, now
):
    task = bare(now, overlap_policy="queue_one")
    holder = run_at(now - 20 * S, task, "retrying", slot=now - 20 * S, holds=task.pk)
    asked = run_now(task)
    TaskRun.objects.filter(pk=asked.pk).update(status="published", waits=task.pk)
    sent_messages()
    pause(task)
    assert told(holder) == ("cancelled", "paused")
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(asked.pk)]


# Deleted ------------------------------------------------------------------------------------------


def test_a_deletion_detaches_the_newest_of_its_runs_and_leaves_the_rest_to_the_tick(
    now, monkeypatch
):
    monkeypatch.setattr(follow_edits, "DETACH_LIMIT", 3)
    task, other = bare(now), job("other")
    runs = [run_at(now - (9 - n) * HOUR, task, "succeeded") for n in range(5)]
    theirs = run_at(now, other, "succeeded")
    pk = task.pk
    delete(task)
    of = dict(TaskRun.objects.values_list("pk", "scheduled_task"))
    assert [of[run.pk] for run in runs] == [pk, pk, None, None, None]
    assert of[theirs.pk] == other.pk


def test_an_edit_detaches_nothing(now):
    task = bare(now)
    run_at(now - HOUR, task, "succeeded")
    for verb in (edit, pause):
        verb(task)
        assert task.runs.count() == 1
