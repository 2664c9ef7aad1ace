"""What is said about the slots of nights on which the clock changes."""

from datetime import UTC, datetime, timedelta

import pytest

from scheduling.schedules import Cron, Interval, OneTime
from scheduling.schedules.clock_changes import clock_notes

BERLIN = "Europe/Berlin"  # 2027: forward on 28 March at 02:00, back on 31 October at 03:00


def notes(schedule, since, n, zone=BERLIN):
    """The codes of the next `n` slots, by their local time."""
    slots = [schedule.next_after(since)]
    while len(slots) < n:
        slots.append(schedule.next_after(slots[-1]))
    return slots, clock_notes(schedule, zone, slots, since)


def codes(schedule, since, n, zone=BERLIN):
    return [note and note.code for note in notes(schedule, since, n, zone)[1]]


SPRING = datetime(2027, 3, 26, 12, tzinfo=UTC)
AUTUMN = datetime(2027, 10, 29, 12, tzinfo=UTC)


def test_a_slot_that_the_clock_skips_is_moved_and_says_from_where():
    slots, said = notes(Cron("30 2 * * *", BERLIN), SPRING, 3)
    assert slots[1] == datetime(2027, 3, 28, 1, 0, tzinfo=UTC)
    assert [note and note.code for note in said] == [None, "moved", None]
    assert said[1].params == {
        "wall": datetime(2027, 3, 28, 2, 30),
        "shown": datetime(2027, 3, 28, 3, 0),
    }


def test_the_slot_after_times_that_do_not_run_says_so():
    since = datetime(2027, 3, 28, 0, 30, tzinfo=UTC)  # 01:30
    assert codes(Cron("*/20 * * * *", BERLIN), since, 3) == [None, "left_out", None]


def test_it_says_so_also_where_the_whole_night_is_left_out():
    assert codes(Cron("*/30 2 * * *", BERLIN), SPRING, 3)[:3] == [None, None, "left_out"]


def test_a_fixed_time_that_comes_twice_runs_at_the_first():
    assert codes(Cron("30 2 * * *", BERLIN), AUTUMN, 3) == [None, "only_pass", "back"]


def test_a_wildcard_runs_in_both_passes():
    since = datetime(2027, 10, 31, 0, 0, tzinfo=UTC) - timedelta(minutes=1)
    wanted = ["first_pass", "first_pass", "second_pass", "second_pass", None]
    assert codes(Cron("*/30 * * * *", BERLIN), since, 5) == wanted


def test_other_kinds_tell_the_passes_too():
    since = datetime(2027, 10, 31, 0, 0, tzinfo=UTC)
    hourly = Interval(timedelta(hours=1), since - timedelta(minutes=30))
    assert codes(hourly, since, 3) == ["first_pass", "second_pass", None]
    assert codes(OneTime(since + timedelta(minutes=30)), since, 1) == ["first_pass"]


@pytest.mark.parametrize(("since", "code"), [(SPRING, "forward"), (AUTUMN, "back")])
def test_the_first_slot_on_another_clock_says_which_way_it_went(since, code):
    schedule = Interval(timedelta(days=1), since - timedelta(hours=4))
    said = notes(schedule, since, 5)[1]
    assert [note and note.code for note in said].count(code) == 1
    assert next(note for note in said if note).params == {"by": timedelta(hours=1)}


def test_half_an_hour_is_told_as_half_an_hour():
    since = datetime(2027, 4, 2, tzinfo=UTC)
    said = notes(Cron("0 12 * * *", "Australia/Lord_Howe"), since, 4, "Australia/Lord_Howe")[1]
    assert [note.params for note in said if note] == [{"by": timedelta(minutes=30)}]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "Asia/Kolkata"])
def test_where_the_clock_does_not_change_nothing_is_said(zone):
    assert codes(Cron("30 2 * * *", zone), SPRING, 400, zone) == [None] * 400


def test_slots_far_apart_and_at_the_end_of_the_calendar_are_told():
    rare = Cron("0 0 29 2 MON#5", BERLIN)
    assert len(codes(rare, SPRING, 10)) == 10
    last = OneTime(datetime(9999, 12, 29, 23, tzinfo=UTC))
    assert codes(last, datetime(9999, 12, 29, tzinfo=UTC), 1) == [None]


# To the second -----------------------------------------------------------------------------------


def note_at(schedule, slot, since=None):
    """The note about one slot, given as UTC, a second or more after `since`."""
    slot = datetime.fromisoformat(slot).replace(tzinfo=UTC)
    since = slot - timedelta(seconds=1) if since is None else since
    return clock_notes(schedule, BERLIN, [slot], since)[0]


def code_at(schedule, slot, since=None):
    note = note_at(schedule, slot, since)
    return note and note.code


