"""What a cron expression means: the rules of CRON.md, with instants worked out by hand."""

import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from scheduling.schedules import Cron, ScheduleError, newest, slots_between

NY, LORD_HOWE = "America/New_York", "Australia/Lord_Howe"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def slots(expression: str, zone: str, start: str, end: str) -> list[str]:
    """The slots in (start, end] as 'DD HH:MM' in UTC, with ':SS' where there are seconds."""
    found = slots_between(Cron(expression, zone), at(start), at(end))
    return [f"{slot:%d %H:%M:%S}".removesuffix(":00") for slot in found]


def days(expression: str, month: str = "2024-01") -> list[int]:
    """The days of a month on which it runs (UTC)."""
    start = at(f"{month}-01") - timedelta(seconds=1)
    found = slots_between(Cron(expression), start, start + timedelta(days=31))
    return [slot.day for slot in found if f"{slot:%Y-%m}" == month]


# Each night on which a clock is changed: expression, zone, from and to (UTC), the runs (UTC).
NIGHTS = [
    # New York loses 02:00-03:00 at 07:00 UTC on 10 March, repeats 01:00-02:00 on 3 November
    ("30 2 * * *", NY, "2024-03-10", "2024-03-11", "10 07:00"),
    ("30 2 * * *", NY, "2024-11-03", "2024-11-04", "03 07:30"),
    ("30 1 * * *", NY, "2024-11-03", "2024-11-04", "03 05:30"),
    ("0,30 2 * * *", NY, "2024-03-10", "2024-03-11", "10 07:00"),
    ("30 2,3 * * *", NY, "2024-03-10", "2024-03-11", "10 07:00, 10 07:30"),
    ("*/30 2 * * *", NY, "2024-03-10", "2024-03-11", ""),
    ("0 */2 * * *", NY, "2024-03-10 04", "2024-03-10 11", "10 05:00, 10 08:00, 10 10:00"),
    ("0 * * * *", NY, "2024-11-03 04", "2024-11-03 07", "03 05:00, 03 06:00, 03 07:00"),
    ("0 0-23 * * *", NY, "2024-11-03 04", "2024-11-03 07", "03 05:00, 03 07:00"),
    ("0 0-23 * * *", NY, "2024-03-10 05", "2024-03-10 08", "10 06:00, 10 07:00, 10 08:00"),
    ("0 0-23/1 * * *", NY, "2024-11-03 05", "2024-11-03 06", ""),
    # London, Berlin
    ("30 1 * * *", "Europe/London", "2023-10-29", "2023-10-30", "29 00:30"),
    ("30 1 * * *", "Europe/London", "2023-03-26", "2023-03-27", "26 01:00"),
    ("30 2 * * *", "Europe/Berlin", "2025-03-30", "2025-03-30 12", "30 01:00"),
    ("30 15 2 * * *", "Europe/Berlin", "2025-03-30", "2025-03-30 12", "30 01:00"),
    ("*/20 0 2 * * *", "Europe/Berlin", "2025-03-30", "2025-03-30 12", ""),
    ("5 0 2 * * *", "Europe/Berlin", "2025-10-26", "2025-10-26 12", "26 00:00:05"),
    ("*/30 0 2 * * *", "Europe/Berlin", "2025-10-25 12", "2025-10-26 12",
     "26 00:00, 26 00:00:30, 26 01:00, 26 01:00:30"),
    # Lord Howe moves by half an hour
    ("45 1 * * *", LORD_HOWE, "2024-04-06 12", "2024-04-07 12", "06 14:45"),
    ("*/15 1 * * *", LORD_HOWE, "2024-04-06 12", "2024-04-07 12",
     "06 14:00, 06 14:15, 06 14:30, 06 14:45, 06 15:00, 06 15:15"),
    ("15 2 * * *", LORD_HOWE, "2024-10-05 12", "2024-10-06 12", "05 15:30"),
    # at midnight
    ("@daily", "America/Havana", "2023-11-05", "2023-11-06", "05 04:00"),
    ("@hourly", "America/Havana", "2023-11-05 03", "2023-11-05 06", "05 04:00, 05 05:00, 05 06:00"),
    ("@daily", "America/Havana", "2023-03-12", "2023-03-13", "12 05:00"),
    ("0 0 * * *", "America/Sao_Paulo", "2018-11-04", "2018-11-05", "04 03:00"),
    ("0 0 * * *", "Asia/Beirut", "2022-03-26 12", "2022-03-27 12", "26 22:00"),
    ("30 0 * * *", "Asia/Tehran", "2022-03-21 12", "2022-03-22 12", "21 20:30"),
    # Casablanca, before and after Ramadan
    ("30 2 * * *", "Africa/Casablanca", "2024-03-10", "2024-03-11", "10 01:30"),
    ("30 2 * * *", "Africa/Casablanca", "2024-04-14", "2024-04-15", "14 02:00"),
    # Troll skips two hours, Apia the whole of 30 December 2011, at 10:00 UTC
    ("30 1,2 * * *", "Antarctica/Troll", "2022-03-27", "2022-03-27 12", "27 01:00"),
    ("0 12 * * *", "Pacific/Apia", "2011-12-29 12", "2011-12-31 12",
     "29 22:00, 30 10:00, 30 22:00"),
    ("0 0,12 30 12 *", "Pacific/Apia", "2011-12-01", "2012-01-31", "30 10:00"),
    ("0 0 * * *", "Pacific/Apia", "2011-12-29", "2011-12-31", "29 10:00, 30 10:00"),
    ("* 0 30 12 *", "Pacific/Apia", "2011-12-01", "2012-01-31", ""),
    # no change at all
    ("30 2 * * *", "Asia/Kolkata", "2024-03-09 12", "2024-03-10 12", "09 21:00"),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "zone", "start", "end", "expected"), NIGHTS)
