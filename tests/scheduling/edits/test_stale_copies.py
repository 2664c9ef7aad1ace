"""`save()` writes what this copy changed, and nothing else, however the copy came to be; and
afterwards the copy is what is stored, though nobody has read it again."""

from copy import copy
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.core.exceptions import ValidationError
from django.db.models import F

from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.validation import DECIDING, OTHERS, columns
from tests.scheduling.edits.rows import KIND_OF, LATER, OTHER, make, stored

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
HOUR = timedelta(hours=1)


def columns_of(row):
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


# What others changed ------------------------------------------------------------------------------


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", OTHER)
def test_a_stale_copy_leaves_what_somebody_else_changed(name):
    row = make(KIND_OF.get(name, "interval"))
    stale = stored(row)
    ScheduledTask.objects.filter(pk=row.pk).keep(**{name: OTHER[name]})
    mine = "priority" if name != "priority" else "queue"
    setattr(stale, mine, {"priority": 7, "queue": "mine"}[mine])
    stale.save()
    after = stored(row)
    if name != "paused_until":  # of what is enabled an edit forgets it
        assert getattr(after, name) == OTHER[name]
    assert getattr(after, mine) == getattr(stale, mine) != getattr(row, mine)
    assert columns_of(stale) == columns_of(after)


def test_a_stale_remark_leaves_a_pause_and_what_is_skipped():
    row = make()
    stale = stored(row)
    other = stored(row)
    other.skip_next()
    other.pause(until=LATER)
    stale.description = "a remark"
    stale.save()
    after = stored(row)
    assert (after.enabled, after.paused_until, len(after.skip_slots)) == (False, LATER, 1)
    assert after.description == "a remark"
    assert after.revision == other.revision


def test_two_changes_that_do_not_go_together_are_refused_though_each_alone_is_good():
    row = make()
    stale = stored(row)
    other = stored(row)
    other.time_limit = 20
    other.save()
    stale.soft_time_limit = 50
    with pytest.raises(ValidationError) as caught:
        stale.save()
    assert list(caught.value.message_dict) == ["soft_time_limit"]
    assert stored(row).soft_time_limit is None


# What this copy changed ---------------------------------------------------------------------------

