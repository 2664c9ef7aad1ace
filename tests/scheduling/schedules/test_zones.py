"""Every zone's clock, to the second, against what zoneinfo shows."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from scheduling.schedules import Cron, ScheduleError, utc_of_local, zones
from scheduling.schedules.zones import (
    DAY,
    FIRST,
    LAST,
    NAMES,
    Stretch,
    instant_of,
    moment_of,
    stretch_at,
    utc,
    zone,
)

YEARS = range(2026, 2041)  # leap years among them


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def instant(text: str) -> int:
    return int(at(text).timestamp())


def shown(name: str, when: int) -> int:
    """The offset in seconds that zoneinfo knows at an instant."""
    offset = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=when)).astimezone(ZoneInfo(name))
    return int(offset.utcoffset().total_seconds())


def stretches(name: str, start: int, end: int) -> list[Stretch]:
    found = [stretch_at(name, start)]
    while found[-1].end < end:
        found.append(stretch_at(name, found[-1].end))
    return found


def changes(name: str, year: int) -> list[str]:
    """When the clock changes in a year (UTC)."""
    start, end = instant(f"{year}-01-01"), instant(f"{year + 1}-01-01")
    return [
        f"{moment_of(stretch.start):%Y-%m-%d %H:%M:%S}"
        for stretch in stretches(name, start, end)
        if stretch.before != stretch.offset
    ]


def rules() -> list[str]:
    """One zone for each set of rules: the others show the same clock."""
    samples = [
        when
        for year in (2026, 2027, 2033)
        for when in range(instant(f"{year}-01-01"), instant(f"{year + 1}-01-01"), 7 * DAY)
    ]
    found = {tuple(shown(name, when) for when in samples): name for name in sorted(NAMES)}
    return sorted(found.values())


def check_years(name: str, years: range) -> None:
    """Offsets on every day and on both sides of every change are those of zoneinfo."""
    start, end = instant(f"{years[0]}-01-01"), instant(f"{years[-1] + 1}-01-01")
    found = stretches(name, start, end)
    assert (found[0].start, found[-1].end) == (start, end), name
    for one, following in pairwise(found):
        assert one.end == following.start, name
        assert following.before == one.offset, name
    for stretch in found:
        days = range(stretch.start, stretch.end, DAY)
        assert {shown(name, when) for when in (*days, stretch.end - 1)} == {stretch.offset}, name
        assert shown(name, stretch.start - 1) == stretch.before, name
        assert stretch_at(name, stretch.end - 1) == stretch, name
        middle = (stretch.start + stretch.end) // 2
        assert stretch_at(name, middle) == stretch, name
    # one for each change, and one for each year
    new_years = {instant(f"{year}-01-01") for year in years}
    begins = {stretch.start for stretch in found if stretch.before != stretch.offset}
    assert {stretch.start for stretch in found} == begins | new_years, name


def test_the_clock_of_every_set_of_rules_is_right_to_the_second():
    names = rules()
    assert len(names) > 50
    for name in names:
        check_years(name, range(2027, 2029))


@pytest.mark.parametrize(
    "name",
    [
        "Asia/Jerusalem",  # at 00:00 UTC in spring
        "Europe/Chisinau",  # at 00:00 UTC in spring and in autumn
        "Africa/Casablanca",  # around Ramadan
        "Africa/Cairo",
        "America/New_York",
        "America/Santiago",
        "Antarctica/Troll",  # two hours
        "Asia/Gaza",
        "Australia/Lord_Howe",  # half an hour
        "Europe/Berlin",
        "Pacific/Chatham",
    ],
)
def test_the_clock_stays_right_for_fifteen_years(name):
    check_years(name, YEARS)
    assert all(len(changes(name, year)) > 1 for year in YEARS)


@pytest.mark.parametrize(
    ("name", "year", "when"),
    [
        # at exactly 00:00 UTC
        ("Asia/Jerusalem", 2027, ["2027-03-26 00:00:00", "2027-10-30 23:00:00"]),
        ("Europe/Chisinau", 2027, ["2027-03-28 00:00:00", "2027-10-31 00:00:00"]),
        # with the calendar year
        ("Europe/Lisbon", 1912, ["1912-01-01 00:00:00"]),
        # within the last hours of a year
        ("Pacific/Kiritimati", 1994, ["1994-12-31 10:00:00"]),
        # a whole day is skipped
        ("Pacific/Apia", 2011, ["2011-04-02 14:00:00", "2011-09-24 14:00:00",
                                "2011-12-30 10:00:00"]),
        # local mean time with odd seconds
        ("Asia/Manila", 1899, ["1899-09-06 04:00:00"]),
    ],
)  # fmt: skip
def test_a_change_is_found_at_its_second(name, year, when):
    check_years(name, range(year - 1, year + 2))
    assert changes(name, year) == when


@pytest.mark.parametrize("name", ["UTC", "Europe/Lisbon", "Pacific/Kiritimati", "Pacific/Midway"])
def test_the_calendar_is_served_from_its_first_second_to_its_last(name):
    assert moment_of(FIRST) == at("0001-01-03")
    assert moment_of(LAST) == at("9999-12-30")
    first, last = stretch_at(name, FIRST), stretch_at(name, LAST - 1)
    assert first.start == FIRST
    assert first.offset == first.before == shown(name, FIRST)
    assert first.end == instant("0002-01-01")
    assert last.end == LAST
    assert last.offset == shown(name, LAST - 1)


def test_slots_begin_and_end_with_the_calendar():
    every_second = Cron("* * * * * *")
    assert every_second.next_after(datetime.min.replace(tzinfo=UTC)) == at("0001-01-03")
    assert every_second.next_after(at("9999-12-29 23:59:58")) == at("9999-12-29 23:59:59")
    assert every_second.next_after(at("9999-12-29 23:59:59")) is None
    assert every_second.latest_at(datetime.max.replace(tzinfo=UTC)) == at("9999-12-29 23:59:59")
    assert every_second.latest_at(at("0001-01-03")) == at("0001-01-03")
    assert every_second.latest_at(at("0001-01-03") - timedelta(microseconds=1)) is None
    assert every_second.count(at("9999-12-29"), datetime.max.replace(tzinfo=UTC)) == DAY - 1
    assert every_second.count(datetime.min.replace(tzinfo=UTC), at("0001-01-03 00:00:09")) == 10


# Names -------------------------------------------------------------------------------------------


def test_names_are_places_and_not_the_machine():
    assert {"UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York"} <= NAMES
    machine = ("localtime", "Factory", "posixrules")
    assert not [n for n in NAMES if n in machine or n.startswith(("right/", "posix/"))]
    assert not NAMES & {"", "Europe", "europe/berlin", "../UTC"}


@pytest.mark.parametrize("name", ["localtime", "Factory", "posixrules", "right/UTC", "posix/UTC"])
def test_the_machines_own_clock_is_no_zone(name):
    with pytest.raises(ScheduleError) as refusal:
        zone(name)
    assert refusal.value.code == "unknown_timezone"


@pytest.mark.parametrize("text", ["europe/berlin", "EUROPE/BERLIN", " Europe/Berlin "])
def test_a_name_in_another_case_is_told_how_it_is_written(text):
    with pytest.raises(ScheduleError, match="Did you mean Europe/Berlin") as refusal:
        zone(text, "timezone")
    assert (refusal.value.code, refusal.value.field) == ("timezone_case", "timezone")


@pytest.mark.parametrize("name", [None, 1, b"UTC", "", "Mars/Olympus", "x" * 10_000, ["UTC"]])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ScheduleError) as refusal:
        zone(name, "somewhere")
    assert (refusal.value.code, refusal.value.field) == ("unknown_timezone", "somewhere")


def test_a_zone_whose_file_is_damaged_is_refused(monkeypatch):
    monkeypatch.setattr(zones, "NAMES", NAMES | {"No/Such_File"})
    with pytest.raises(ScheduleError) as refusal:
        zone("No/Such_File")
    assert refusal.value.code == "unknown_timezone"


def test_the_version_is_that_of_the_rules_in_use(tmp_path, monkeypatch):
    fresh = zones.tzdata_version.__wrapped__
    monkeypatch.setattr(zones, "TZPATH", (str(tmp_path / "nothing"), str(tmp_path)))
    assert fresh() == zones.tzdata.IANA_VERSION  # nothing there: the package's
    (tmp_path / "UTC").touch()
    assert fresh() == ""  # the system's, which does not say
    (tmp_path / "tzdata.zi").write_text("# version 2031c\nR x\n")
    assert fresh() == "2031c"


# Moments -----------------------------------------------------------------------------------------


def test_an_instant_is_the_second_in_which_a_moment_lies():
    assert instant_of(at("1970-01-01 00:00:01.999999")) == 1
    assert instant_of(at("1969-12-31 23:59:59.999999")) == -1
    assert moment_of(-1) == at("1969-12-31 23:59:59")


def test_a_moment_of_any_zone_is_given_in_utc():
    berlin = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    assert utc(berlin) == at("2026-07-01 10:00")
    assert utc(berlin).tzinfo is UTC


BERLIN_GAP = ("2027-03-28 01:59", "2027-03-28 03:00")


@pytest.mark.parametrize("wall", ["2027-03-28 02:00:00", "2027-03-28 02:59:59"])
def test_the_first_and_the_last_second_of_a_gap_are_refused(wall):
    with pytest.raises(ScheduleError) as refusal:
        utc_of_local(datetime.fromisoformat(wall), "Europe/Berlin", "run_at")
    assert refusal.value.code == "skipped_local_time"
    assert (refusal.value.params["before"], refusal.value.params["after"]) == BERLIN_GAP


@pytest.mark.parametrize(
    ("wall", "moment"),
    [
        ("2027-03-28 01:59:59", "2027-03-28 00:59:59"),
        ("2027-03-28 03:00:00", "2027-03-28 01:00:00"),
        # repeated from 02:00 up to 03:00: the first pass
        ("2027-10-31 02:00:00", "2027-10-31 00:00:00"),
        ("2027-10-31 02:59:59", "2027-10-31 00:59:59"),
        ("2027-10-31 03:00:00", "2027-10-31 02:00:00"),
    ],
)
def test_the_seconds_beside_a_change_are_what_the_clock_shows(wall, moment):
    assert utc_of_local(datetime.fromisoformat(wall), "Europe/Berlin") == at(moment)


@pytest.mark.parametrize("year", [1, 9999])
def test_a_local_time_beyond_the_calendar_is_refused(year):
    local = datetime(1, 1, 1) if year == 1 else datetime(9999, 12, 31, 23)
    with pytest.raises(ScheduleError) as refusal:
        utc_of_local(local, "Asia/Tokyo" if year == 1 else "America/New_York", "ends_at")
    assert (refusal.value.code, refusal.value.field) == ("moment_out_of_range", "ends_at")
