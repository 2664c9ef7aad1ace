"""Two edits of one scheduled task at the same instant, or an edit and the planner: each counts,
and each slot is accounted for once."""

from collections import Counter
from datetime import timedelta
from functools import partial

import pytest
from django.db import OperationalError

from dispatcher.models import TaskRun
from dispatcher.plan import planner
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.signals import schedule_changed

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("sent_messages")]

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)
#: A lost lock shows itself in the first or the second.
ROUNDS = 6


def job(**options):
    return ScheduledTask.objects.create_interval("job", OK, 30, **options)


def stored(task):
    return ScheduledTask.objects.get(pk=task.pk)


def update(task, **columns):
    return lambda: ScheduledTask.objects.filter(pk=task.pk).update(**columns)


def save(task, **columns):
    """Somebody's form: a copy read before, with a column changed."""
    mine = stored(task)
    for name, value in columns.items():
        setattr(mine, name, value)
    return lambda: mine.save(update_fields=list(columns))


def plan_all(now):
    def plan():
        for ids in planner.due_batches(now):
            planner.plan_batch(ids, now)

    return plan


def is_one_definition(task, revisions):
    """The row carries both edits, and every unstarted run is of the last of them."""
    assert task.revision == revisions
    runs = task.runs.all()
    assert {(run.revision, run.priority, run.queue) for run in runs} == {
        (task.revision, task.priority, task.queue)
    }
    slots = Counter(run.slot for run in runs)
    assert set(slots.values()) == {1}
    now = database_now()
    ahead = [slot for slot in sorted(slots) if slot > now]
    assert ahead == task.upcoming(len(ahead), now=now)
    entries = list(ScheduledTask.history.filter(id=task.pk).values_list("revision", flat=True))
    assert sorted(entries) == list(range(1, revisions + 1))  # one entry for each edit


EDITS = {
    "two updates": lambda task, n: [update(task, priority=n % 10), update(task, queue=f"q{n}")],
    "two saves": lambda task, n: [save(task, priority=n % 10), save(task, queue=f"q{n}")],
    "an update and a save": lambda task, n: [
        update(task, priority=n % 10),
        save(task, queue=f"q{n}"),
    ],
}


@pytest.mark.parametrize("kind", EDITS)
def test_of_two_edits_at_once_neither_is_lost(crew, kind):
    task = job()
    for number in range(ROUNDS):
        edits = EDITS[kind](task, number)
        crew.at_once(*edits)
        task = stored(task)
        assert (task.priority, task.queue) == (number % 10, f"q{number}")
        is_one_definition(task, 1 + 2 * (number + 1))


def test_of_two_updates_to_different_values_the_runs_are_of_the_one_that_stayed(crew):
    task = job()
    for number in range(ROUNDS):
        crew.at_once(update(task, queue=f"a{number}"), update(task, queue=f"b{number}"))
        task = stored(task)
        assert task.queue in (f"a{number}", f"b{number}")
        is_one_definition(task, 1 + 2 * (number + 1))


@pytest.mark.parametrize("by", ["update", "save"])
def test_after_a_pause_and_an_edit_at_once_it_is_paused_and_edited(crew, by):
    task = job()
    for number in range(ROUNDS):
        edit = {"update": update, "save": save}[by](task, queue=f"q{number}")
        mine = stored(task)
        _edited, paused = crew.at_once(edit, lambda mine=mine: mine.pause(by="ada"))
        assert paused is True
        task = stored(task)
        assert (task.enabled, task.queue, task.next_run_at) == (False, f"q{number}", None)
        assert not task.runs.filter(slot__gt=database_now()).exists()
        revision = task.revision
        assert task.resume() is True
        task = stored(task)
        assert task.revision == revision + 1 == 1 + 3 * (number + 1)
        assert {run.revision for run in task.runs.unstarted()} == {task.revision}


def test_of_a_pause_and_a_resume_at_once_the_second_wins_and_the_runs_follow(crew):
    task = job()
    for _ in range(ROUNDS):
        one, other = stored(task), stored(task)
        paused, resumed = crew.at_once(one.pause, other.resume)
        task = stored(task)
        assert paused is True
        assert task.enabled is resumed
        assert task.runs.filter(slot__gt=database_now()).exists() is resumed
        if not resumed:
            task.resume()


