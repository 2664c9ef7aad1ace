"""The wall times of an expression: month ends, leap years, and the seconds beside each."""

from bisect import bisect_left, bisect_right
from datetime import UTC, date, datetime, timedelta

import pytest

from scheduling.schedules import Cron, ScheduleError
from scheduling.schedules.cron_text import read
from scheduling.schedules.wall_clock import WallClock, wall_clock
from tests.scheduling.schedules.oracle import EPOCH, Oracle

DAY = 86_400
EXPRESSIONS = [
    # times of day at its ends
    "0 0 * * *",
    "59 23 * * *",
    "0 0 0 * * *",
    "59 59 23 * * *",
    "0,59 0,23 * * *",
    "0,59 0,59 0,23 L * *",
    "7-9,30 5,6,59 3,4,21 */2 * *",
    # days of the month and of the week
    "0 12 29 2 *",
    "0 12 28-31 * *",
    "0 12 30,31 * ?",
    "0 12 1,L * *",
    "0 12 31,L 4,6,9,11 *",
    "0 12 L 2 MON-FRI",
    "0 12 L 2 *",
    "0 12 * 2 5L",
    "0 12 ? 2,3 0L,3L",
    "0 12 * * 1#1,1#5,0#2",
    "0 12 29 2 4#5",
    "0 12 */7 * 7",
    "0 12 */7 * SUN,2#1",
    "0 12 1-7 * MON",
    "0 12 ? * 6,7",
    "0 12 *,L * 1#2,SAT",
    "0 12 */10,L * MON-FRI",
    "0 12 */15,L * SUN,5L",
    "0 12 1-31 * 1#2",
    "0 12 13 * 0-6",
    "0 12 * 1-11 0",
    # all but one
    "0 12 1-30 * *",
    "0 12 2-31 * ?",
    "0 12 * * 0-5",
    "0 12 ? * 1-6",
    "0 12 1-30 * 1-6",
    "0 12 * 2-12 *",
    "0 12 1-30 * 0-5",
    "0 12 31 12 */2",
    "0 12 1 1 6L",
]
#: Round a 29 February that a century has, and round one that it has not.
YEARS = [2000, 2100]


def walls(expression: str, first: int, last: int) -> list[int]:
    """The wall times of the days from `first` to `last` (since 1970), told naively."""
    oracle, found = Oracle(expression), []
    for day in range(first, last + 1):
        if oracle.day_matches((EPOCH + timedelta(days=day)).date()):
            found += [
                day * DAY + hour * 3600 + minute * 60 + second
                for hour in sorted(oracle.hours)
                for minute in sorted(oracle.minutes)
                for second in sorted(oracle.seconds)
            ]
    return found


def check(clock: WallClock, expected: list[int], start: int, end: int) -> None:
    """Ask at each match and at each midnight after one, and at the seconds beside them."""
    marks = {start, end, *expected, *(wall - wall % DAY + DAY for wall in expected)}
    moments = sorted({mark + n for mark in marks for n in (-1, 0, 1) if start <= mark + n <= end})
    for n, wall in enumerate(moments):
        before, until = bisect_left(expected, wall), bisect_right(expected, wall)
        if before < len(expected):
            assert clock.from_(wall) == expected[before], wall
        if until:
            assert clock.until(wall) == expected[until - 1], wall
        if n % (len(moments) // 12 + 1) == 0:  # a count walks along the days
            assert clock.count(wall, wall) == until - before
            assert clock.count(start, wall) == until, wall
            assert clock.count(wall, end) == len(expected) - before, wall
            assert clock.count(wall, wall - 1) == 0


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("year", YEARS)
def test_each_match_is_found_to_the_second_from_both_sides(expression, year):
    """From the end of a year until the first of March and some days."""
    clock = wall_clock(read(expression))
    first, last = (
        (day - date(1970, 1, 1)).days for day in (date(year - 1, 12, 24), date(year, 3, 4))
    )
    expected = walls(expression, first, last)
    if len(expected) > 150:  # many times a day: the end of February is enough
        first = (date(year, 2, 27) - date(1970, 1, 1)).days
        last = first + 3
        expected = walls(expression, first, last)
    check(clock, expected, first * DAY, (last + 1) * DAY - 1)


@pytest.mark.parametrize(
    ("expression", "comes"),
    [
        ("0 0 30 2 *", False),
        ("0 0 29 2 *", True),
        ("0 0 31 4,6 *", False),
        ("0 0 31 4,5 *", True),
        ("0 0 30 2 MON", True),  # or on a Monday
        ("0 0 */30 2 MON", True),  # the 1st, when it is a Monday
        ("0 0 */30 * 1#5", True),  # the 31st
        ("0 0 */30 6 1#5", False),  # neither the 1st nor a 31st of June
        ("0 0 */28 2 1#5", True),  # 29 February
        ("0 0 */29 2 1#5", False),
        ("0 0 */7 * 1#2", True),  # the 8th
        ("0 0 */14 * 1#2", False),  # 1, 15, 29
        ("0 0 */27 2 1#4", True),  # the 28th ends the fourth week
        ("0 0 */13 2 1#3", False),  # 1, 14, 27: the 14th ends the second
        ("0 0 */21 2 1L", True),  # 22 February, where the year is no leap year
        ("0 0 */20 2 1L", False),
        ("0 0 */21 6 1L", False),  # the last seven days are 24 to 30
        ("0 0 */23 6 1L", True),
        ("0 0 ? 2 1#5", True),
        ("0 0 L 2 *", True),
        ("0 0 30,L 2 *", True),
        ("0 0 30 2 5L", True),  # or on a last Friday
        ("0 0 30 2 5#5", True),  # or on a fifth Friday
    ],
)
def test_an_expression_of_which_no_day_ever_comes_is_refused(expression, comes):
    if comes:
        slot = Cron(expression).next_after(datetime(2026, 1, 1, tzinfo=UTC))
        assert Oracle(expression).day_matches(slot.date())
    else:
        with pytest.raises(ScheduleError) as refusal:
            Cron(expression)
        assert refusal.value.code == "never_comes"


def test_the_longest_gap_of_the_calendar_is_crossed():
    rare = Cron("0 0 */28 2 1#5")  # the 29th of February on a Monday
    assert rare.next_after(datetime(2072, 3, 1, tzinfo=UTC)) == datetime(2112, 2, 29, tzinfo=UTC)
    assert rare.latest_at(datetime(2112, 2, 28, tzinfo=UTC)) == datetime(2072, 2, 29, tzinfo=UTC)
