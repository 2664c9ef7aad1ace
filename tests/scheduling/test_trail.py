"""The audit trail: every way in leaves one row: who, when, from where, and how it stands since."""

from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import NotSupportedError, connection, transaction
from django.test.utils import CaptureQueriesContext

from dispatcher.models import Status, TaskRun
from dispatcher.plan.planner import plan_batch
from dispatcher.tick import tick
from dispatcher.worker.pause_failing import pause_if_failing
from scheduling.database import database_now
from scheduling.edits import transaction as edits
from scheduling.models import ScheduledTask
from scheduling.schedules.zones import tzdata_version
from scheduling.trail import acting

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
LATER = datetime(2099, 1, 1, 12, tzinfo=UTC)


def interval(name="job", every=3600, **options):
    return ScheduledTask.objects.create_interval(name, OK, every, **options)


def entries(pk=None):
    """The rows of the trail, oldest first."""
    rows = ScheduledTask.history.order_by("history_id")
    return list(rows if pk is None else rows.filter(id=pk))


def newest():
    return ScheduledTask.history.first()


def count_of(model):
    return model.history.count()


# What a row says ----------------------------------------------------------------------------------


def test_a_creation_is_noted_as_it_ended():
    task = interval(every=30, kwargs={}, owner="ada")
    (entry,) = entries()
    assert (entry.history_type, entry.via, entry.by, entry.history_user_id) == (
        "+",
        "code",
        "",
        None,
    )
    assert entry.history_date == task.armed_at == entry.armed_at
    assert (entry.id, entry.name, entry.interval_seconds, entry.owner) == (
        task.pk,
        "job",
        30,
        "ada",
    )
    assert (entry.enabled, entry.state_reason, entry.revision) == (True, "", 1)
    assert entry.tzdata == tzdata_version() != ""


def test_an_edit_is_noted_after_the_scheduler_has_settled_it():
    task = interval()
    task.interval_seconds = 60
    task.save()
    entry = newest()
    assert (entry.history_type, entry.interval_seconds, entry.revision) == ("~", 60, 2)
    assert entry.armed_at == entry.history_date == ScheduledTask.objects.get().armed_at
    assert count_of(ScheduledTask) == 2


def test_a_remark_is_noted_without_a_revision():
    task = interval()
    task.description = "for the books"
    task.save()
    entry = newest()
    assert (entry.description, entry.revision) == ("for the books", 1)
    assert entry.armed_at < entry.history_date


def test_a_save_that_changes_nothing_is_not_noted():
    interval().save()
    assert count_of(ScheduledTask) == 1


def test_pause_and_resume_are_noted_with_their_reason():
    task = interval()
    task.pause(by="ada", params={"failures": 3})
    paused = newest()
    assert (paused.enabled, paused.state_reason, paused.by) == (False, "paused", "ada")
    assert paused.state_reason_params == {"failures": 3}
    task.resume(by="grace")
    resumed = newest()
    assert (resumed.enabled, resumed.state_reason, resumed.by) == (True, "", "grace")
    assert not task.resume()
    assert count_of(ScheduledTask) == 3


def test_a_deletion_is_noted_and_the_trail_stays():
    task = interval()
    pk = task.pk
    task.delete()
    assert [entry.history_type for entry in entries(pk)] == ["+", "-"]
    assert newest().interval_seconds == 3600


def test_a_change_that_rolls_back_leaves_no_row():
    task = interval()
    with pytest.raises(RuntimeError), transaction.atomic():
        task.pause()
        raise RuntimeError
    assert count_of(ScheduledTask) == 1


# Every way in -------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [{"interval_seconds": 60}, {"owner": "ada"}])
def test_a_queryset_update_is_noted_for_each_row(columns):
    for n in range(3):
        interval(f"job {n}")
    ScheduledTask.objects.exclude(name="job 1").update(**columns)
    changed = entries()[3:]
    assert [entry.name for entry in changed] == ["job 0", "job 2"]
    ((name, value),) = columns.items()
    assert {(getattr(entry, name), entry.via, entry.history_type) for entry in changed} == {
        (value, "code", "~")
    }


