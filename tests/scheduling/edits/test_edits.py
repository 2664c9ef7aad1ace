"""The edit transaction: what an edit writes, what it leaves, and what follows from it."""

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction

from scheduling.database import database_now
from scheduling.edits import many
from scheduling.edits import transaction as edits
from scheduling.models import ScheduledTask
from scheduling.signals import schedule_changed
from scheduling.validation import DECIDING, OTHERS, columns
from scheduling.validation.columns import KEPT, RULE, TRAVELLING
from tests.scheduling.edits.rows import (
    KIND_OF,
    LATER,
    OK,
    OTHER,
    PAST,
    WHAT_IS_KEPT,
    edit,
    make,
    stored,
)

pytestmark = pytest.mark.django_db


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


@pytest.mark.sampled(3)
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


# Many ---------------------------------------------------------------------------------------------


def test_an_update_of_many_is_an_edit_of_each_in_batches_and_of_no_other(monkeypatch, heard):
    monkeypatch.setattr(many, "EDITED_AT_ONCE", 2)
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
