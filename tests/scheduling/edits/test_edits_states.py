"""What edits make of pauses, ends, skipped slots and slots that are given back."""

import pytest
from django.core.exceptions import ValidationError

from scheduling.database import database_now
from scheduling.edits import verbs
from scheduling.models import ScheduledTask
from tests.scheduling.edits.rows import (
    HOUR,
    LATER,
    PAST,
    S,
    edit,
    make,
    stored,
)

pytestmark = pytest.mark.django_db


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