def test_it_runs_as_promised_when_the_clock_is_changed(
    expression: str, zone: str, start: str, end: str, expected: str
) -> None:
    assert ", ".join(slots(expression, zone, start, end)) == expected


@pytest.mark.parametrize("zone", ["America/New_York", "America/Havana", "Pacific/Chatham"])
def test_a_fixed_time_runs_exactly_once_every_local_day(zone: str) -> None:
    found = slots_between(Cron("30 2 * * *", zone), at("2024-01-01 12:00"), at("2026-01-01 12:00"))
    local_days = [slot.astimezone(ZoneInfo(zone)).date() for slot in found]
    assert len(local_days) == len(set(local_days)) == 731


def test_it_asks_the_text_whether_it_is_a_wildcard() -> None:
    for expression in ("* 2 * * *", "0 */1 * * *", "*/5 0 0 * * *", "0 * * * *", "@hourly"):
        assert Cron(expression).wildcard, expression
    for expression in ("0-59 0-23 * * *", "0 0 * * *", "0 0 0 * * *", "@daily", "0,* 1 * * *"):
        assert not Cron(expression).wildcard, expression


DAYS = [
    ("0 0 1 * MON#1", "2024-02", [1, 5]),
    ("0 0 13 * FRI", "2024-01", [5, 12, 13, 19, 26]),
    ("0 0 */2 * MON", "2024-01", [1, 15, 29]),
    ("0 0 1-31/10 * MON", "2024-01", [1, 8, 11, 15, 21, 22, 29, 31]),
    ("0 0 10-20 * */3", "2024-01", [10, 13, 14, 17, 20]),
    ("0 0 ? * MON", "2024-01", [1, 8, 15, 22, 29]),
    ("0 0 13 * ?", "2024-01", [13]),
    ("0 0 29-31 * ?", "2024-02", [29]),
    ("0 0 L * *", "2024-02", [29]),
    ("0 0 L * *", "2023-02", [28]),
    ("0 0 1,L * *", "2024-04", [1, 30]),
    ("0 0 2-31,L * MON#2", "2023-02", list(range(2, 29))),
    ("0 0 L * 5L", "2024-02", [23, 29]),
    ("0 0 * * 5L", "2024-01", [26]),
    ("0 0 * * friL", "2024-01", [26]),
    ("0 0 * * 0L", "2024-01", [28]),
    ("0 0 * * 7l,WED", "2024-01", [3, 10, 17, 24, 28, 31]),
    ("0 0 * * MON#1,WED", "2024-01", [1, 3, 10, 17, 24, 31]),
    ("0 0 * * 1#5", "2024-02", []),
    ("0 0 * * 5-7", "2024-01", [5, 6, 7, 12, 13, 14, 19, 20, 21, 26, 27, 28]),
    ("0 0 * * FRI-SUN", "2024-01", [5, 6, 7, 12, 13, 14, 19, 20, 21, 26, 27, 28]),
    ("0 0 * * 0", "2024-01", [7, 14, 21, 28]),
    ("0 0 * * 7", "2024-01", [7, 14, 21, 28]),
    ("0 0 * * 1-7/3", "2024-01", [1, 4, 7, 8, 11, 14, 15, 18, 21, 22, 25, 28, 29]),
    ("0 0 9-9 * *", "2024-01", [9]),
    ("0 0 10/10 * *", "2024-01", [10, 20, 30]),
    ("0 0 */90 * *", "2024-01", [1]),
    ("0 0 5 JAN *", "2024-01", [5]),
    ("0 0 5 feb-Apr *", "2024-01", []),
    ("\t0  0\t 5 * *  ", "2024-01", [5]),
    ("0 0 1,*/20 * MON", "2024-01", [1, 8, 15, 21, 22, 29]),
]


