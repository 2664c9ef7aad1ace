"""The edit transaction: what an edit writes, what it leaves, and what follows from it."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction

from scheduling.database import database_now
from scheduling.edits import many, verbs
from scheduling.edits import transaction as edits
from scheduling.models import ScheduledTask
from scheduling.signals import schedule_changed
from scheduling.validation import DECIDING, OTHERS, columns
from scheduling.validation.columns import KEPT, RULE, TRAVELLING

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
ADD = "tests.integration.tasks_app.tasks.add"
LATER = datetime(2099, 1, 1, 12, tzinfo=UTC)
PAST = datetime(2020, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
S = timedelta(seconds=1)

#: Another good value for each column that people set.
OTHER = {
    "run_at": LATER + HOUR,
    "interval_seconds": 7200,
    "cron_expression": "0 9 * * *",
    "timezone": "Asia/Shanghai",
    "starts_at": LATER - HOUR,
    "ends_at": LATER + 24 * HOUR,
    "max_runs": 1000,
    "task": "shop.other",
    "args": [1],
    "kwargs": {"x": 1},
    "queue": "other",
    "priority": 3,
    "jitter_seconds": 5,
    "expires_seconds": 600,
    "time_limit": 20,
    "soft_time_limit": 10,
    "skip_slots": [LATER.isoformat()],
    "name": "another",
    "description": "why",
    "owner": "ada",
    "group": "billing",
    "misfire_policy": "skip",
    "misfire_grace_seconds": 5,
    "overlap_policy": "skip",
    "max_retries": 3,
    "retry_delay_seconds": 5,
    "retry_backoff": True,
    "on_lost": "rerun",
    "pause_after_failures": 2,
    "paused_until": LATER,
}
KIND_OF = {"run_at": "one_time", "cron_expression": "cron"}
SCHEDULES = {
    "interval": {"interval_seconds": 3600},
    "cron": {"cron_expression": "0 * * * *"},
    "one_time": {"run_at": LATER},
}
#: One good value for each column that the scheduler keeps.
WHAT_IS_KEPT = {
    "next_run_at": LATER,
    "last_run_at": LATER - HOUR,
    "armed_at": LATER - 2 * HOUR,
    "slots_used": 7,
    "revision": 70,
    "state_reason": "set_aside",
    "state_reason_params": {"code": "x"},
    "state_reason_at": LATER,
    "state_reason_by": "ada",
}


def make(kind="interval", name="job", **options):
    defaults = {"name": name, "task": "shop.task", "kind": kind, **SCHEDULES[kind]}
    row = ScheduledTask(**(defaults | options))
    row.save()
    return row


def stored(row):
    return ScheduledTask.objects.get(pk=row.pk)


@pytest.fixture
def heard():
    found = []

    def hear(change, **signal):
        assert transaction.get_connection().in_atomic_block
        found.append(change)

    schedule_changed.connect(hear)
    yield found
    schedule_changed.disconnect(hear)


# Columns ------------------------------------------------------------------------------------------


def test_every_column_is_of_one_sort():
    """A new one has to say whether it decides, travels, is kept or is neither."""
    technical = {"id", "name_key", "created_at", "updated_at"}
    names = {field.attname for field in ScheduledTask._meta.concrete_fields}
    sorts = [set(RULE), set(TRAVELLING), set(OTHERS), set(KEPT)]
    assert sum(map(len, sorts)) == len(set().union(*sorts))
    assert names == set().union(*sorts) | technical
    assert set(OTHER) == set(DECIDING + OTHERS) - {"kind", "enabled"}
    assert set(WHAT_IS_KEPT) == KEPT


@pytest.mark.parametrize("name", OTHER)
@pytest.mark.parametrize("way", ["save", "update", "bulk_update"])
def test_what_decides_or_travels_raises_the_revision_and_nothing_else_does(heard, name, way):
    row = make(KIND_OF.get(name, "interval"))
    before = stored(row)
    heard.clear()
    edit(row, way, **{name: OTHER[name]})
    after = stored(row)
    assert getattr(after, name) == OTHER[name]
    assert after.revision == before.revision + (name in DECIDING)
    assert (after.armed_at > before.armed_at) is (name in RULE)
    assert [(c.old.revision, c.new.revision) for c in heard] == (
        [(1, 2)] if name in DECIDING else []
    )


def edit(row, way, **values):
    if way == "update":
        return ScheduledTask.objects.filter(pk=row.pk).update(**values)
    mine = stored(row)
    for name, value in values.items():
        setattr(mine, name, value)
    if way == "bulk_update":
        return ScheduledTask.objects.bulk_update([mine], list(values))
    return mine.save()


@pytest.mark.parametrize("name", OTHER)
def test_an_edit_to_what_it_is_raises_nothing(heard, name):
    row = make(KIND_OF.get(name, "interval"), **{name: OTHER[name]})
    heard.clear()
    before = ScheduledTask.objects.values().get(pk=row.pk)
    edit(row, "update", **{name: before[name]})
    assert ScheduledTask.objects.values().get(pk=row.pk) == before
    assert heard == []


@pytest.mark.parametrize("way", ["all", "named", "from memory"])
@pytest.mark.parametrize("name", WHAT_IS_KEPT)
def test_save_writes_nothing_that_the_scheduler_keeps(way, name):
    row = make()
    stale = stored(row)
    ScheduledTask.objects.keep(**{name: WHAT_IS_KEPT[name]})
    before = ScheduledTask.objects.values_list(*KEPT).get(pk=row.pk)
    stale.description = "a remark"
    if way == "from memory":
        setattr(stale, name, {"state_reason_params": {}}.get(name, getattr(row, name)))
    if name == "state_reason":
        # a row that was set aside is brought back by any edit: see below
        ScheduledTask.objects.keep(state_reason="paused")
        before = ScheduledTask.objects.values_list(*KEPT).get(pk=row.pk)
    stale.save(update_fields=["description", name] if way == "named" else None)
    assert ScheduledTask.objects.values_list(*KEPT).get(pk=row.pk) == before
    assert getattr(stale, name) == getattr(stored(row), name)  # and it knows what is stored


def test_save_writes_only_the_columns_that_are_named():
    row = make()
    stale = stored(row)
    ScheduledTask.objects.keep(owner="bob", queue="theirs")
    stale.description, stale.owner, stale.queue = "mine", "mine", "mine"
    before = database_now()
    stale.save(update_fields=["description"])
    after = stored(row)
    assert (after.description, after.owner, after.queue) == ("mine", "bob", "theirs")
    assert after.updated_at >= before


def test_a_name_is_saved_with_its_key_and_the_time_of_making_stays():
    row = make()
    made = row.created_at
    row.name, row.created_at = "Another", PAST
    row.save()
    assert ScheduledTask.objects.get(name_key="another").created_at == made


def test_a_copy_that_did_not_touch_enabled_does_not_write_it():
    """The scheduler has finished it meanwhile, or somebody paused it."""
    row = make()
    stale = stored(row)
    stored(row).pause(by="ada")
    stale.description = "a remark"
    stale.save()
    after = stored(row)
    assert (after.enabled, after.state_reason, stale.enabled) == (False, "paused", False)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_copy_that_changed_enabled_writes_it(enabled):
    row = make()
    if enabled:
        row.pause()
    mine = stored(row)
    mine.enabled = enabled
    mine.save()
    after = stored(row)
    assert (after.enabled, after.next_run_at is not None) == (enabled, enabled)
    assert after.state_reason == ("" if enabled else "paused")
    again = stored(row)
    again.enabled = not enabled  # the same copy, once more
    again.save()
    again.enabled = enabled
    again.save()
    assert stored(row).enabled is enabled


def test_an_invalid_edit_writes_nothing(heard):
    row = make()
    before = ScheduledTask.objects.values().get(pk=row.pk)
    heard.clear()
    row.queue, row.interval_seconds = "other", 0
    with pytest.raises(ValidationError):
        row.save()
    assert ScheduledTask.objects.values().get(pk=row.pk) == before
    assert heard == []


def test_an_error_of_a_receiver_undoes_the_edit(heard):
    row = make()
    before = ScheduledTask.objects.values().get(pk=row.pk)

    def refuse(change, **signal):
        raise RuntimeError("no")

    schedule_changed.connect(refuse)
    try:
        for work in (
            lambda: edit(row, "save", queue="x"),
            lambda: edit(row, "update", queue="x"),
            stored(row).pause,
            stored(row).skip_next,
            stored(row).delete,
            lambda: make(name="new"),
        ):
            with pytest.raises(RuntimeError), transaction.atomic():
                work()
            assert list(ScheduledTask.objects.values()) == [before]
            assert ScheduledTask.history.count() == 1
    finally:
        schedule_changed.disconnect(refuse)


# Old and new --------------------------------------------------------------------------------------


def test_the_old_rule_is_what_is_stored_and_not_what_the_copy_remembers(heard):
    row = make()
    stale = stored(row)
    edit(row, "update", queue="theirs")
    heard.clear()
    stale.priority = 5
    stale.save(update_fields=["priority"])
    (change,) = heard
    assert (change.old.queue, change.old.priority, change.old.revision) == ("theirs", None, 2)
    assert (change.new.queue, change.new.priority, change.new.revision) == ("theirs", 5, 3)
    assert stored(row).revision == 3


def test_a_creation_has_no_old_and_a_deletion_no_new(heard):
    row = make()
    assert [(change.old, change.new) for change in heard] == [(None, row)]
    heard.clear()
    pk = row.pk
    row.delete()
    assert [(change.old.pk, change.new) for change in heard] == [(pk, None)]
    heard.clear()
    gone = ScheduledTask(pk=pk, name="x", task=OK)
    assert (edits.delete(gone, lambda: (9, {})), heard) == ((0, {}), [])


def test_a_new_one_is_armed_now_by_the_clock_of_the_database():
    before = database_now()
    row = make(armed_at=PAST, created_at=PAST, next_run_at=PAST)
    after = database_now()
    assert before <= row.armed_at == row.created_at == row.updated_at <= after
    assert row.next_run_at == row.first_slot(row.armed_at)
    assert (row.enabled, row.state_reason, row.revision) == (True, "", 1)


def test_a_new_one_that_is_disabled_is_paused():
    before = database_now()
    row = make(enabled=False)
    assert (row.next_run_at, row.state_reason, row.state_reason_by) == (None, "paused", "")
    assert row.state_reason_at >= before
    assert row.armed_at >= before


# Paused, active, finished -------------------------------------------------------------------------


def test_a_pause_says_who_when_why_and_until():
    row, before = make(), database_now()
    assert row.pause(by="ada", until=LATER, params={"message": "deploy"}) is True
    after = stored(row)
    assert (after.enabled, after.next_run_at, after.paused_until) == (False, None, LATER)
    assert (after.state_reason, after.state_reason_by) == ("paused", "ada")
    assert after.state_reason_params == {"message": "deploy"}
    assert before <= after.state_reason_at <= database_now()
    assert after.updated_at >= before
    assert (row.enabled, row.paused_until, row.revision) == (False, LATER, 2)


def test_to_pause_what_is_paused_changes_nothing(heard):
    row = make()
    row.pause(by="ada", until=LATER, params={"message": "deploy"})
    before = ScheduledTask.objects.values().get(pk=row.pk)
    heard.clear()
    copy = stored(row)
    assert copy.pause(by="bob", until=None) is False
    assert ScheduledTask.objects.values().get(pk=row.pk) == before
    assert heard == []
    stale = stored(row)
    stale.enabled = True  # not saved
    assert stale.pause() is False
    assert stale.enabled is False  # it knows what is stored


def test_a_resume_clears_the_pause_and_counts_from_now():
    row = make()
    row.pause(by="ada", until=LATER, params={"message": "deploy"})
    ScheduledTask.objects.keep(armed_at=PAST)
    before = database_now()
    row = stored(row)
    assert row.resume(by="bob") is True
    after = stored(row)
    assert (after.enabled, after.paused_until) == (True, None)
    assert (after.state_reason, after.state_reason_params, after.state_reason_by) == ("", {}, "")
    assert after.state_reason_at >= before
    assert after.armed_at >= before
    assert after.next_run_at == after.first_slot(after.armed_at)
    assert after.revision == 3
    assert row.resume() is False
    assert stored(row).revision == 3


def test_an_edit_while_paused_keeps_the_pause_as_it_is():
    row = make()
    row.pause(by="ada", until=LATER, params={"message": "deploy"})
    names = ("enabled", "paused_until", "state_reason", "state_reason_by", "state_reason_params")
    before = ScheduledTask.objects.values(*names, "state_reason_at", "armed_at").get(pk=row.pk)
    edit(row, "update", interval_seconds=60, queue="x")
    after = ScheduledTask.objects.values(*names, "state_reason_at", "armed_at").get(pk=row.pk)
    assert after == before
    assert (stored(row).revision, stored(row).next_run_at) == (3, None)


def test_to_enable_it_by_an_edit_ends_the_pause_until_a_time_too():
    row = make()
    row.pause(until=LATER)
    edit(row, "update", enabled=True)
    after = stored(row)
    assert (after.enabled, after.paused_until, after.state_reason) == (True, None, "")


def test_an_edit_of_what_is_active_forgets_a_time_to_resume_at():
    row = make()
    ScheduledTask.objects.keep(paused_until=LATER)
    edit(row, "update", queue="x")
    assert stored(row).paused_until is None


FINISHED = {"enabled": False, "state_reason": "finished", "next_run_at": None}


@pytest.mark.parametrize("way", ["save", "update"])
@pytest.mark.parametrize(
    ("values", "armed"),
    [
        ({"ends_at": LATER}, True),
        ({"interval_seconds": 60}, True),
        ({"ends_at": PAST}, False),  # no slot to come
        ({"queue": "other"}, False),  # no new time
        ({"description": "why"}, False),
    ],
)
def test_a_new_time_arms_what_is_finished_if_it_has_a_slot(way, values, armed):
    row = make()
    ScheduledTask.objects.keep(**FINISHED, armed_at=PAST, max_runs=None)
    before = database_now()
    edit(row, way, **values)
    after = stored(row)
    assert (after.enabled, after.state_reason) == ((True, "") if armed else (False, "finished"))
    assert (after.next_run_at is not None) is armed
    assert (after.armed_at >= before) is armed


def test_a_new_time_does_not_arm_what_a_person_paused():
    row = make()
    row.pause(by="ada")
    edit(row, "update", interval_seconds=60)
    assert (stored(row).enabled, stored(row).state_reason) == (False, "paused")


def test_a_new_time_that_is_no_rule_does_not_arm_what_is_finished():
    row = make("cron")
    ScheduledTask.objects.keep(**FINISHED)
    edit(row, "update", cron_expression="rubbish")
    after = stored(row)
    assert (after.enabled, after.state_reason) == (False, "finished")


@pytest.mark.parametrize("values", [{"description": "cured"}, {"queue": "x"}, {"kwargs": {}}])
def test_any_edit_tries_again_what_was_set_aside(values):
    row = make()
    ScheduledTask.objects.filter(pk=row.pk).set_aside("x", "y", database_now())
    armed, revision = stored(row).armed_at, stored(row).revision
    edit(row, "update", **values)
    after = stored(row)
    assert (after.state_reason, after.state_reason_params) == ("", {})
    assert after.next_run_at is not None
    assert (after.armed_at, after.revision) == (armed, revision + 1)


def test_garbage_is_set_aside_by_the_edit_itself_and_its_neighbour_is_not():
    row, other = make("cron"), make("cron", name="other")
    edit(row, "update", cron_expression="rubbish")
    after = stored(row)
    assert (after.enabled, after.state_reason, after.next_run_at) == (True, "set_aside", None)
    assert after.state_reason_params["code"] == "too_few_fields"
    assert stored(other).state_reason == ""


def test_a_resume_of_what_is_over_is_refused_and_leaves_it_paused(heard):
    row = make(ends_at=LATER)
    row.pause()
    ScheduledTask.objects.keep(ends_at=PAST)
    before = ScheduledTask.objects.values().get(pk=row.pk)
    heard.clear()
    with pytest.raises(ValidationError):
        stored(row).resume()
    assert ScheduledTask.objects.values().get(pk=row.pk) == before
    assert heard == []


def test_to_pause_asks_no_validation():
    """It is how one stops what is wrong."""
    row = make("cron")
    ScheduledTask.objects.keep(cron_expression="rubbish")
    assert stored(row).pause() is True


# Skipped slots ------------------------------------------------------------------------------------


def test_a_slot_is_let_run_after_all(heard):
    row = make()
    first, second = row.skip_next(), row.skip_next()
    revision = row.revision
    heard.clear()
    before = database_now()
    assert row.unskip(first, by="ada") is True
    after = stored(row)
    assert after.skip_slots == [second.isoformat()] == row.skip_slots
    assert (after.revision, after.upcoming(1)) == (revision + 1, [first])
    assert after.updated_at >= before
    assert len(heard) == 1
    assert ScheduledTask.history.first().by == "ada"


def test_a_slot_that_is_not_skipped_or_has_passed_is_no_edit(heard):
    row = make()
    gone, to_come = database_now().replace(microsecond=0) - HOUR, row.upcoming(2)[1]
    ScheduledTask.objects.keep(skip_slots=[gone.isoformat(), to_come.isoformat()])
    before = ScheduledTask.objects.values().get(pk=row.pk)
    heard.clear()
    for slot in (gone, to_come + S, LATER):
        assert row.unskip(slot) is False
        assert row.skip_slots == [gone.isoformat(), to_come.isoformat()]  # as it is stored
    assert ScheduledTask.objects.values().get(pk=row.pk) == before
    assert heard == []


def test_a_skip_keeps_those_that_are_still_to_come_and_forgets_the_others():
    row = make()
    now = database_now()
    first, second = row.upcoming(2)
    gone = (now.replace(microsecond=0) - HOUR).isoformat()
    ScheduledTask.objects.keep(skip_slots=[gone, second.isoformat()])
    assert row.skip_next(by="ada") == first
    assert row.skip_slots == [second.isoformat(), first.isoformat()]
    assert ScheduledTask.history.first().by == "ada"


def test_a_skip_keeps_a_slot_that_has_passed_and_is_not_planned_yet():
    """The planner was away: it will be met, and is to be skipped then."""
    row = make()
    owed = database_now().replace(microsecond=0) - HOUR
    ScheduledTask.objects.keep(skip_slots=[owed.isoformat()], next_run_at=owed)
    stale = stored(row)
    rows = [*verbs._still_to_plan(stale, database_now())]
    assert rows == [owed.isoformat()]
    ScheduledTask.objects.keep(next_run_at=owed + S)
    assert verbs._still_to_plan(stored(row), database_now()) == []


# max_runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("used", "back", "left"), [(5, 2, 3), (5, 5, 0), (5, 9, 0), (5, -2, 7)])
def test_slots_are_given_back_and_never_more_than_were_used(used, back, left):
    row = make(max_runs=6)
    ScheduledTask.objects.keep(slots_used=used)
    row = stored(row)
    first = row.first_slot(database_now()) if left < 6 else None
    expected = {"slots_used": left, "next_run_at": first}
    assert row.give_back(back, database_now()) == expected
    assert row.slots_used == left
    assert stored(row).slots_used == used  # nothing is written here


def test_slots_that_are_given_back_arm_what_had_none_left():
    row = make(max_runs=2)
    row.slots_used, row.next_run_at = 2, None
    row.give_back(1, database_now())
    assert row.next_run_at == row.first_slot(database_now())
    row.give_back(-1, database_now())
    assert row.next_run_at is None


def test_to_give_back_nothing_changes_nothing():
    row = make(max_runs=2)
    row.next_run_at = None
    assert row.give_back(0, database_now()) == {}
    assert row.next_run_at is None


@pytest.mark.parametrize("columns", [{"enabled": False}, {"max_runs": None}])
def test_slots_that_are_given_back_arm_neither_what_is_paused_nor_what_has_no_limit(columns):
    row = make(max_runs=2)
    ScheduledTask.objects.keep(slots_used=2, next_run_at=None, **columns)
    row = stored(row)
    assert row.give_back(1, database_now()) == {"slots_used": 1}
    assert (row.slots_used, row.next_run_at) == (1, None)


# Many ---------------------------------------------------------------------------------------------


def test_an_update_of_many_is_an_edit_of_each_in_batches_and_of_no_other(monkeypatch, heard):
    monkeypatch.setattr(many, "BATCH", 2)
    rows = [make(name=f"job {n}") for n in range(5)]
    other = make(name="other")
    heard.clear()
    assert ScheduledTask.objects.filter(name__startswith="job").update(queue="x") == 5
    assert [change.new.pk for change in heard] == [row.pk for row in rows]
    assert {stored(row).revision for row in rows} == {2}
    assert (stored(other).queue, stored(other).revision) == ("", 1)


def test_an_update_of_what_only_the_scheduler_keeps_is_no_edit(heard):
    row = make()
    heard.clear()
    assert ScheduledTask.objects.update(slots_used=3, next_run_at=LATER) == 1
    assert (stored(row).revision, stored(row).slots_used, heard) == (1, 3, [])


def test_a_bulk_update_of_what_only_the_scheduler_keeps_is_no_edit(heard):
    row = make()
    heard.clear()
    row.slots_used = 3
    ScheduledTask.objects.bulk_update([row], ["slots_used"])
    assert (stored(row).revision, stored(row).slots_used, heard) == (1, 3, [])


def test_a_bulk_update_of_many_writes_each_its_own_values():
    rows = [make(name=f"job {n}") for n in range(3)]
    for number, row in enumerate(rows):
        row.queue, row.owner = f"q{number}", "not named"
    assert ScheduledTask.objects.bulk_update(rows, ["queue"]) == 3
    assert [stored(row).queue for row in rows] == ["q0", "q1", "q2"]
    assert {stored(row).owner for row in rows} == {""}


def test_a_deletion_of_many_is_one_of_each_and_of_no_other(heard):
    rows = [make(name=f"job {n}") for n in range(3)]
    make(name="other")
    heard.clear()
    count, by_model = ScheduledTask.objects.filter(name__startswith="job").delete()
    assert (count, by_model) == (3, {"scheduling.ScheduledTask": 3})
    assert [change.old.name for change in heard] == [row.name for row in rows]
    assert list(ScheduledTask.objects.values_list("name", flat=True)) == ["other"]


def test_tied_columns_are_written_together():
    assert columns.with_tied({"queue"}) == ["queue"]
    assert columns.with_tied({"starts_at"}) == ["ends_at", "starts_at"]
    kinds = ["cron_expression", "interval_seconds", "kind", "run_at"]
    assert columns.with_tied({"run_at", "owner"}) == sorted([*kinds, "owner"])
    assert columns.with_tied(set()) == []
