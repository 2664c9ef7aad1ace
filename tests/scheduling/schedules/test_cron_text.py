"""What is no cron expression, and what the refusal says."""

import pickle
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from scheduling.schedules import Cron, ScheduleError
from scheduling.schedules.cron_text import named
from scheduling.schedules.errors import MESSAGES

REFUSED = [
    ("", "empty", "five fields"),
    ("   ", "empty", "five fields"),
    ("* * * *", "too_few_fields", "five"),
    ("* * * * * * *", "year_field", "year"),
    ("0 0 1 1 * 2025 *", "year_field", "year"),
    ("* * * * *\n", "line_break", "one line"),
    ("* * *\r* *", "line_break", "one line"),
    ("* * * * \u0661", "not_ascii", "digits"),
    ("* * * *\u00a0*", "not_ascii", "digits"),
    ("0\x00 * * * *", "not_ascii", "digits"),
    ("*" * 257, "too_long", "256"),
    ("0 22-2 * * *", "reversed_range", "hour: .*22-23,0-2"),
    ("0 0 * * FRI-MON", "reversed_range", "day of week: .*5-6,0-1"),
    ("0 0 * * 5-0", "reversed_range", "day of week"),
    ("R * * * *", "hashed", "minute"),
    ("R(1-5) * * * *", "hashed", "minute"),
    ("0 H * * *", "hashed", "hour"),
    ("H/5 * * * *", "hashed", "minute"),
    ("0 0 15W * *", "nearest_weekday", "day of month"),
    ("0 0 LW * *", "nearest_weekday", "day of month"),
    ("0 0 * * MON/2", "step_needs_range", "day of week: .*MON-7/2"),
    ("0 0 * * 1/2", "step_needs_range", "day of week: .*1-7/2"),
    ("*/0 * * * *", "zero_step", "minute"),
    ("0 1-5/00 * * *", "zero_step", "hour"),
    ("60 * * * *", "out_of_range", "minute: .*0 to 59"),
    ("0 24 * * *", "out_of_range", "hour: .*0 to 23"),
    ("60 0 0 * * *", "out_of_range", "second: .*0 to 59"),
    ("0 0 0 * *", "out_of_range", "day of month: .*1 to 31"),
    ("0 0 1 13 *", "out_of_range", "month: .*1 to 12"),
    ("0 0 * * 8", "out_of_range", "day of week: .*0 to 7"),
    ("0 0 * * 8#1", "out_of_range", "day of week"),
    ("0 0 * * MONDAY", "full_name", "day of week: .*MON"),
    ("0 0 1 January *", "full_name", "month: .*JAN"),
    ("@reboot", "reboot", "@daily"),
    ("@every 5m", "every", "interval"),
    ("@fortnightly", "unknown_alias", "@daily"),
    ("@daily 5", "unknown_alias", "@daily"),
    ("0 0 31 2 *", "never_comes", "31 2"),
    ("0 0 30,31 FEB ?", "never_comes", "30,31 FEB"),
    ("0 0 31 4,6,9,11 *", "never_comes", "31 4,6,9,11"),
    ("0 0 */30 * MON#2", "never_comes", "MON#2"),
    ("0 0 */30 2 5L", "never_comes", "5L"),
    ("0 0 */22 4 5L", "never_comes", "5L"),
    ("0 0 * * MON#6", "nth_misplaced", "day of week"),
    ("0 0 MON#1 * *", "nth_misplaced", "day of month"),
    ("0 0 * * L5", "last_misplaced", "day of week: .*5L"),
    ("0 0 * * L", "last_misplaced", "day of week"),
    ("0 0 L-3 * *", "last_misplaced", "day of month"),
    ("L * * * *", "last_misplaced", "minute"),
    ("? * * * *", "question_mark", "minute"),
    ("0 0 ?/2 * *", "question_mark", "day of month"),
    ("0 0 1,? * *", "question_mark", "day of month"),
    ("1,,2 * * * *", "empty_item", "minute"),
    ("0 1, * * *", "empty_item", "hour"),
    ("MON * * * *", "not_understood", "minute"),
    ("0 0 1 MON *", "not_understood", "month"),
    ("-5 * * * *", "not_understood", "minute"),
    ("+5 * * * *", "not_understood", "minute"),
    ("5- * * * *", "not_understood", "minute"),
    ("1-2-3 * * * *", "not_understood", "minute"),
    ("*/ * * * *", "not_understood", "minute"),
    ("*/2/3 * * * *", "not_understood", "minute"),
    ("*5 * * * *", "not_understood", "minute"),
    ("1.5 * * * *", "not_understood", "minute"),
    ("%(x)s %d * * *", "not_understood", "minute"),
]


@pytest.mark.parametrize(("expression", "code", "told"), REFUSED)
def test_it_refuses_what_it_does_not_understand_and_says_why(
    expression: str, code: str, told: str
) -> None:
    with pytest.raises(ScheduleError, match=told) as refusal:
        Cron(expression)
    error = refusal.value
    assert (error.code, error.field) == (code, "cron_expression")
    assert len(str(error)) <= 300
    assert error.message_template == MESSAGES[code]
    assert error.message_template % error.params == str(error)


