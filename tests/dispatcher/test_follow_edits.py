"""An edit wins at once: what it does to the runs of the old definition."""

from datetime import timedelta

import pytest
from django.db import transaction

from dispatcher.models import Status, TaskRun, Trigger
from dispatcher.runs import run_now
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import pause_everything

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"


def make(every=10, **options):
    return ScheduledTask.objects.create_interval("job", OK, every, **options)


def statuses(task):
    return sorted(set(task.runs.values_list("status", flat=True)))


def age(task, seconds):
    """Moves the job and its runs into the past, as if time had passed and nothing had run."""
    shift = timedelta(seconds=seconds)
    for run in task.runs.order_by("slot"):
        TaskRun.objects.filter(pk=run.pk).update(
            slot=run.slot - shift,
            scheduled_for=run.scheduled_for - shift,
            start_at=run.start_at - shift,
        )
    row = ScheduledTask.objects.get(pk=task.pk)
    columns = {"created_at": row.created_at - shift, "armed_at": row.armed_at - shift}
    if row.next_run_at:
        columns["next_run_at"] = row.next_run_at - shift
    ScheduledTask.objects.filter(pk=task.pk).keep(**columns)
    return ScheduledTask.objects.get(pk=task.pk)


def test_what_is_due_before_the_next_tick_is_planned_in_the_same_transaction():
    task = make(10)
    assert task.runs.count() == 9
    assert task.slots_used == 9
    assert task.next_run_at == task.runs.order_by("-slot")[0].slot + timedelta(seconds=10)


def test_an_edit_of_the_arguments_replaces_the_runs_to_come():
    task = make(10, kwargs={"x": 1})
    old_ids = set(task.runs.values_list("pk", flat=True))
    slots = list(task.runs.order_by("slot").values_list("slot", flat=True))
    task.kwargs = {"x": 2}
    task.save()
    assert old_ids.isdisjoint(task.runs.values_list("pk", flat=True))
    assert list(task.runs.order_by("slot").values_list("slot", flat=True)) == slots
    assert {run.kwargs["x"] for run in task.runs.all()} == {2}
    assert {run.revision for run in task.runs.all()} == {2}
    assert task.slots_used == 9


def test_an_edit_of_the_rule_replaces_the_runs_to_come():
    task = make(10)
    task.interval_seconds = 45
    task.save()
    assert 1 <= task.runs.count() <= 2


def test_an_edit_renews_what_is_owed_under_the_same_slot():
    task = age(make(10, kwargs={"x": 1}), 15)  # its first slot is 5 s past and unstarted
    owed = task.runs.order_by("slot")[0]
    task.kwargs = {"x": 2}
    task.save()
    renewed = task.runs.get(slot=owed.slot)
    assert renewed.pk != owed.pk
    assert (renewed.kwargs, renewed.status, renewed.revision) == ({"x": 2}, "planned", 2)


def test_a_run_that_has_started_stays_as_it_is():
    task = make(10, kwargs={"x": 1})
    first = task.runs.order_by("slot")[0]
    TaskRun.objects.filter(pk=first.pk).update(status=Status.RUNNING, attempt=1)
    task.kwargs = {"x": 2}
    task.save()
    first.refresh_from_db()
    assert (first.status, first.kwargs) == ("running", {"x": 1})
    assert task.runs.filter(slot=first.slot).count() == 1


def test_a_pause_deletes_what_is_to_come_and_cancels_what_is_owed():
    task = age(make(10), 15)
    task.pause(by="ada")
    assert statuses(task) == ["cancelled"]
    assert task.runs.get().reason == "paused"
    assert task.next_run_at is None


def test_a_pause_records_the_slots_that_nobody_planned():
    task = age(make(10), 3600)
    task.runs.all().delete()
    ScheduledTask.objects.filter(pk=task.pk).keep(next_run_at=task.armed_at + timedelta(seconds=10))
    task = ScheduledTask.objects.get(pk=task.pk)
    ScheduledTask.objects.filter(pk=task.pk).keep(next_run_at=task.first_slot(task.armed_at))
    task.pause()
    missed = task.runs.get()
    assert (missed.status, missed.reason) == ("missed", "edited")
    assert missed.slot_count in (359, 360)


def test_manual_runs_stay_through_an_edit_and_a_pause():
    task = make(3600)
    run = run_now(task)
    task.kwargs = {"x": 1}
    task.save()
    task.pause()
    run.refresh_from_db()
    assert (run.status, run.trigger) == ("planned", Trigger.MANUAL)


def test_a_remark_touches_no_run():
    task = make(10)
    before = set(task.runs.values_list("pk", flat=True))
    task.description = "why"
    task.save()
    assert set(task.runs.values_list("pk", flat=True)) == before


