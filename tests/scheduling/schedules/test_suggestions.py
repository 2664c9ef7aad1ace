"""What is suggested for texts that are refused, or accepted and in doubt, one by one."""

import time

import pytest

from scheduling.schedules import Cron, ScheduleError
from scheduling.schedules.advice import Suggestion


def refusal(text: str, zone: str = "UTC") -> ScheduleError:
    with pytest.raises(ScheduleError) as caught:
        Cron(text, zone)
    return caught.value


def expressions(problem) -> list[str]:
    return [one.expression for one in problem.suggestions]


REFUSED = [
    # lists and ranges with a space in them
    ("0 9 * * 1, 3", "space_in_field", ["0 9 * * 1,3"]),
    ("0 9 1 , 15 * *", "space_in_field", ["0 9 1,15 * *"]),
    ("0, 30 9 * * *", "space_in_field", ["0,30 9 * * *"]),
    ("0 9 * * 1 - 5", "space_in_field", ["0 9 * * 1-5"]),
    ("0 9 * * MON -FRI", "space_in_field", ["0 9 * * MON-FRI"]),
    ("0 0 9 * * mon, wed", "space_in_field", ["0 9 * * MON,WED"]),
    ("0 1, * * *", "empty_item", ["0 1 * * *"]),
    ("1,,2 * * * *", "empty_item", ["1,2 * * * *"]),
    ("0 9 * * 1,", "empty_item", ["0 9 * * 1"]),
    ("0 9 ***", "too_few_fields", ["0 9 * * *"]),
    # names in full
    ("0 9 * * monday-friday", "full_name", ["0 9 * * MON-FRI"]),
    ("0 9 * * Tues,Thurs", "full_name", ["0 9 * * TUE,THU"]),
    ("0 9 * * MON-friday", "full_name", ["0 9 * * MON-FRI"]),
    ("0 9 * * Saturdays", "full_name", ["0 9 * * SAT"]),
    ("0 9 1 september-november *", "full_name", ["0 9 1 SEP-NOV *"]),
    ("0 9 * * MONDAY#2", "full_name", ["0 9 * * MON#2"]),
    # backwards
    ("0 9 * * 7-1", "reversed_range", ["0 9 * * 0-1"]),
    ("0 9 * * 7-3", "reversed_range", ["0 9 * * 0-3"]),
    ("0 9 * * 5-1", "reversed_range", ["0 9 * * 5-6,0-1"]),
    ("0 22-2 * * *", "reversed_range", ["0 22-23,0-2 * * *"]),
    ("0 22-2/2 * * *", "reversed_range", ["0 22,0,2 * * *"]),
    ("0 0 1 nov-feb *", "reversed_range", ["0 0 1 11-12,1-2 *"]),
    # steps of weekdays without a range: up to Saturday, or to the Sunday after it
    ("0 9 * * 1/2", "step_needs_range", ["0 9 * * 1-7/2", "0 9 * * 1-6/2"]),
    ("0 9 * * 2/2", "step_needs_range", ["0 9 * * 2-6/2"]),
    # the year last
    ("0 10 * * ? *", "year_last", ["0 10 * * *"]),
    ("0 10 ? * 2-6 *", "year_last", ["0 10 * * MON-FRI"]),
    ("15 10 ? * 6L *", "year_last", ["15 10 * * FRIL"]),
    ("0 12 1/1 * ? *", "year_last", ["0 12 1/1 * *"]),
    ("0 0 12 ? * MON-FRI *", "year_field", ["0 12 * * MON-FRI"]),
    ("0 0 12 ? * 2-6 *", "year_field", ["0 12 * * TUE-SAT", "0 12 * * MON-FRI"]),
    ("* * * * * * *", "year_field", ["* * * * * *"]),
    # the seconds last
    ("0 9 * * 1 30", "seconds_last", ["30 0 9 * * MON"]),
    ("0 9 * * mon-fri 0", "seconds_last", ["0 9 * * MON-FRI"]),
    ("0 9 * * 1-5 0 *", "year_field", ["9 * * 1-5 SUN", "0 9 * * MON-FRI"]),
    # both day fields
    ("0 4 1-7 * saturday", "full_name", ["0 4 1-7 * SAT", "0 4 * * SAT#1"]),
    # other crons' weekdays
    ("0 0 * * L5", "last_misplaced", ["0 0 * * 5L"]),
    ("0 0 9 ? * 1/2", "step_needs_range", ["0 9 * * MON-7/2", "0 9 * * MON-SAT/2",
                                           "0 9 * * SUN-SAT/2"]),
    # pasted with it
    ("cron(0 10 * * ? *)", "wrapped", ["0 10 * * *"]),
    ("cron(0 10 ? * 2-6 *)", "wrapped", ["0 10 * * MON-FRI"]),
    ("cron(0 9 * * 1-5)", "wrapped", ["0 9 * * 1-5"]),
    ("`0 9 * * 1-5`", "wrapped", ["0 9 * * 1-5"]),
    ("- cron: '0 9 * * 1-5'", "wrapped", ["0 9 * * 1-5"]),
    ("0 9 * * 1-5 # weekdays", "comment", ["0 9 * * 1-5"]),
    ("0 9 * * 1 #1", "comment", ["0 9 * * 1#1", "0 9 * * 1"]),
    ("0 9 * * 1-5 /usr/bin/backup --all", "command", ["0 9 * * 1-5"]),
    ("0 9 * * 1-5 root /usr/bin/backup", "command", ["0 9 * * 1-5"]),
    ("@daily /usr/bin/backup", "command", ["0 0 * * *"]),
    ("0 9 * *\u00a0*", "not_ascii", ["0 9 * * *"]),
    ("0\u200b 9 * * *\ufeff", "not_ascii", ["0 9 * * *"]),
    ("０　９　＊　＊　１－５", "not_ascii", ["0 9 * * 1-5"]),
    ("0 9 * * 1，3", "not_ascii", ["0 9 * * 1,3"]),
    ("0 9 * * MON–FRI", "not_ascii", ["0 9 * * MON-FRI"]),
    ("0 9 \\* \\* \\*", "not_understood", ["0 9 * * *"]),
    ("0 9 * * *\n", "line_break", ["0 9 * * *"]),
    # words
    ("daily", "systemd", ["0 0 * * *"]),
    ("weekly", "systemd", ["0 0 * * MON", "0 0 * * SUN"]),
    ("@quarterly", "unknown_alias", ["0 0 1 1,4,7,10 *"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "meant"), REFUSED, ids=lambda value: repr(value)[:40])
def test_a_refused_text_is_answered_with_what_it_most_likely_meant(text, code, meant) -> None:
    error = refusal(text)
    assert (error.code, expressions(error)) == (code, meant)
    assert all(f"“{expression}”" in str(error) for expression in meant)
    for expression in meant:
        Cron(expression)


NOTHING = [
    "0 0 9 * * FOO", "? * * * *", "0 ? * * *", "0 0 L-3 * *", "0 0 15W * *", "H H * * *",
    "*/0 * * * *", "60 * * * *", "0 0 * * 8", "@reboot", "@fortnightly", "0 9 * * *\n0 10 * * *",
    "1 2 3 4", "1 2 3 4 5 6 7 8", "0 9 * * * Nowhere/Town", "0 9 * * 1 2025,2027 *", "", "x" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("text", NOTHING, ids=lambda text: repr(text)[:40])
def test_where_nobody_can_tell_nothing_is_suggested(text) -> None:
    error = refusal(text)
    assert expressions(error) == []
    assert "Did you mean" not in str(error)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("@every 5m", 300),
        ("@every 1h30m", 5400),
        ("@every 1.5h", 5400),
        ("rate(5 minutes)", 300),
        ("rate(1 day)", 86_400),
        ("every 90 minutes", 5400),
        ("every hour", 3600),
    ],
)
def test_a_rate_is_answered_with_an_interval(text, seconds) -> None:
    error = refusal(text)
    assert error.suggestions == (Suggestion(interval_seconds=seconds),)
    assert f"every {seconds} seconds" in str(error)


