"""`skip_next()`: an edit that adds the next slot to those that are skipped."""

from datetime import timedelta

import pytest

from dispatcher.models import TaskRun
from dispatcher.tick import tick
from scheduling.database import database_now
from scheduling.models import ScheduledTask

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"


def job(**options):
    return ScheduledTask.objects.create_interval("job", OK, 3600, **options)


def runs(task):
    return list(task.runs.order_by("slot").values_list("slot", "status", "reason"))


def test_the_next_slot_is_skipped_and_the_one_after_it_the_next_time():
    task = job()
    first, second, third = task.upcoming(3)
    revision = task.revision
    assert task.skip_next(by="ada") == first
    assert task.upcoming(2) == [second, third]
    assert task.revision == revision + 1
    assert task.skip_next() == second
    assert task.upcoming(1) == [third]
    assert task.skip_slots == [first.isoformat(), second.isoformat()]


def test_the_slot_leaves_a_row_that_says_so_and_others_run():
    task = job()
    first, second = task.upcoming(2)
    task.skip_next()
    tick(first)
    tick(second)
    assert runs(task) == [(first, "skipped", "skipped_by_hand"), (second, "published", "")]


def test_a_slot_that_is_planned_already_is_skipped_too():
    now = database_now()
    task = job(starts_at=now.replace(microsecond=0) + timedelta(seconds=40))
    (slot,) = task.upcoming(1)
    assert runs(task)[0][:2] in [(slot, "planned"), (slot, "published")]
    assert task.skip_next() == slot
    assert runs(task) == [(slot, "skipped", "skipped_by_hand")]


def test_without_a_slot_to_come_nothing_is_skipped():
    task = job()
    task.pause()
    assert task.skip_next() is None
    task.refresh_from_db()
    assert task.skip_slots == []


def test_slots_that_have_had_their_time_are_forgotten():
    task = job()
    gone = (database_now() - timedelta(days=2)).isoformat()
    ScheduledTask.objects.filter(pk=task.pk).keep(skip_slots=[gone])
    slot = task.skip_next()
    assert task.skip_slots == [slot.isoformat()]
    assert not TaskRun.objects.filter(slot__lt=database_now()).exists()