def test_a_queryset_update_to_what_it_is_notes_nothing():
    interval()
    ScheduledTask.objects.update(interval_seconds=3600, owner="")
    assert count_of(ScheduledTask) == 1


def test_an_update_of_a_batch_is_one_insert():
    for n in range(4):
        interval(f"job {n}")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        ScheduledTask.objects.update(owner="ada")
    inserts = [q["sql"] for q in queries if "INSERT INTO" in q["sql"] and "historical" in q["sql"]]
    assert len(inserts) == 1
    assert count_of(ScheduledTask) == 8


def test_a_bulk_update_is_noted():
    task = interval()
    task.args, task.owner = [], "ada"
    ScheduledTask.objects.bulk_update([task], ["owner"])
    assert (newest().owner, newest().history_type) == ("ada", "~")


def test_a_bulk_create_is_noted():
    rows = [
        ScheduledTask(name=f"job {n}", task=OK, kind="interval", interval_seconds=60)
        for n in range(3)
    ]
    created = ScheduledTask.objects.bulk_create(rows)
    assert [(e.name, e.history_type, e.armed_at) for e in entries()] == [
        (row.name, "+", row.armed_at) for row in created
    ]
    assert [e.id for e in entries()] == [*ScheduledTask.objects.values_list("pk", flat=True)]


def test_an_upsert_is_refused_because_it_would_be_no_edit():
    rows = [ScheduledTask(name="job", task=OK, kind="interval", interval_seconds=60)]
    with pytest.raises(NotSupportedError):
        ScheduledTask.objects.bulk_create(rows, ignore_conflicts=True)
    assert count_of(ScheduledTask) == 0


def test_a_skipped_slot_is_noted():
    task = interval()
    slot = task.upcoming(1)[0].isoformat()
    ScheduledTask.objects.update(skip_slots=[slot])
    assert newest().skip_slots == [slot]


def test_what_only_the_scheduler_writes_is_no_edit():
    interval()
    ScheduledTask.objects.update(next_run_at=LATER, slots_used=7)
    ScheduledTask.objects.keep(last_run_at=LATER)
    assert count_of(ScheduledTask) == 1


# What the scheduler does --------------------------------------------------------------------------


def test_a_resume_at_its_time_is_noted():
    task = interval()
    task.pause(until=database_now() + timedelta(hours=1), by="ada")
    ScheduledTask.objects.keep(paused_until=database_now() - timedelta(seconds=1))
    tick()
    entry = newest()
    assert (entry.enabled, entry.via, entry.by) == (True, "scheduler", "paused_until")


def test_a_pause_after_failures_is_noted():
    task = interval(pause_after_failures=1)
    TaskRun.objects.create(
        scheduled_task=task,
        scheduled_for=task.armed_at,
        start_at=task.armed_at,
        planned_at=task.armed_at,
        finished_at=database_now(),
        status=Status.FAILED,
    )
    assert pause_if_failing(task)
    entry = newest()
    assert (entry.enabled, entry.via, entry.by) == (False, "scheduler", "pause_after_failures")
    assert entry.state_reason_params == {"failures": 1}


def test_setting_aside_and_bringing_back_are_noted_and_each_day_of_failing_is_not():
    task = interval()
    now = database_now()
    day = timedelta(days=1, seconds=1)
    ScheduledTask.objects.keep(interval_seconds=2_000_000_000, next_run_at=None)
    plan_batch([task.pk], now)
    aside = newest()
    assert (aside.via, aside.history_type, aside.state_reason) == ("scheduler", "~", "set_aside")
    assert (aside.interval_seconds, aside.history_date) == (2_000_000_000, now)

    plan_batch([task.pk], now + day)
    assert count_of(ScheduledTask) == 2
    assert ScheduledTask.objects.get().state_reason_at == now + day

    ScheduledTask.objects.keep(interval_seconds=3600)
    plan_batch([task.pk], now + 2 * day)
    back = newest()
    assert (back.via, back.state_reason, back.interval_seconds) == ("scheduler", "", 3600)
    assert back.history_date == now + 2 * day