@pytest.mark.parametrize("text", ["@every 0.1s", "@every", "rate(5 parsecs)", "@every 99999d"])
def test_a_rate_that_is_no_interval_is_not(text) -> None:
    assert refusal(text).suggestions == ()


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("TZ=Asia/Shanghai 0 9 * * *", "Asia/Shanghai"),
        ("CRON_TZ=America/New_York 0 9 * * *", "America/New_York"),
        ("CRON_TZ='Asia/Tokyo' 0 9 * * *", "Asia/Tokyo"),
        ("MAILTO=ops\nCRON_TZ=Asia/Tokyo\n# at nine\n0 9 * * *\n", "Asia/Tokyo"),
        ("0 9 * * * Europe/Berlin", "Europe/Berlin"),
        ("0 9 * * * America/New York", "America/New_York"),
        ("0 9 * * * (UTC)", "UTC"),
        ("0 9 * * * China Standard Time", "Asia/Shanghai"),
        ("TZ=Asia/Beijing 0 9 * * *", "Asia/Shanghai"),
        ("TZ=Asia/Shanghai cron(0 9 * * ? *)", "Asia/Shanghai"),
    ],
)
def test_a_zone_in_the_text_fills_the_zone(text, zone) -> None:
    error = refusal(text)
    assert error.code == "zone_inside"
    assert error.suggestions == (Suggestion("0 9 * * *", zone),)
    assert f"in the time zone {zone}" in str(error)