def test_a_run_cancelled_by_hand_stays_cancelled_through_an_edit():
    task = make(10)
    chosen = task.runs.order_by("slot")[3]
    TaskRun.objects.filter(pk=chosen.pk).close(Status.CANCELLED, "by_person")
    task.kwargs = {"x": 1}
    task.save()
    assert task.runs.get(slot=chosen.slot).status == "cancelled"
    assert task.runs.exclude(status="cancelled").count() == 8


def test_a_deleted_schedule_leaves_its_history():
    task = age(make(10), 15)
    started = task.runs.order_by("slot")[0]
    TaskRun.objects.filter(pk=started.pk).update(status=Status.SUCCEEDED)
    assert task.delete()[0] == 1
    run = TaskRun.objects.get()
    assert (run.pk, run.scheduled_task_id, run.name) == (started.pk, None, "job")


def test_max_runs_gets_back_the_slots_that_an_edit_unplanned():
    task = make(10, max_runs=4)
    assert task.slots_used == 4
    task.kwargs = {"x": 1}
    task.save()
    assert task.slots_used == 4
    assert task.runs.count() == 4
    assert len(task.upcoming(10)) == 4


def test_max_runs_counts_a_slot_once_whose_run_stays_through_an_edit():
    task = make(10, max_runs=4)
    chosen = task.runs.order_by("slot")[1]
    TaskRun.objects.filter(pk=chosen.pk).close(Status.CANCELLED, "by_person")
    for number in range(3):
        task.kwargs = {"x": number}
        task.save()
    assert (task.slots_used, task.runs.count()) == (4, 4)


def test_max_runs_counts_the_slots_that_an_edit_records_as_missed_and_bounds_them():
    task = age(make(10, max_runs=12), 200)
    TaskRun.objects.all().delete()
    ScheduledTask.objects.keep(next_run_at=task.first_slot(task.armed_at), slots_used=0)
    ScheduledTask.objects.update(kwargs={"x": 1})
    missed = task.runs.get(reason="edited")
    task.refresh_from_db()
    assert (missed.slot_count, task.slots_used, task.next_run_at) == (12, 12, None)


def test_a_slot_that_was_skipped_by_hand_is_there_again_when_it_is_no_longer():
    task = make(10)
    slot = task.upcoming(3)[2]
    ScheduledTask.objects.update(skip_slots=[slot.isoformat()])
    assert task.runs.get(slot=slot).reason == "skipped_by_hand"
    ScheduledTask.objects.update(skip_slots=[])
    assert task.runs.get(slot=slot).status == "planned"
    ScheduledTask.objects.update(skip_slots=[slot.isoformat()])
    task.refresh_from_db()
    task.pause()
    assert not task.runs.exists()


def test_what_a_row_that_was_set_aside_owed_is_recorded_when_it_is_edited():
    task = age(make(10), 45)
    TaskRun.objects.all().delete()
    ScheduledTask.objects.all().set_aside("x", "it broke", database_now())
    ScheduledTask.objects.update(interval_seconds=20)
    assert task.runs.get(reason="edited").slot_count == 4


def test_a_slot_that_has_a_run_is_not_met_again_after_everything_was_paused():
    task = make(10)
    chosen = task.runs.order_by("slot")[3]
    TaskRun.objects.filter(pk=chosen.pk).close(Status.CANCELLED, "by_person")
    pause_everything()
    ScheduledTask.objects.update(kwargs={"x": 1})
    task = age(task, 600)
    task.delete()  # records what is owed; the slot of the cancelled run is not
    assert TaskRun.objects.get(pk=chosen.pk).status == "cancelled"
    spans = TaskRun.objects.filter(reason="edited")
    assert (
        sum(run.slot_count for run in spans) + TaskRun.objects.exclude(reason="edited").count()
        == 60
    )


@pytest.mark.django_db(transaction=True)
def test_in_a_transaction_that_rolls_back_nothing_is_planned_or_sent(sent_messages):
    with pytest.raises(RuntimeError), transaction.atomic():
        make(10)
        raise RuntimeError
    assert not TaskRun.objects.exists()
    assert sent_messages() == []


@pytest.mark.django_db(transaction=True)
def test_on_commit_the_runs_are_in_the_broker_and_say_so(sent_messages):
    task = make(10)
    assert statuses(task) == ["published"]
    assert {m["headers"]["run_id"] for m in sent_messages()} == {
        str(pk) for pk in task.runs.values_list("pk", flat=True)
    }


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_down_does_not_fail_the_save(broken_broker):
    started = database_now()
    task = make(10)
    assert statuses(task) == ["planned"]
    assert {run.publish_at > started for run in task.runs.all()} == {True}
