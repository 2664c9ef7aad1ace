"""A cron expression in words: right ones, or none."""

import random
from collections import defaultdict
from functools import cache
from itertools import takewhile

import pytest

from scheduling.schedules import ScheduleError
from scheduling.schedules.cron_text import read
from scheduling.schedules.wall_clock import wall_clock
from scheduling.words.cron_words import cron_words

SAID = {
    "* * * * *": "every minute",
    "*/15 * * * *": "every 15 minutes",
    "0 0/5 * * * ?": "every 5 minutes",
    "*/10 * * * * *": "every 10 seconds",
    "30 * * * * *": "every minute at second 30",
    "0 * * * *": "every hour",
    "@daily": "every day at 00:00",
    "0 9 * * MON-FRI": "Monday to Friday at 09:00",
    "0 9 * * 1-5": "Monday to Friday at 09:00",
    "0 0 9 ? * 2-6": "Tuesday to Saturday at 09:00",
    "0 9,17 * * *": "every day at 09:00 and 17:00",
    "0 9-9 * * *": "every day at 09:00",
    "5 9-17 * * *": "every hour from 09:05 to 17:05",
    "*/10 9-17 * * MON-FRI": "every 10 minutes from 09:00 to 17:50, Monday to Friday",
    "* 9 * * *": "every minute from 09:00 to 09:59",
    "0 */2 * * *": "every 2 hours from 00:00",
    "0 0 * * SAT,SUN": "every Saturday and every Sunday at 00:00",
    "0 0 L * *": "the last day of the month at 00:00",
    "0 0 1,15 * *": "days 1 and 15 of the month at 00:00",
    "0 0 * * 5L": "the last Friday of the month at 00:00",
    "0 0 * * MON#1,WED": "every Wednesday and the first Monday of the month at 00:00",
    "0 0 1 1,7 *": "day 1 of the month at 00:00, in January and July",
    # where words that were made of the text would be wrong
    "*/90 * * * *": "every hour",
    "*/25 * * * *": "every hour at :00, :25 and :50",
    "0 */5 * * *": "every day at 00:00, 05:00, 10:00, 15:00 and 20:00",
    "0 0 13 * FRI": "day 13 of the month and every Friday at 00:00",
    "0 0 1-31 * MON": "every day at 00:00",
    "0 0 * * 0-7": "every day at 00:00",
    # no prose rather than wrong prose
    "*/7 * * * *": "",
    "0 0 */2 * *": "",
    "0 0 */2 * MON": "",
    "*/5 */2 * * *": "",
}


@pytest.mark.parametrize(("expression", "words"), SAID.items())
def test_an_expression_is_said_in_right_words_or_in_none(expression, words):
    assert cron_words(expression) == words


def test_what_is_no_cron_expression_has_no_words():
    with pytest.raises(ScheduleError):
        cron_words("61 * * * *")


FIELDS = (
    ["0", "30", "*", "*/15", "*/20", "*/25", "*/90", "0-59", "5/20", "0,25,50", "1-4"],
    ["9", "*", "9-17", "*/2", "*/5", "9,17", "0-23", "9-9", "*/30"],
    ["*", "1", "1,15", "L", "1-7", "*/2", "1-31", "?", "1-28/3", "31"],
    ["*", "1", "JAN,JUL", "4-6", "*/2", "1-12"],
    ["*", "MON-FRI", "1-5", "SUN", "0", "7", "0-7", "5L", "MON#1", "MON#1,MON", "*/2", "?", "6,7"],
)


def meaning(expression):
    """The times of day, and the days of two years."""
    clock = wall_clock(read(expression))
    return clock.times, days_of(clock.days)


@cache
def days_of(days):
    first = 19_723  # 1 January 2024, in days since 1970
    return tuple(takewhile(lambda day: day < first + 731, days.walk(first - 1)))


def test_the_same_words_mean_the_same_times():
    chosen = random.Random(20261121)
    expressions = {" ".join(map(chosen.choice, FIELDS)) for _ in range(500)}
    meanings = defaultdict(dict)
    for expression in sorted(expressions):
        if words := cron_words(expression):
            meanings[words].setdefault(meaning(expression), expression)
    assert len(meanings) > 80
    assert [*(found.values() for found in meanings.values() if len(found) > 1)] == []