@pytest.mark.parametrize("expression", [None, 5, b"* * * * *", ["* * * * *"], float("nan")])
def test_it_refuses_an_expression_that_is_no_text(expression: object) -> None:
    with pytest.raises(ScheduleError) as refusal:
        Cron(expression)  # type: ignore[arg-type]
    assert refusal.value.code == "not_text"


ZONES: list[object] = [
         "", "localtime", "Factory", "posixrules", "right/UTC", "posix/UTC", "europe/berlin",
         "Europe/Berlin ", "../UTC", "/etc/passwd", "Europe", "Mars/Olympus", "CET\0", "UTC+2",
         "Z" * 100_000, "\ud800", None, 5, [], b"UTC", ZoneInfo("UTC")]  # fmt: skip


@pytest.mark.parametrize("zone", ZONES, ids=lambda zone: repr(zone)[:20])
def test_it_refuses_an_unknown_zone(zone: object) -> None:
    with pytest.raises(ScheduleError) as refusal:
        Cron("* * * * *", zone)  # type: ignore[arg-type]
    assert refusal.value.field == "timezone"
    assert len(str(refusal.value)) <= 300


def test_it_suggests_the_zone_that_differs_in_case_only() -> None:
    with pytest.raises(ScheduleError, match="Did you mean America/New_York"):
        Cron("* * * * *", "america/new_york")


def test_it_warns_of_a_step_beyond_the_range() -> None:
    [warning] = Cron("*/90 * * * *").warnings
    assert warning.code == "step_beyond_range"
    assert str(warning).startswith("minute: ")
    assert len(Cron("50/20 9-17/30 * * *").warnings) == 2
    for expression in ("*/59 * * * *", "0 0 * * */6", "0 9-9/1 * * *", "59/1 * * * *"):
        assert Cron(expression).warnings == ()


def test_a_refusal_can_be_pickled() -> None:
    with pytest.raises(ScheduleError) as refusal:
        Cron("60 * * * *")
    copy = pickle.loads(pickle.dumps(refusal.value))
    assert (str(copy), copy.code, copy.params) == (
        str(refusal.value),
        "out_of_range",
        refusal.value.params,
    )


QUARTZ = {
    "0 0 9 ? * 2": (2, "TUE", "MON", "TUE"),
    "0 0 9 ? * 2-6": (2, "TUE", "MON", "TUE-SAT"),
    "0 0 9 ? * 1-5/2": (1, "MON", "SUN", "MON-FRI/2"),
    "0 0 9 ? * 7,MON": (7, "SUN", "SAT", "SUN,MON"),
    "0 0 9 ? * 2#3": (2, "TUE", "MON", "TUE#3"),
    "0 0 9 ? * 6L": (6, "SAT", "FRI", "SATL"),
    "0 0 9 ? * 5-7": (5, "FRI", "THU", "FRI-SUN"),
}


@pytest.mark.parametrize(("expression", "told"), QUARTZ.items())
def test_it_warns_of_weekdays_that_quartz_counts_otherwise(expression, told) -> None:
    [warning] = Cron(expression).warnings
    number, here, quartz, instead = told
    assert warning.code == "quartz_weekday"
    assert (warning.params["number"], warning.params["here"]) == (number, here)
    assert (warning.params["quartz"], warning.params["instead"]) == (quartz, instead)
    renamed, other = expression.rsplit(" ", 1)[0] + f" {instead}", Cron(expression)
    assert Cron(renamed).warnings == ()
    moment = datetime(2026, 11, 21, tzinfo=UTC)
    for _ in range(10):
        assert Cron(renamed).next_after(moment) == other.next_after(moment)
        moment = other.next_after(moment)


@pytest.mark.parametrize(
    "expression",
    [
        "0 9 * * 2",
        "0 0 9 ? * MON-FRI",
        "0 0 9 ? * *",
        "0 0 9 ? * */2",
        "0 0 9 ? * 0-4",
        "0 0 9 2 * ?",
    ],
)
def test_it_does_not_warn_where_there_is_no_doubt(expression) -> None:
    assert Cron(expression).warnings == ()


@pytest.mark.parametrize(
    ("expression", "texts"),
    [
        ("0 9 * * mon", ["minute 0", "hour 9", "day of month *", "month *", "day of week MON"]),
        ("0 61 9 ? * 2", ["second 0", "minute 61", "hour 9"]),
        ("@hourly", ["minute 0", "hour *"]),
    ],
)
def test_each_field_is_named_whether_right_or_wrong(expression, texts) -> None:
    told = [f"{name} {text}" for name, text in named(expression)]
    assert told[: len(texts)] == texts


def test_what_has_not_five_or_six_fields_has_no_named_ones() -> None:
    with pytest.raises(ScheduleError):
        named("0 9 *")
