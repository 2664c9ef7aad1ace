"""The planner meets other writers, or a database that is away: it waits for nobody, does nothing
twice, and sets no schedule aside for what is not the schedule's fault."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from django.db import Error, InterfaceError, OperationalError, connection

from dispatcher.models import TaskRun, bulk
from dispatcher.plan import planner
from scheduling.database import locked
from scheduling.models import ScheduledTask
from tests.dispatcher.held import impatient, in_an_open_transaction

pytestmark = pytest.mark.django_db(transaction=True)

OK = "tests.integration.tasks_app.tasks.ok"
NOW = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
S = timedelta(seconds=1)


def row(name, **columns):
    """An interval schedule with two slots up to the horizon: NOW and a minute later."""
    columns = {
        "starts_at": NOW,
        "armed_at": NOW - S,
        "created_at": NOW,
        "next_run_at": NOW,
    } | columns
    task = ScheduledTask(name=name, task=OK, kind="interval", interval_seconds=60, **columns)
    return ScheduledTask.objects.bulk_create([task])[0]


def plan(now=NOW):
    result = planner.Planned()
    for ids in planner.due_batches(now):
        result.add(planner.plan_batch(ids, now))
    return result


def states():
    return set(ScheduledTask.objects.values_list("enabled", "state_reason"))


def slots(task):
    runs = TaskRun.objects.filter(scheduled_task=task)
    return list(runs.order_by("slot").values_list("slot", flat=True))


BOTH = [NOW, NOW + 60 * S]


def hold(*tasks):
    """Lock the rows, as an edit does."""
    return lambda: list(locked(ScheduledTask.objects.filter(pk__in=[t.pk for t in tasks])))


def insert_run(task, slot):
    """Insert the run of a slot, as another planner does that has not committed yet."""
    columns = {"name": task.name, "task": OK, "scheduled_for": slot, "start_at": slot}
    return lambda: TaskRun.objects.create(
        scheduled_task_id=task.pk, slot=slot, planned_at=slot, **columns
    )


@pytest.fixture
def heard(caplog):
    """The actions of what was logged."""
    caplog.set_level(logging.INFO)
    return lambda: [getattr(record, "action", "") for record in caplog.records]


# Row locks ----------------------------------------------------------------------------------------


@pytest.fixture
def skips_locked():
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip(f"{connection.vendor} of this version cannot skip locked rows")


def test_a_row_that_another_process_holds_is_left_to_it_without_waiting(skips_locked, heard):
    first, edited, last = row("first"), row("edited"), row("last")
    with in_an_open_transaction(hold(edited)), impatient():
        result = plan()
        assert (result.planned, result.set_aside) == (4, 0)
        assert heard() == []  # no lock ran out, no batch was redone
    assert (slots(first), slots(edited), slots(last)) == (BOTH, [], BOTH)
    assert plan().planned == 2
    assert slots(edited) == BOTH


def test_row_by_row_it_is_left_to_it_without_waiting_too(skips_locked, heard):
    taken, edited, last = row("taken"), row("edited"), row("last")
    insert_run(taken, NOW)()  # a slot that is there already: the batch is redone row by row
    with in_an_open_transaction(hold(edited)), impatient():
        result = plan()
        assert (result.planned, result.set_aside) == (3, 0)
        assert heard() == ["batch_redone"]
    assert (slots(taken), slots(edited), slots(last)) == (BOTH, [], BOTH)
    assert states() == {(True, "")}


def test_a_healthy_row_whose_lock_ran_out_is_not_set_aside(heard):
    """Another process has inserted the run of its slot, and is slow to commit."""
    before, slow, after = row("before"), row("slow"), row("after")
    with in_an_open_transaction(insert_run(slow, NOW)), impatient():
        result = plan()
        assert (slots(slow), result.set_aside) == ([], 0)
        assert "contention_retried" in heard()  # they met
        assert "set_aside" not in heard()
        if connection.vendor != "sqlite":  # whose one writer kept all three
            assert (slots(before), slots(after)) == (BOTH, BOTH)
    assert states() == {(True, "")}
    plan()
    assert [slots(task) for task in (before, slow, after)] == [BOTH] * 3


# The database -------------------------------------------------------------------------------------


def end_this_connection():
    ended = {
        "postgresql": "SELECT pg_terminate_backend(pg_backend_pid())",
        "mysql": "KILL CONNECTION_ID()",
    }
    if connection.vendor not in ended:
        pytest.skip("SQLite has no connection that could be ended")
    with connection.cursor() as cursor:
        cursor.execute(ended[connection.vendor])


def test_a_database_that_is_away_is_told_to_the_tick_and_sets_nothing_aside(monkeypatch, heard):
    """Each connection is ended before it has written: the reason of a row could be stored on the
    next one, and it would be that of a healthy row."""
    tasks = [row("a"), row("b")]
    with monkeypatch.context() as patched:
        patched.setattr(bulk, "insert", lambda runs: end_this_connection())
        with pytest.raises((OperationalError, InterfaceError)):
            plan()
    connection.close()
    assert "set_aside" not in heard()
    assert states() == {(True, "")}
    plan()
    assert [slots(task) for task in tasks] == [BOTH, BOTH]


def test_a_connection_that_was_ended_once_costs_nothing(monkeypatch, heard):
    tasks, insert, ends = [row("a"), row("b")], bulk.insert, [end_this_connection]

    def insert_in_the_end(runs):
        if ends:
            ends.pop()()
        insert(runs)

    monkeypatch.setattr(bulk, "insert", insert_in_the_end)
    assert plan().planned == 4
    assert [slots(task) for task in tasks] == [BOTH, BOTH]
    assert heard() == ["batch_redone"]


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError, ValueError])
def test_a_row_that_the_database_refuses_is_set_aside_and_the_others_go_on(
    monkeypatch, heard, kind
):
    """What is not contention, on a connection that works, will be so again in a minute."""
    before, bad, after = row("before"), row("bad"), row("after")
    insert = bulk.insert

    def refuse(runs):
        if any(run.name == "bad" for run in runs):
            raise kind("the row is too big")
        insert(runs)

    monkeypatch.setattr(bulk, "insert", refuse)
    result = plan()
    assert (result.planned, result.set_aside) == (4, 1)
    assert (slots(before), slots(bad), slots(after)) == (BOTH, [], BOTH)
    bad.refresh_from_db()
    assert (bad.enabled, bad.state_reason) == (True, "set_aside")
    assert bad.state_reason_params == {"code": kind.__name__, "message": "the row is too big"}
    assert heard() == ["batch_redone", "set_aside"]


def test_contention_of_another_kind_is_not_the_rows_fault_either(monkeypatch):
    """A deadlock, as each driver tells it."""
    tasks = [row("a"), row("b")]

    def deadlock(runs):
        raise OperationalError(1213, "Deadlock found when trying to get lock")

    with monkeypatch.context() as patched:
        patched.setattr(bulk, "insert", deadlock)
        result = plan()
    assert (result.planned, result.set_aside, states()) == (0, 0, {(True, "")})
    assert ScheduledTask.objects.filter(next_run_at=NOW).count() == len(tasks)


def test_a_row_that_is_deleted_meanwhile_is_no_error(monkeypatch, heard):
    task, gone = row("stays"), row("gone")
    insert, plan_one = bulk.insert, planner._plan_one

    def refuse(runs):
        if any(run.name == "gone" for run in runs):
            raise ValueError("it was there a moment ago")
        insert(runs)

    def plan_and_delete(pk, now):
        try:
            return plan_one(pk, now)
        except ValueError:
            gone.delete()
            raise

    monkeypatch.setattr(bulk, "insert", refuse)
    monkeypatch.setattr(planner, "_plan_one", plan_and_delete)
    result = plan()
    assert (result.planned, result.set_aside) == (2, 0)
    assert slots(task) == BOTH
    assert heard() == ["batch_redone"]


# Compare and set ----------------------------------------------------------------------------------


def moved_by_another(monkeypatch, task, to):
    """Between reading and moving the row another planner moves it; where row locks are, they keep
    it from doing so."""
    decide = planner.decide

    def decide_too_late(row, *args):
        decision = decide(row, *args)
        if row.pk == task.pk:
            ScheduledTask.objects.filter(pk=task.pk).keep(next_run_at=to)
        return decision

    monkeypatch.setattr(planner, "decide", decide_too_late)


@pytest.mark.parametrize(
    ("before", "to"), [(NOW, NOW + 3600 * S), (NOW, None), (None, NOW + 3600 * S)]
)
def test_a_lost_compare_inserts_nothing_and_the_others_are_planned(monkeypatch, heard, before, to):
    first, lost, last = row("first"), row("lost", next_run_at=before), row("last")
    moved_by_another(monkeypatch, lost, to)
    result = plan()
    assert (result.planned, result.set_aside, len(result.runs)) == (4, 0, 4)
    assert (slots(first), slots(lost), slots(last)) == (BOTH, [], BOTH)
    lost.refresh_from_db()
    assert (lost.next_run_at, lost.slots_used, lost.last_run_at) == (to, 0, None)
    assert heard() == ["batch_redone"]


def test_a_planner_with_a_stale_row_inserts_nothing():
    task = row("job")
    stale = ScheduledTask.objects.get(pk=task.pk)
    ScheduledTask.objects.filter(pk=task.pk).keep(next_run_at=NOW + 3600 * S)
    result = planner.plan_locked(stale, NOW)
    assert (result.planned, result.runs, slots(task)) == (0, [], [])


def test_two_planners_that_read_the_same_rows_plan_each_slot_once(monkeypatch):
    """Without row locks, as on a database that has none: the second finds them moved."""
    tasks = [row(f"job {n}") for n in range(3)]
    ids = [task.pk for task in tasks]
    copies = {task.pk: task for task in ScheduledTask.objects.filter(pk__in=ids)}
    planner.plan_batch(ids, NOW)
    decide = planner.decide
    monkeypatch.setattr(planner, "decide", lambda row, *rest: decide(copies[row.pk], *rest))
    ScheduledTask.objects.keep(next_run_at=NOW + 60 * S)  # due again, for the second to read them
    result = planner.plan_batch(ids, NOW)
    assert (result.planned, result.set_aside) == (0, 0)
    assert [slots(task) for task in tasks] == [BOTH] * 3


MOVES = {
    "where it was thought to be": (NOW, NOW, 1),
    "elsewhere": (NOW, NOW + S, 0),
    "nowhere, but thought to be somewhere": (None, NOW, 0),
    "somewhere, but thought to be nowhere": (NOW, None, 0),
    "nowhere, as thought": (None, None, 1),
}


@pytest.mark.parametrize("case", MOVES)
def test_a_row_moves_only_from_where_it_was_thought_to_be(case):
    stored, thought, moved = MOVES[case]
    task, other = row("job", next_run_at=stored, slots_used=3), row("other", slots_used=3)
    ScheduledTask.objects.filter(pk=task.pk).keep(
        state_reason="set_aside", state_reason_params={"code": "x"}
    )
    after, last = NOW + 90 * S, NOW + 30 * S
    assert bulk.move([bulk.Move(task.pk, thought, after, last, 2)]) == moved
    task.refresh_from_db()
    columns = task.next_run_at, task.last_run_at, task.slots_used, task.state_reason
    assert columns == ((after, last, 5, "") if moved else (stored, None, 3, "set_aside"))
    assert task.state_reason_params == ({} if moved else {"code": "x"})
    other.refresh_from_db()
    assert (other.next_run_at, other.last_run_at, other.slots_used) == (NOW, None, 3)


def test_of_many_moves_those_that_are_lost_are_not_counted():
    tasks = [row(f"job {n}") for n in range(4)]
    moves = [
        bulk.Move(task.pk, NOW + number % 2 * S, None, NOW, 1) for number, task in enumerate(tasks)
    ]
    assert bulk.move(moves) == 2
    moved = ScheduledTask.objects.order_by("pk").values_list("next_run_at", flat=True)
    assert list(moved) == [None, NOW, None, NOW]
    assert bulk.move([]) == 0


def test_an_error_of_an_insert_is_raised_and_not_swallowed():
    task = row("job")
    insert_run(task, NOW)()
    run = TaskRun.objects.get()
    twice = TaskRun(scheduled_task=task, slot=NOW, name="x", task=OK, scheduled_for=NOW)
    twice.start_at = twice.planned_at = NOW
    with pytest.raises(Error):
        bulk.insert([twice])
    assert list(TaskRun.objects.values_list("pk", flat=True)) == [run.pk]
