"""What a row must hold so that runs can be made from it, column by column."""

import pytest

from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.models.spoilt_rows import check, check_readable
from scheduling.schedules import ScheduleError

NUMBERS = [
    "misfire_grace_seconds",
    "jitter_seconds",
    "expires_seconds",
    "time_limit",
    "soft_time_limit",
    "priority",
    "max_runs",
    "slots_used",
    "revision",
]
NOW = "2026-03-02T12:00:00+00:00"


def row(**columns):
    sound = {"name": "job", "task": "shop.task", "armed_at": NOW, "created_at": NOW}
    return ScheduledTask(**sound | columns)


def refusal(**columns):
    with pytest.raises(ScheduleError) as caught:
        check(row(**columns))
    assert len(str(caught.value)) <= 300
    return caught.value.code, caught.value.field


def test_a_sound_row_is_sound():
    check(row())
    check(row(**dict.fromkeys(NUMBERS, 0)))
    check(row(expires_seconds=None, time_limit=None, priority=None, max_runs=None))


@pytest.mark.parametrize("column", NUMBERS)
@pytest.mark.parametrize("garbage", ["5", 1.5, "x" * 500])
def test_a_number_must_be_a_whole_one(column, garbage):
    assert refusal(**{column: garbage}) == ("not_a_number", column)


@pytest.mark.parametrize(
    ("column", "garbage"),
    [("args", {}), ("args", None), ("kwargs", []), ("kwargs", "x"), ("skip_slots", {})],
)
def test_json_must_have_its_shape(column, garbage):
    assert refusal(**{column: garbage}) == ("wrong_shape", column)


@pytest.mark.parametrize(
    ("column", "choices"),
    [
        ("misfire_policy", ["run_latest", "run_all", "skip"]),
        ("overlap_policy", ["allow", "skip", "queue_one", "cancel_previous"]),
        ("on_lost", ["fail", "rerun"]),
    ],
)
def test_a_choice_must_be_one_of_those_that_there_are(column, choices):
    for choice in choices:
        check(row(**{column: choice}))
    for garbage in ("", "RUN_ALL", "x" * 500, None):
        assert refusal(**{column: garbage}) == ("unknown_choice", column)


@pytest.mark.parametrize("name", ["", "  "])
def test_a_row_must_name_a_task(name):
    assert refusal(task=name) == ("no_task", "task")


@pytest.mark.parametrize("column", ["armed_at", "created_at"])
def test_a_time_that_must_be_there_and_is_read_as_none_is_unreadable(column):
    assert refusal(**{column: None}) == ("unreadable", column)


def test_a_stand_in_is_told_before_all_else():
    spoilt = row(task="", priority="x")
    spoilt.stand_ins = {"args": spoilt.args}
    with pytest.raises(ScheduleError) as caught:
        check(spoilt)
    assert (caught.value.code, caught.value.field) == ("unreadable", "args")


@pytest.mark.django_db
def test_a_column_that_was_not_read_is_not_missed():
    now = database_now()
    ScheduledTask.objects.bulk_create(
        [row(kind="one_time", run_at=now, armed_at=now, created_at=now)]
    )
    check_readable(ScheduledTask.objects.only("name").get())
    check_readable(ScheduledTask.objects.defer("armed_at").get())