#: How a copy comes to know what is stored.
WAYS = {
    "created": lambda row: row,
    "read": stored,
    "refreshed": lambda row: row.refresh_from_db() or row,
    "refreshed in part": lambda row: row.refresh_from_db(fields=["enabled", "queue"]) or row,
    "read in part": lambda row: ScheduledTask.objects.only("name").get(pk=row.pk),
    "read without": lambda row: ScheduledTask.objects.defer("enabled", "queue").get(pk=row.pk),
    "saved": lambda row: row.save() or row,
    "copied": copy,
    "skipped": lambda row: (row.skip_next(), row)[1],
    "in bulk": lambda row: ScheduledTask.objects.bulk_update([row], ["enabled", "queue"]) and row,
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("enabled", [True, False])
def test_a_change_of_enabled_is_written_however_the_copy_came_to_know_it(way, enabled):
    row = make()
    mine = WAYS[way](row)
    if enabled:
        ScheduledTask.objects.filter(pk=row.pk).update(enabled=False)
        mine = WAYS[way](mine) if way != "in bulk" else mine
        if way in ("created", "copied", "skipped", "in bulk"):
            mine.refresh_from_db()
    assert mine.enabled is not enabled
    mine.enabled, mine.queue = enabled, "mine"
    mine.save()
    assert (stored(row).enabled, stored(row).queue) == (enabled, "mine")
    mine.enabled = not enabled
    mine.save()
    assert stored(row).enabled is not enabled


def test_what_was_written_in_bulk_counts_as_stored():
    row = make()
    row.enabled = False
    ScheduledTask.objects.bulk_update([row], ["enabled"])
    row.enabled = True
    row.save()
    assert stored(row).enabled is True


def test_one_of_many_that_were_inserted_writes_only_what_it_changed():
    (row,) = ScheduledTask.objects.bulk_create(
        [ScheduledTask(name="bulk", task=OK, kind="interval", interval_seconds=3600)]
    )
    row = row if row.pk else ScheduledTask.objects.get(name="bulk")
    ScheduledTask.objects.filter(pk=row.pk).keep(queue="theirs")
    row.description = "a remark"
    row.save()
    assert (stored(row).queue, stored(row).description) == ("theirs", "a remark")


INSIDE = {
    "kwargs, empty": ("kwargs", {}, lambda value: value.update(x=1)),
    "kwargs, deep": ("kwargs", {"a": {"b": [1]}}, lambda value: value["a"]["b"].append(2)),
    "kwargs, a 1 that becomes true": ("kwargs", {"a": 1}, lambda value: value.update(a=True)),
    "args": ("args", [1], lambda value: value.append(2)),
    "skip_slots": ("skip_slots", [], lambda value: value.append(LATER.isoformat())),
}


@pytest.mark.parametrize("case", INSIDE)
def test_what_was_changed_inside_a_value_is_written(case):
    name, before, change = INSIDE[case]
    row = stored(make(**{name: before}))
    change(getattr(row, name))
    row.save()
    after = stored(row)
    assert columns.is_same(getattr(after, name), getattr(row, name))
    assert not columns.is_same(getattr(after, name), before)
    assert after.revision == 2


def test_an_expression_is_computed_by_the_database():
    row = make(misfire_grace_seconds=5, priority=3)
    mine = stored(row)
    ScheduledTask.objects.keep(priority=6)
    mine.priority = F("priority") + 1
    mine.save()
    assert (mine.priority, stored(row).priority, mine.revision) == (7, 7, 2)
    ScheduledTask.objects.update(priority=F("priority") + 1)
    assert (stored(row).priority, stored(row).revision) == (8, 3)


NONSENSE = {
    "naive start": ("starts_at", datetime(2099, 1, 1, 0, 0, 0, 5)),
    "start as text": ("starts_at", "tomorrow"),
    "no JSON": ("args", [object()]),
    "no number in JSON": ("kwargs", {"x": float("nan")}),
    "no object": ("kwargs", [1]),
    "no interval": ("interval_seconds", "soon"),
    "half a surrogate": ("queue", "\ud800"),
}


@pytest.mark.parametrize("case", NONSENSE)
@pytest.mark.parametrize("named", [True, False])
def test_what_cannot_be_stored_is_an_error_of_its_field(case, named):
    name, value = NONSENSE[case]
    row = make()
    before = columns_of(stored(row))
    setattr(row, name, value)
    with pytest.raises(ValidationError) as caught:
        row.save(update_fields=[name] if named else None)
    assert list(caught.value.message_dict) == [name]
    assert columns_of(stored(row)) == before


def test_a_column_that_there_is_not_cannot_be_saved():
    row = make()
    with pytest.raises(ValueError, match="nonsense"):
        row.save(update_fields=["nonsense"])


# Afterwards ---------------------------------------------------------------------------------------

#: Schedules about whose edits there is something to plan, to give back, to finish.
SORTS = {
    "rare": {"interval_seconds": 86400},
    "often": {"interval_seconds": 10},
    "limited": {"interval_seconds": 10, "max_runs": 12},
    "at its end": {"interval_seconds": 10, "ends_at": lambda: database_now() + 25 * HOUR / 3600},
    "arguments": {"interval_seconds": 60, "kwargs": {"a": (1, 2)}, "args": [{"b": None}]},
    "loosely typed": {"interval_seconds": 30, "priority": "3", "max_retries": 1.0},
    "paused": {"interval_seconds": 10, "enabled": False},
}
SHANGHAI = timezone(8 * HOUR)
VERBS = {
    "create": lambda row: None,
    "save": lambda row: setattr(row, "interval_seconds", 20) or row.save(),
    "rename": lambda row: setattr(row, "name", "ANOTHER") or row.save(),
    "retime": lambda row: (
        setattr(row, "starts_at", datetime(2098, 1, 1, 8, tzinfo=SHANGHAI)) or row.save()
    ),
    "loosely": lambda row: setattr(row, "kwargs", {"a": (1,)}) or row.save(),
    "untouched": lambda row: row.save(),
    "pause": lambda row: row.pause(by="ada", until=LATER),
    "pause and resume": lambda row: (row.pause(), row.resume()),
    "skip_next": lambda row: row.skip_next(),
    "skip and unskip": lambda row: row.unskip(row.skip_next() or LATER),
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("sort", SORTS)
def test_the_copy_is_what_is_stored_without_being_read_again(sort, verb):
    options = {name: v() if callable(v) else v for name, v in SORTS[sort].items()}
    row = make(**options)
    if "ends_at" in options and verb == "retime":
        row.ends_at = None
    VERBS[verb](row)
    read = stored(row)
    assert columns_of(row) == columns_of(read)
    for name in (*DECIDING, *OTHERS):
        mine, theirs = getattr(row, name), getattr(read, name)
        assert type(mine) is type(theirs), name
        assert columns.is_same(mine, theirs), name
        assert not row.is_changed(name)
    assert row.name_key == row.name.lower()
    entry = ScheduledTask.history.first()
    assert (entry.revision, entry.enabled) == (read.revision, read.enabled)


def test_the_copy_is_what_is_stored_where_its_rule_is_set_aside_or_over():
    row = make("cron")
    ScheduledTask.objects.keep(cron_expression="rubbish")
    mine = stored(row)
    mine.pause()
    assert columns_of(mine) == columns_of(stored(row))
    over = make("one_time", name="over", run_at=LATER)
    ScheduledTask.objects.filter(pk=over.pk).keep(run_at=datetime(2020, 1, 1, tzinfo=UTC))
    ScheduledTask.objects.filter(pk=over.pk).update(queue="x")
    assert stored(over).next_run_at is None