def test_to_finish_many_is_noted_in_one_insert():
    now = database_now()
    for n in range(3):
        ScheduledTask.objects.create_one_time(f"job {n}", OK, LATER)
    ScheduledTask.objects.keep(next_run_at=None, run_at=now - timedelta(hours=1))
    TaskRun.objects.all().delete()
    with CaptureQueriesContext(connection) as queries:
        plan_batch([*ScheduledTask.objects.values_list("pk", flat=True)], now)
    inserts = [q["sql"] for q in queries if "INSERT INTO" in q["sql"] and "historical" in q["sql"]]
    assert len(inserts) == 1
    finished = entries()[3:]
    assert {(e.enabled, e.state_reason, e.via, e.history_date) for e in finished} == {
        (False, "finished", "scheduler", now)
    }
    assert len(finished) == 3


def test_what_an_edit_makes_of_a_row_is_one_entry_of_the_editor():
    task = interval()
    with acting("admin", "ada"):
        ScheduledTask.objects.update(kind="cron", interval_seconds=None, cron_expression="nonsense")
    first, second = entries()
    assert (second.state_reason, second.via, second.by) == ("set_aside", "admin", "ada")
    assert (first.id, second.id) == (task.pk, task.pk)


# Who and from where -------------------------------------------------------------------------------


def test_who_is_at_work_is_noted_and_forgotten_afterwards():
    ada = User.objects.create_user("ada")
    task = interval()
    with acting("api", ada):
        task.owner = "x"
        task.save()
        task.pause(by="the night shift")
    task.resume()
    edited, paused, resumed = entries()[1:]
    assert (edited.via, edited.by, edited.history_user) == ("api", "ada", ada)
    assert (paused.via, paused.by, paused.history_user) == ("api", "the night shift", ada)
    assert (resumed.via, resumed.by, resumed.history_user) == ("code", "", None)


def test_who_pauses_inside_is_the_reason_given_where_nobody_is_named():
    task = interval()
    with acting("command", "deploy"):
        task.pause()
    assert (task.state_reason_by, newest().by) == ("deploy", "deploy")


def test_a_deleted_user_stays_known_by_name_and_id():
    ada = User.objects.create_user("ada")
    pk = ada.pk
    with acting("admin", ada):
        interval()
    ada.delete()
    entry = newest()
    assert (entry.history_user_id, entry.by, entry.history_user) == (str(pk), "ada", None)


def test_an_id_of_an_earlier_user_model_is_no_user_of_this_one():
    interval()
    ScheduledTask.history.update(history_user_id="6b8e5f0c-not-a-number")
    assert newest().history_user is None


def test_what_is_no_user_leaves_its_name_only():
    task = interval()
    with acting("code", task):
        task.pause()
    with acting("api", AnonymousUser()):
        task.resume()
    assert [(entry.history_user_id, entry.by) for entry in entries()[1:]] == [
        (None, "job"),
        (None, "AnonymousUser"),
    ]


def test_the_trail_depends_on_no_user_model():
    initial = import_module("scheduling.migrations.0001_initial").Migration
    assert initial.dependencies == []
    related = [field.related_model for field in ScheduledTask.history.model._meta.get_fields()]
    assert not any(related)


# What it costs ------------------------------------------------------------------------------------


def test_an_edit_costs_one_more_query(monkeypatch):
    task = interval()

    def queries_of_an_edit(every):
        task.interval_seconds = every
        with CaptureQueriesContext(connection) as queries:
            task.save()
        return len(queries)

    with_trail = queries_of_an_edit(7200)
    monkeypatch.setattr(edits.trail, "note", lambda *args, **options: None)
    assert with_trail == queries_of_an_edit(7300) + 1


def test_planning_costs_nothing_more():
    task = interval(every=10)
    with CaptureQueriesContext(connection) as queries:
        tick(task.armed_at + timedelta(minutes=5))
    assert not any("historical" in query["sql"] for query in queries)