@pytest.mark.parametrize(("expression", "month", "expected"), DAYS)
def test_it_runs_on_the_days_that_the_two_day_fields_mean(
    expression: str, month: str, expected: list[int]
) -> None:
    assert days(expression, month) == expected


FORMS = [
    ("@hourly", "2024-01-01 01:00:00"),
    ("@daily", "2024-01-02 00:00:00"),
    ("@midnight", "2024-01-02 00:00:00"),
    ("@weekly", "2024-01-07 00:00:00"),
    ("@monthly", "2024-02-01 00:00:00"),
    ("@yearly", "2025-01-01 00:00:00"),
    ("@annually", "2025-01-01 00:00:00"),
    ("*/5 * * * * *", "2024-01-01 00:00:05"),
    ("10/25 * * * * *", "2024-01-01 00:00:10"),
    ("0 9-9 * * *", "2024-01-01 09:00:00"),
    ("5 4 3 * * *", "2024-01-01 03:04:05"),
    ("50/20 * * * *", "2024-01-01 00:50:00"),
]


@pytest.mark.parametrize(("expression", "expected"), FORMS)
def test_it_understands_aliases_steps_and_seconds_first(expression: str, expected: str) -> None:
    assert Cron(expression).next_after(at("2024-01-01")) == at(expected)


def test_a_moment_within_a_second_is_followed_by_the_next_second() -> None:
    half_past = at("2024-01-01 12:00:00.5")
    assert Cron("* * * * * *").next_after(half_past) == at("2024-01-01 12:00:01")
    assert Cron("* * * * * *").latest_at(half_past) == at("2024-01-01 12:00:00")


def test_a_slot_is_not_its_own_successor() -> None:
    assert Cron("0 12 * * *").next_after(at("2024-01-01 12:00")) == at("2024-01-02 12:00")
    assert Cron("0 12 * * *").latest_at(at("2024-01-01 12:00")) == at("2024-01-01 12:00")


def test_it_takes_a_moment_of_any_zone_and_answers_in_utc() -> None:
    moment = datetime(2024, 1, 1, 23, 30, tzinfo=timezone(timedelta(hours=9)))
    slot = Cron("0 * * * *").next_after(moment)
    assert slot == at("2024-01-01 15:00")
    assert slot.tzinfo is UTC