def test_a_zone_that_may_be_read_two_ways_fills_none() -> None:
    """POSIX reads TZ=GMT+8 as eight hours behind UTC, people as eight hours ahead."""
    error = refusal("TZ=GMT+8 0 9 * * *")
    assert (error.code, error.suggestions) == ("zone_inside", ())


def test_a_year_becomes_a_first_and_a_last_one() -> None:
    error = refusal("0 0 1 1 ? 2027-2029")
    assert error.suggestions == (Suggestion("0 0 1 1 *", years=(2027, 2029)),)
    assert "from 2027 to the end of 2029" in str(error)


DOUBTFUL = [
    ("0 0 9 ? * 2-6", "quartz_weekday", ["0 9 * * TUE-SAT", "0 9 * * MON-FRI"]),
    ("0 9 ? * 2-6", "quartz_weekday", ["0 9 * * TUE-SAT", "0 9 * * MON-FRI"]),
    ("0 0 9 ? * 6L", "quartz_weekday", ["0 9 * * SATL", "0 9 * * FRIL"]),
    ("0 9 * * 1-5 0", "field_order", ["9 * * 1-5 SUN", "0 9 * * MON-FRI"]),
    ("*/5 * * * * 0", "field_order", ["*/5 * * * * SUN", "*/5 * * * *"]),
    ("* * * * * */5", "field_order", ["* * * * * */5", "*/5 * * * * *"]),
    ("0 9 * * 1-5 *", "field_order", ["9 * * 1-5 *", "0 9 * * MON-FRI"]),
    ("30 8 * * 1 *", "field_order", ["30 8 * * 1 *", "30 8 * * MON"]),
    ("0 4 1-7 * SAT", "either_day", ["0 4 1-7 * SAT", "0 4 * * SAT#1"]),
    ("0 4 8-14 * TUE,THU", "either_day", ["0 4 8-14 * TUE,THU", "0 4 * * TUE#2,THU#2"]),
    ("0 4 1-5 * SAT", "either_day", ["0 4 1-5 * SAT", "0 4 */31,2-5 * SAT"]),
    ("0 4 13 * SUN", "either_day", ["0 4 13 * SUN", "0 4 13 * */7"]),
    ("0 4 25-31 1,3 FRI", "either_day", ["0 4 25-31 1,3 FRI", "0 4 * 1,3 FRIL"]),
    ("0 4 13 * FRI", "either_day_only", []),
    ("0 4 25-31 * FRI", "either_day_only", []),
    ("*/120 * * * *", "step_beyond_range", ["0 */2 * * *"]),
    ("*/60 * * * *", "step_beyond_range", ["0 * * * *"]),
    ("15 */24 * * *", "step_beyond_range", ["15 0 * * *"]),
]