EVERY_SECOND = Interval(timedelta(seconds=1), datetime(2027, 1, 1, tzinfo=UTC))
PASSES = [
    ("2027-10-30 23:59:59", None),  # 01:59:59, which comes once
    ("2027-10-31 00:00:00", "first"),  # 02:00:00
    ("2027-10-31 00:59:59", "first"),  # 02:59:59
    ("2027-10-31 01:00:00", "second"),  # 02:00:00 again
    ("2027-10-31 01:59:59", "second"),
    ("2027-10-31 02:00:00", None),  # 03:00:00
]


@pytest.mark.parametrize(("slot", "which"), PASSES)
@pytest.mark.parametrize("schedule", [EVERY_SECOND, Cron("* * * * * *", BERLIN)])
def test_both_passes_are_told_from_their_first_second_to_their_last(schedule, slot, which):
    assert code_at(schedule, slot) == (which and f"{which}_pass")


@pytest.mark.parametrize(("slot", "which"), PASSES[:3])
def test_a_fixed_time_is_told_from_the_first_second_of_the_first_pass_to_its_last(slot, which):
    local = datetime.fromisoformat(slot) + timedelta(hours=2)
    fixed = Cron(f"{local:%S %M %H} * * *", BERLIN)
    assert code_at(fixed, slot, since=AUTUMN) == (which and "only_pass")


@pytest.mark.parametrize(
    ("wall", "slot", "code"),
    [
        ("01:59:59", "2027-03-28 00:59:59", None),
        ("02:00:00", "2027-03-28 01:00:00", "moved"),
        ("02:59:59", "2027-03-28 01:00:00", "moved"),
        ("03:00:00", "2027-03-28 01:00:00", "forward"),
    ],
)
def test_a_slot_is_moved_from_the_first_skipped_second_to_the_last(wall, slot, code):
    hour, minute, second = wall.split(":")
    schedule = Cron(f"{second} {minute} {hour} * * *", BERLIN)
    since = schedule.latest_at(datetime(2027, 3, 27, 12, tzinfo=UTC))
    note = note_at(schedule, slot, since)
    assert (note and note.code) == code
    if code == "moved":
        assert f"{note.params['wall']:%H:%M:%S}" == wall
        assert f"{note.params['shown']:%H:%M:%S}" == "03:00:00"


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("59 59 1,3 * * *", "forward"),  # a fixed time that the clock does not skip
        ("0 0 * * * *", "left_out"),
        ("59 59 * * * *", "left_out"),
        ("0 0 */3 * * *", "forward"),  # a wildcard of which the gap holds nothing
    ],
)
def test_times_are_left_out_from_the_first_skipped_second_to_the_last(expression, code):
    schedule = Cron(expression, BERLIN)
    since = datetime(2027, 3, 28, 0, 59, 59, tzinfo=UTC)  # the last second before the change
    slot = schedule.next_after(since)
    [note] = clock_notes(schedule, BERLIN, [slot], since)
    assert note.code == code
    if code == "left_out":
        gap = datetime(2027, 3, 28, 2), datetime(2027, 3, 28, 3)
        assert gap[0] <= note.params["first"] < gap[1]
        assert note.params["last"] == gap[1]


def test_a_change_is_told_once_of_the_slot_after_it():
    change = datetime(2027, 3, 28, 1, tzinfo=UTC)
    half_hourly = Cron("*/30 * * * *", BERLIN)
    slots = [change + n * timedelta(minutes=30) for n in range(-1, 3)]
    said = clock_notes(half_hourly, BERLIN, slots, slots[0] - timedelta(minutes=30))
    assert [note and note.code for note in said] == [None, "left_out", None, None]
    assert clock_notes(half_hourly, BERLIN, slots[2:], slots[1]) == [None, None]


def test_a_rare_slot_is_told_the_change_at_which_it_was_left_out():
    nights = Cron("*/30 2 28 3 *", BERLIN)  # in 2027 the night of the change: nothing runs
    since = nights.latest_at(datetime(2027, 1, 1, tzinfo=UTC))
    slot = nights.next_after(since)
    assert slot == datetime(2028, 3, 28, 0, tzinfo=UTC)
    [note] = clock_notes(nights, BERLIN, [slot], since)
    assert note.code == "left_out"
    assert note.params == {"first": datetime(2027, 3, 28, 2), "last": datetime(2027, 3, 28, 3)}


@pytest.mark.parametrize("zone", ["UTC", BERLIN, "America/New_York"])
def test_the_last_second_of_the_calendar_is_told(zone):
    last = datetime(9999, 12, 29, 23, 59, 59, tzinfo=UTC)
    said = clock_notes(Cron("* * * * * *", zone), zone, [last], last - timedelta(seconds=1))
    assert said == [None]