def test_it_finds_dates_that_are_decades_apart() -> None:
    rare = Cron("0 0 * 2 MON#5", "America/New_York")
    assert rare.next_after(at("2072-03-01")) == at("2112-02-29 05:00")
    assert rare.latest_at(at("2112-02-28")) == at("2072-02-29 05:00")
    assert rare.count(at("1950-01-01"), at("2120-01-01")) == 6


def test_the_end_of_the_calendar_is_none_and_not_an_error() -> None:
    end = datetime.max.replace(tzinfo=UTC)
    start = datetime.min.replace(tzinfo=UTC)
    for expression in ("* * * * *", "0 0 29 2 *", "0 0 * * 5L", "@yearly"):
        for zone in ("UTC", "Pacific/Apia", "America/New_York"):
            cron = Cron(expression, zone)
            assert cron.next_after(end) is None
            assert cron.latest_at(start) is None
            latest, first = cron.latest_at(end), cron.next_after(start)
            assert latest is not None
            assert latest.year > 9990
            assert cron.next_after(latest) is None
            assert first is not None
            assert first.year < 10
            assert cron.latest_at(first - timedelta(seconds=1)) is None


def test_it_refuses_a_naive_moment() -> None:
    naive = at("2024-01-01").replace(tzinfo=None)
    for ask in (Cron("* * * * *").next_after, Cron("* * * * *").latest_at):
        with pytest.raises(ScheduleError, match="no time zone"):
            ask(naive)


def test_it_is_a_value() -> None:
    cron = Cron("0 9 * * MON", "Europe/Berlin")
    same = pickle.loads(pickle.dumps(cron))
    assert same == cron
    assert hash(same) == hash(cron)
    assert repr(cron) == "Cron(expression='0 9 * * MON', timezone='Europe/Berlin')"
    assert Cron("0 9 * * MON") == Cron("0 9 * * MON", "UTC") != cron


def test_what_it_remembers_does_not_depend_on_the_order_of_the_questions() -> None:
    text, moments = (
        "*/13 1-5 * * *",
        [at("2024-03-10") + timedelta(minutes=7 * n) for n in range(200)],
    )
    # trailing spaces make another expression, which remembers nothing yet
    fresh = [Cron(text + " " * n, NY).next_after(moment) for n, moment in enumerate(moments, 1)]
    cron = Cron(text, NY)
    for step in (1, -1, 37):
        order = [(n * step) % 200 for n in range(200)]
        assert [cron.next_after(moments[n]) for n in order] == [fresh[n] for n in order]


def test_threads_that_share_a_schedule_get_the_same_answers() -> None:
    cron = Cron("*/7 * */3 * MON#2,5L,TUE", "Europe/Berlin")
    moments = [at("2024-01-01") + timedelta(hours=5 * n) for n in range(400)]

    def ask(offset: int) -> list[datetime | None]:
        order = moments[offset:] + moments[:offset]
        answers = dict(zip(order, map(cron.next_after, order), strict=True))
        return [answers[moment] for moment in moments]

    expected = ask(0)
    with ThreadPoolExecutor(4) as pool:
        assert all(answers == expected for answers in pool.map(ask, range(0, 400, 50)))


def test_many_tasks_with_few_schedules_cost_little() -> None:
    zones = ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata"]
    crons = [Cron(f"{n % 60} {n % 24} * * *", zones[n % 4]) for n in range(100_000)]
    now = at("2024-01-01 12:00")
    begun = time.thread_time()
    for cron in crons:
        cron.next_after(now)
    assert time.thread_time() - begun < 2  # measured: 0.03 s


def test_a_long_downtime_is_counted_without_walking_through_it() -> None:
    now = at("2026-01-01")
    seconds = Cron("* * * * * *", "America/New_York")
    begun = time.thread_time()
    assert seconds.count(now - timedelta(days=3 * 365), now) == 3 * 365 * 86_400
    assert len(newest(seconds, now - timedelta(days=3 * 365), now, 1000)) == 1000
    assert time.thread_time() - begun < 1  # measured: 0.006 s
