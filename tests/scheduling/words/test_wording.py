"""How times are said."""

from datetime import UTC, datetime, timedelta

import pytest

from scheduling.models import ScheduledTask
from scheduling.words import duration_text, moment_text, schedule_words
from scheduling.words.wording import exact_duration_text

MOMENT = datetime(2026, 7, 1, 7, 30, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.004, "4 ms"),
        (0.25, "0.25 s"),
        (9.999, "10 s"),
        (42.4, "42 s"),
        (59.7, "1 min"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (3605, "1 h"),
        (200_000, "2 d 7 h"),
        (-90, "-1 min 30 s"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds, text):
    assert duration_text(timedelta(seconds=seconds)) == text


def test_no_duration_is_no_text():
    assert duration_text(None) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 s"), (86_400, "1 d"), (93_784, "1 d 2 h 3 min 4 s"), (5400, "1 h 30 min")],
)
def test_an_interval_is_told_exactly(seconds, text):
    assert exact_duration_text(seconds) == text


def test_a_moment_is_told_on_the_clock_of_a_zone_which_is_named():
    assert moment_text(MOMENT, "Europe/Berlin") == "2026-07-01 09:30:05 CEST"
    assert moment_text(MOMENT, "UTC") == "2026-07-01 07:30:05 UTC"


def test_a_zone_that_is_none_is_utc():
    assert moment_text(MOMENT, "Mars/Olympus") == "2026-07-01 07:30:05 UTC"


def test_the_ends_of_the_calendar_are_told():
    assert moment_text(datetime.max.replace(tzinfo=UTC), "Asia/Tokyo").startswith("9999-12-31")
    assert moment_text(datetime.min.replace(tzinfo=UTC), "America/Lima").endswith("UTC")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"kind": "cron", "cron_expression": "0 9 * * 1-5", "timezone": "Asia/Shanghai"},
            "Monday to Friday at 09:00 (Asia/Shanghai)",
        ),
        ({"kind": "cron", "cron_expression": "*/7 * * * *"}, "*/7 * * * * (UTC)"),
        ({"kind": "cron", "cron_expression": "nonsense"}, "nonsense (UTC)"),
        ({"kind": "interval", "interval_seconds": 5400}, "every 1 h 30 min"),
        ({"kind": "one_time", "run_at": MOMENT}, "once, 2026-07-01 07:30:05 UTC"),
    ],
)
def test_a_schedule_is_told_in_words_where_there_are_right_ones(columns, words):
    assert schedule_words(ScheduledTask(**{"timezone": "UTC"} | columns)) == words