@pytest.mark.parametrize(("text", "code", "meant"), DOUBTFUL)
def test_a_doubtful_text_is_warned_about_with_its_readings(text, code, meant) -> None:
    [warning] = Cron(text).warnings
    assert (warning.code, expressions(warning)) == (code, meant)
    assert all(f"“{expression}”" in str(warning) for expression in meant)
    assert len(str(warning)) <= 300


def test_a_step_that_no_field_can_say_is_an_interval() -> None:
    [warning] = Cron("*/90 * * * *").warnings
    assert warning.suggestions == (Suggestion(interval_seconds=5400),)


@pytest.mark.parametrize(
    "text",
    [
        "0 0 9 * * MON-FRI", "0 15 10 * * *", "*/10 * * * * *", "0 0 * * * *", "0 */5 * * * *",
        "0 0 12 * * ?", "0 9 * * 1-5", "@weekly", "0 0 */31,2-7 * SAT", "0 4 13 * */7",
        "0 0 9 ? * 0-4", "0 0 1 * *", "0 9 ? * MON", "* * * * * *",
    ],
)  # fmt: skip
def test_a_text_that_is_not_in_doubt_is_not_warned_about(text) -> None:
    assert Cron(text).warnings == ()


@pytest.mark.parametrize(("_text", "_code", "meant"), DOUBTFUL)
def test_a_reading_that_was_chosen_is_doubted_no_more(_text, _code, meant) -> None:
    for expression in meant[1:]:
        assert Cron(expression).warnings == ()


ZONES = [
    ("Asia/Beijing", ["Asia/Shanghai"]),
    ("America/New York", ["America/New_York"]),
    ("new york", ["America/New_York"]),
    ("China Standard Time", ["Asia/Shanghai"]),
    ("W. Europe Standard Time", ["Europe/Berlin"]),
    ("eastern daylight time", ["America/New_York"]),
    ("Pacific Time (US & Canada)", ["America/Los_Angeles"]),
    ("Shanghai", ["Asia/Shanghai"]),
    ("Mumbai", ["Asia/Kolkata"]),
    ("Buenos Aires", ["America/Argentina/Buenos_Aires"]),
    ("Asia／Shanghai", ["Asia/Shanghai"]),
    ("Asia/Shanghai\u200b", ["Asia/Shanghai"]),
    ("GMT+8", ["Etc/GMT-8"]),
    ("UTC-03:00", ["Etc/GMT+3"]),
    ("utc", ["UTC"]),
    ("UTC+5:30", []),
    ("PST", []),
    ("CST", []),
    ("Eastern", []),
    ("Springfield", []),
    ("Europe", []),
    ("", []),
]


@pytest.mark.parametrize(("name", "meant"), ZONES)
def test_a_name_that_is_no_zone_is_answered_with_the_zone_it_means(name, meant) -> None:
    error = refusal("0 9 * * *", name)
    assert error.field == "timezone"
    assert [one.timezone for one in error.suggestions] == meant
    assert all(zone in str(error) for zone in meant)
    for zone in meant:
        Cron("0 9 * * *", zone)


def test_an_offset_is_never_told_the_wrong_way_round() -> None:
    error = refusal("0 9 * * *", "GMT+8")
    assert "Etc/GMT-8 (that is UTC+8)" in str(error)
    assert "Etc/GMT+8" not in str(error)


def test_suggestions_are_quick_whatever_the_text() -> None:
    monsters = ["cron(" + " " * 900, "1, " * 80, "- " * 120, "# " * 120, "a=b " * 60, "*" * 250,
                "TZ=" * 80, "0 0 1-7 * MON," * 15, "0 0 1,2,3,4,5,6,8 * " + "MON#1," * 30 + "TUE",
                "MON-" * 60, "monday," * 30, "0 9 * * 1, 3 " + "x" * 200]  # fmt: skip
    for text in monsters:
        begun = time.thread_time()
        try:
            assert Cron(text).warnings is not None
        except ScheduleError as error:
            assert len(str(error)) <= 300
        assert time.thread_time() - begun < 0.5  # 50 ms are promised; machines are busy