def test_of_many_skips_at_once_each_skips_another_slot(crew):
    task = job()
    for _ in range(ROUNDS):
        slots = crew.at_once(*[stored(task).skip_next] * 3)
        task = stored(task)
        assert len(set(slots)) == 3
        assert {slot.isoformat() for slot in slots} <= set(task.skip_slots)
        back = crew.at_once(*[partial(stored(task).unskip, slot) for slot in slots])
        assert back == [True, True, True]
        task = stored(task)
        assert not {slot.isoformat() for slot in slots} & set(task.skip_slots)


def test_of_two_who_unskip_at_once_one_is_told_that_it_did(crew):
    task = job()
    for _ in range(ROUNDS):
        slot = stored(task).skip_next()
        answers = crew.at_once(*[partial(stored(task).unskip, slot) for _ in "ab"])
        assert sorted(answers) == [False, True]


def test_of_two_deletions_at_once_one_deletes(crew):
    for number in range(ROUNDS):
        task = ScheduledTask.objects.create_interval(f"job {number}", OK, 30)
        answers = crew.at_once(*[stored(task).delete, stored(task).delete])
        assert sorted(count for count, _models in answers) == [0, 1]
        entries = ScheduledTask.history.filter(id=task.pk, history_type="-")
        assert entries.count() == 1


# The planner --------------------------------------------------------------------------------------


def due_again(task, now):
    """As if its runs had never been planned."""
    task.runs.all().delete()
    first = task.first_slot(now)
    ScheduledTask.objects.filter(pk=task.pk).keep(next_run_at=first, slots_used=0)


def test_a_schedule_that_is_deleted_while_it_is_planned_leaves_no_run(crew):
    for number in range(ROUNDS):
        now = database_now()
        task = ScheduledTask.objects.create_interval(f"job {number}", OK, 30)
        due_again(task, now)
        plan = plan_all(now)
        crew.at_once(plan, stored(task).delete, plan)
        assert not ScheduledTask.objects.exists()
        unstarted = TaskRun.objects.filter(name=task.name).unstarted()
        assert not unstarted.exists()


@pytest.mark.parametrize("verb", ["pause", "update", "save"])
def test_an_edit_and_the_planner_at_once_leave_one_run_of_each_slot(crew, verb):
    task = job()
    for number in range(ROUNDS):
        now = database_now()
        task = stored(task)
        due_again(task, now)
        queue = f"q{number}"
        edit = {"pause": stored(task).pause, "update": update(task, queue=queue)}.get(verb) or save(
            task, queue=queue
        )
        crew.at_once(plan_all(now), edit, plan_all(now))
        task = stored(task)
        slots = Counter(task.runs.values_list("slot", flat=True))
        assert all(count == 1 for count in slots.values())
        if verb == "pause":
            assert not task.runs.filter(slot__gt=database_now()).exists()
            assert task.next_run_at is None
            task.resume()
            continue
        assert {(run.revision, run.queue) for run in task.runs.all()} == {(task.revision, queue)}
        assert task.slots_used == len(slots)
        assert max(slots) < task.next_run_at


# The victim of a deadlock -------------------------------------------------------------------------

VERBS = {
    "save": lambda task: save(task, queue="other")(),
    "update": lambda task: update(task, queue="other")(),
    "pause": lambda task: stored(task).pause(),
    "resume": lambda task: (stored(task).pause(), stored(task).resume()),
    "skip_next": lambda task: stored(task).skip_next(),
    "unskip": lambda task: stored(task).unskip(stored(task).skip_next()),
    "delete": lambda task: stored(task).delete(),
}


@pytest.fixture
def victim():
    """Every second change of a schedule is chosen as the victim of a deadlock; the first is."""
    chosen = []

    def be_chosen(change, **signal):
        chosen.append(change)
        if len(chosen) % 2:
            raise OperationalError(1213, "Deadlock found when trying to get lock")

    schedule_changed.connect(be_chosen)
    yield chosen
    schedule_changed.disconnect(be_chosen)


@pytest.mark.parametrize("verb", VERBS)
def test_an_edit_that_the_database_chose_as_the_victim_is_tried_again(request, verb):
    task = job()
    chosen = request.getfixturevalue("victim")
    entries = ScheduledTask.history.count()
    VERBS[verb](task)
    edits = len(chosen) // 2  # each was tried twice, and took place once
    assert len(chosen) == 2 * edits > 0
    assert ScheduledTask.history.count() == entries + edits
    if verb != "delete":
        assert stored(task).revision == 1 + edits
