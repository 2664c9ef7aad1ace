"""Batches of due rows: all of them come to their turn, and each ends as it would alone."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dispatcher import run_finished
from dispatcher.models import TaskRun, bulk
from dispatcher.plan import decisions, planner
from dispatcher.tick import tick
from scheduling.models import ScheduledTask

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
NOW = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
S = timedelta(seconds=1)
DAY = timedelta(days=1)


def unsaved(name, every=60, **columns):
    columns = {"starts_at": NOW, "armed_at": NOW - S, "created_at": NOW} | columns
    return ScheduledTask(name=name, task=OK, kind="interval", interval_seconds=every, **columns)


def row(name, every=60, **columns):
    return ScheduledTask.objects.bulk_create([unsaved(name, every, **columns)])[0]


def rows(number, **columns):
    """Their names fall while their ids rise."""
    names = [f"job {number - n:03}" for n in range(number)]
    ScheduledTask.objects.bulk_create([unsaved(name, **columns) for name in names])
    return list(ScheduledTask.objects.order_by("pk"))


def plan(now=NOW):
    result = planner.Planned()
    for ids in planner.due_batches(now):
        result.add(planner.plan_batch(ids, now))
    return result


def slots(task):
    runs = TaskRun.objects.filter(scheduled_task=task)
    return list(runs.order_by("slot").values_list("slot", flat=True))


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(planner, "CHUNK", 6)
    monkeypatch.setattr(planner, "PLANNED_AT_ONCE", 4)


# All that is due ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "sizes"),
    [
        (0, []),
        (1, [1]),
        (4, [4]),
        (5, [4, 1]),
        (6, [4, 2]),
        (7, [4, 2, 1]),
        (12, [4, 2, 4, 2]),
        (19, [4, 2, 4, 2, 4, 2, 1]),
    ],
)
def test_every_due_row_is_in_one_batch_however_many_there_are(small, number, sizes):
    ids = [task.pk for task in rows(number)]
    batches = list(islice(planner.due_batches(NOW), 20))
    assert [pk for batch in batches for pk in batch] == ids  # ascending, each once
    assert [len(batch) for batch in batches] == sizes


def test_it_goes_on_where_rows_that_are_not_due_lie_between(small):
    tasks = rows(20)
    late = [task.pk for task in tasks[::3]]
    ScheduledTask.objects.filter(pk__in=late).keep(next_run_at=NOW + 91 * S)
    due = [task.pk for task in tasks if task.pk not in late]
    assert [pk for batch in islice(planner.due_batches(NOW), 20) for pk in batch] == due


@pytest.mark.django_db(transaction=True)
def test_a_tick_plans_and_publishes_more_rows_than_it_reads_ahead(small, sent_messages):
    tasks = rows(15)
    done = tick(NOW)
    assert (done.planned, done.published, len(sent_messages())) == (30, 30, 30)
    assert set(TaskRun.objects.values_list("scheduled_task", flat=True)) == {t.pk for t in tasks}


def test_a_batch_is_written_in_a_few_statements(small):
    def queries(number):
        ScheduledTask.objects.all()._raw_delete("default")
        ids = [task.pk for task in rows(number)]
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert planner.plan_batch(ids, NOW).planned == 2 * number
        return len(captured)

    queries(1)
    assert queries(40) - queries(2) < 10  # SQLite inserts in parts


def test_the_rows_are_taken_in_the_order_of_their_ids():
    """So that two planners, or a planner and an edit, cannot each wait for the other."""
    tasks = rows(5)
    result = planner.plan_batch([task.pk for task in reversed(tasks)], NOW)
    assert [run.scheduled_task_id for run in result.runs] == [t.pk for t in tasks for _ in "ab"]


def test_what_is_not_due_any_more_is_left_alone():
    """The ids were read before the lock."""
    due, paused, later, aside = (row(name) for name in ("due", "paused", "later", "aside"))
    ids = [due.pk, paused.pk, later.pk, aside.pk, 987654]
    ScheduledTask.objects.filter(pk=paused.pk).keep(enabled=False, state_reason="paused")
    ScheduledTask.objects.filter(pk=later.pk).keep(next_run_at=NOW + 91 * S)
    ScheduledTask.objects.filter(pk=aside.pk).set_aside("x", "y", NOW)
    result = planner.plan_batch(ids, NOW)
    assert (result.planned, result.set_aside) == (2, 0)
    assert set(TaskRun.objects.values_list("scheduled_task", flat=True)) == {due.pk}


@pytest.mark.parametrize(("seconds", "due"), [(90, True), (91, False)])
def test_a_row_is_due_up_to_the_horizon_itself(seconds, due):
    task = row("job", next_run_at=NOW + seconds * S, starts_at=NOW + seconds * S)
    assert list(planner.due_batches(NOW)) == ([[task.pk]] if due else [])
    assert plan().planned == due


@pytest.mark.parametrize(("age", "due"), [(DAY - S, False), (DAY, True)])
def test_a_row_that_was_set_aside_is_due_a_day_later_and_not_before(age, due):
    task = row("job")
    ScheduledTask.objects.filter(pk=task.pk).set_aside("x", "y", NOW - age)
    assert list(planner.due_batches(NOW)) == ([[task.pk]] if due else [])


def test_the_counts_of_two_batches_add_up():
    first = planner.Planned([TaskRun(name="a")], 1, 2, 3)
    first.add(planner.Planned([TaskRun(name="b")], 10, 20, 30))
    assert [run.name for run in first.runs] == ["a", "b"]
    assert (first.planned, first.missed, first.set_aside) == (11, 22, 33)
    first.add(planner.Planned())
    assert (first.planned, first.missed, first.set_aside) == (11, 22, 33)


# One row's own end --------------------------------------------------------------------------------


def test_each_garbage_row_of_a_batch_is_counted_and_the_others_are_planned_at_once(caplog):
    tasks = rows(6)
    for task in tasks[::2]:
        ScheduledTask.objects.filter(pk=task.pk).keep(misfire_policy="sometimes")
    result = planner.plan_batch([task.pk for task in tasks], NOW)
    assert (result.planned, result.set_aside) == (6, 3)
    assert {r.action for r in caplog.records if hasattr(r, "action")} == {"set_aside"}
    states = ScheduledTask.objects.order_by("pk").values_list("state_reason", flat=True)
    assert list(states) == ["set_aside", ""] * 3


def test_a_route_that_fails_sets_its_own_rows_aside(monkeypatch):
    good, routed, bad, worse = row("good"), row("routed", queue="slow"), row("bad"), row("worse")
    ScheduledTask.objects.filter(pk__in=[bad.pk, worse.pk, routed.pk]).keep(task="shop.broken")
    asked = []

    def queue_for(name):
        asked.append(name)
        if name == "shop.broken":
            raise LookupError("no such region")
        return "celery"

    monkeypatch.setattr("scheduling.registry.queue_for", queue_for)
    result = plan()
    assert (result.planned, result.set_aside) == (4, 2)
    assert (len(slots(good)), len(slots(routed))) == (2, 2)
    assert set(TaskRun.objects.values_list("name", "queue")) == {
        ("good", "celery"),
        ("routed", "slow"),
    }
    bad.refresh_from_db()
    assert bad.state_reason_params == {"code": "LookupError", "message": "no such region"}


def test_a_route_is_asked_once_for_a_batch_and_again_for_the_next(monkeypatch):
    rows(3)
    asked = []
    monkeypatch.setattr("scheduling.registry.queue_for", lambda name: asked.append(name) or "q")
    plan()
    assert asked == [OK]
    plan(NOW + 60 * S)
    assert asked == [OK, OK]
    assert set(TaskRun.objects.values_list("queue", flat=True)) == {"q"}


def test_what_the_planner_thinks_of_the_queue_is_not_written_into_the_definition():
    row("job")
    plan()
    assert ScheduledTask.objects.get().queue == ""


def test_where_all_is_missed_the_last_run_is_the_one_before():
    last, hour = NOW - 5 * 3600 * S, timedelta(hours=1)
    since = NOW - 3 * hour + 1800 * S
    row(
        "job",
        every=3600,
        misfire_policy="skip",
        starts_at=since,
        armed_at=since - S,
        last_run_at=last,
    )
    row("other", every=3600, starts_at=since, armed_at=since - S, last_run_at=last)
    assert plan().missed == 3 + 2
    rows = ScheduledTask.objects.order_by("name").values_list("last_run_at", "next_run_at")
    assert list(rows) == [(last, NOW + hour / 2), (NOW - hour / 2, NOW + hour / 2)]


# Finished -----------------------------------------------------------------------------------------


def over(name, *, slot, **columns):
    """Without a further slot, its last one planned already."""
    task = row(name, max_runs=1, slots_used=1, last_run_at=slot, **columns)
    TaskRun.objects.create(
        scheduled_task=task,
        name=name,
        task=OK,
        slot=slot,
        scheduled_for=slot,
        start_at=slot,
        planned_at=slot - 90 * S,
    )
    return task


def test_of_those_without_a_further_slot_only_those_finish_whose_last_one_has_come(caplog):
    caplog.set_level("INFO")
    come, now_, ahead = (
        over("come", slot=NOW - S),
        over("now", slot=NOW),
        over("ahead", slot=NOW + S),
    )
    plain = row("plain")
    plan()
    states = dict(ScheduledTask.objects.values_list("name", "state_reason"))
    assert states == {"come": "finished", "now": "finished", "ahead": "", "plain": ""}
    enabled = dict(ScheduledTask.objects.values_list("name", "enabled"))
    assert enabled == {"come": False, "now": False, "ahead": True, "plain": True}
    told = [r.scheduled_task for r in caplog.records if getattr(r, "action", "") == "finished"]
    assert told == [come.pk, now_.pk]
    when = ScheduledTask.objects.filter(enabled=False).values_list("state_reason_at", flat=True)
    assert set(when) == {NOW}
    plan(NOW + S)
    ahead.refresh_from_db()
    assert (ahead.enabled, ahead.state_reason) == (False, "finished")
    assert slots(plain)


def test_what_finishes_is_on_record_as_done_by_the_scheduler():
    task = over("job", slot=NOW)
    before = ScheduledTask.history.count()
    plan()
    entry = ScheduledTask.history.latest()
    assert ScheduledTask.history.count() == before + 1
    assert (entry.id, entry.via, entry.enabled, entry.state_reason) == (
        task.pk,
        "scheduler",
        False,
        "finished",
    )


def test_row_by_row_it_finishes_too():
    over("done", slot=NOW)
    over("ahead", slot=NOW + S)
    taken = row("taken")
    insert_taken(taken)
    plan()
    states = dict(ScheduledTask.objects.values_list("name", "state_reason"))
    assert states == {"done": "finished", "ahead": "", "taken": ""}
    assert len(slots(taken)) == 2


def insert_taken(task):
    columns = {"name": "x", "task": OK, "scheduled_for": NOW, "start_at": NOW, "planned_at": NOW}
    TaskRun.objects.create(scheduled_task=task, slot=NOW, **columns)
    ScheduledTask.objects.filter(pk=task.pk).keep(next_run_at=NOW)


def test_a_run_of_another_schedule_keeps_none_from_finishing():
    over("done", slot=NOW)
    plain = row("plain", every=10)
    plan()
    assert max(slots(plain)) > NOW
    assert ScheduledTask.objects.get(name="done").state_reason == "finished"


# Brought back -------------------------------------------------------------------------------------


def test_a_row_that_is_brought_back_is_on_record_and_no_other():
    back, plain = row("back"), row("plain")
    ScheduledTask.objects.filter(pk=back.pk).set_aside("x", "y", NOW - DAY)
    before = ScheduledTask.history.count()
    assert plan().planned == 4
    (entry,) = ScheduledTask.history.all()[: ScheduledTask.history.count() - before]
    assert (entry.id, entry.via, entry.state_reason) == (back.pk, "scheduler", "")
    back.refresh_from_db()
    assert (back.state_reason, back.state_reason_params) == ("", {})
    assert slots(plain) == slots(back) == [NOW, NOW + 60 * S]


def test_to_be_set_aside_again_for_the_same_is_no_news_but_counts_from_now():
    task = row("job", misfire_policy="sometimes")
    plan()
    before = ScheduledTask.history.count()
    assert plan(NOW + DAY).set_aside == 1
    task.refresh_from_db()
    assert (task.state_reason_at, ScheduledTask.history.count()) == (NOW + DAY, before)
    ScheduledTask.objects.keep(misfire_policy="run_all", on_lost="panic")
    plan(NOW + 2 * DAY)
    assert ScheduledTask.history.count() == before + 1


# Announced ----------------------------------------------------------------------------------------


@pytest.fixture
def heard():
    found = []

    def hear(run, **signal):
        found.append((run.name, run.status, run.slot))

    run_finished.connect(hear)
    yield found
    run_finished.disconnect(hear)


def test_only_what_ended_in_planning_is_announced(heard, django_capture_on_commit_callbacks):
    hour = timedelta(hours=1)
    row("late", starts_at=NOW - hour, armed_at=NOW - hour - S, every=600)
    row("skipped", skip_slots=[(NOW + 60 * S).isoformat()])
    row("expired", starts_at=NOW - 50 * S, armed_at=NOW - hour, expires_seconds=50, every=120)
    row("plain")
    with django_capture_on_commit_callbacks(execute=True):
        result = plan()
    assert sorted(heard) == [
        ("expired", "missed", NOW - 50 * S),
        ("late", "missed", NOW - hour),
        ("skipped", "skipped", NOW + 60 * S),
    ]
    assert sorted(run.name for run in result.runs) == [
        "expired",
        "late",
        "plain",
        "plain",
        "skipped",
    ]
    assert {run.status for run in result.runs} == {"planned"}
    # the missed slots; what was planned, whatever became of it
    assert (result.missed, result.planned) == (6, 7)


def test_where_nothing_ended_nothing_is_announced(heard, django_capture_on_commit_callbacks):
    row("plain")
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        plan()
    assert (heard, callbacks) == ([], [])


def test_a_failing_batch_announces_each_end_once(heard, django_capture_on_commit_callbacks):
    insert_taken(row("taken"))
    row("skipped", skip_slots=[NOW.isoformat()])
    with django_capture_on_commit_callbacks(execute=True):
        plan()
    assert heard == [("skipped", "skipped", NOW)]


# Written ------------------------------------------------------------------------------------------


def test_what_is_inserted_in_one_statement_is_what_one_by_one_would_be():
    """The fast form writes every column, as the model's own form does."""
    task = row("job", args=[1, {"a": [None, "é\\\t\n\"'"]}], kwargs={"k": 0.5}, priority=0)
    fast = planner.decide(ScheduledTask.objects.get(), NOW).runs[0]
    slow = planner.decide(ScheduledTask.objects.get(), NOW).runs[1]
    for run in (fast, slow):
        run.reason_params, run.result, run.traceback = {"a": 1}, {"b": [2]}, "line\\n\nline"
    bulk.insert([fast])
    slow.save(force_insert=True)
    own = {"id", "slot", "scheduled_for", "start_at", "publish_at"}
    pair = [
        {name: value for name, value in values.items() if name not in own}
        for values in TaskRun.objects.order_by("slot").values()
    ]
    assert pair[0] == pair[1]
    assert not fast._state.adding and fast._state.db == slow._state.db
    fast.refresh_from_db()
    assert (fast.args, fast.scheduled_task_id) == (task.args, task.pk)


def test_of_a_million_histories_only_those_asked_for_are_read():
    asked, other = rows(2)
    for task in (asked, other):
        slot = {"slot": NOW, "scheduled_for": NOW, "start_at": NOW, "planned_at": NOW}
        TaskRun.objects.create(scheduled_task=task, name=task.name, task=OK, **slot)

    found = decisions.known_slots_of([asked.pk], NOW)

    assert {pk: recorded.until for pk, recorded in found.items()} == {asked.pk: NOW}
