"""Any text is either a schedule or a ScheduleError, quickly."""

import time
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduling.schedules import Cron, ScheduleError

# Fifty milliseconds are promised; a busy machine is given ten times as much.
PATIENCE = 0.5
NOW = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)

# Mostly plausible items, so that a good part is accepted; the others must be refused.
SANE = "* * ? 0 1 5 7 12 29 31 59 */2 */15 */90 1-5 2-3/2 9-9 10-20 L 5L 1#1 MON-FRI SUN JAN"
ODD = "W R H # / - L5 60 99 5-1 */0 MONDAY MON#6 2/ -1 @daily ( %s \t \n"
ITEMS = st.sampled_from([*SANE.split(" ") * 3, *ODD.split(" ")])
FIELDS = st.lists(ITEMS, min_size=1, max_size=2).map(",".join)
CRONLIKE = st.lists(FIELDS, min_size=5, max_size=6).map(" ".join)
CHARACTERS = st.text("0123456789*/,-?LW#RH@ \tMONFRIjan%(){}\\", max_size=300)


def check(expression: str, zone: str = "UTC") -> None:
    begun = time.thread_time()
    try:
        cron = Cron(expression, zone)
    except ScheduleError as error:
        assert time.thread_time() - begun < PATIENCE
        assert error.field in {"cron_expression", "timezone"}
        assert 0 < len(str(error)) <= 300
        assert str(error).isprintable()
        return
    slot, latest = cron.next_after(NOW), cron.latest_at(NOW)
    assert time.thread_time() - begun < PATIENCE
    assert slot is not None
    assert slot > NOW
    assert slot.tzinfo is UTC
    assert latest is not None
    assert latest <= NOW
    assert cron.next_after(latest) == slot


@given(st.text(max_size=400))
@settings(deadline=None, max_examples=500)
def test_any_text_is_read_or_refused(expression: str) -> None:
    check(expression)


@given(CHARACTERS)
@settings(deadline=None, max_examples=500)
def test_any_text_of_cron_characters_is_read_or_refused(expression: str) -> None:
    check(expression)


@given(CRONLIKE, st.sampled_from(["UTC", "America/New_York", "Pacific/Apia"]))
@settings(deadline=None, max_examples=1500)
def test_whatever_resembles_cron_is_read_or_refused(expression: str, zone: str) -> None:
    check(expression, zone)


@given(st.text(max_size=100))
@settings(deadline=None)
def test_any_zone_is_known_or_refused(zone: str) -> None:
    check("0 0 * * *", zone)


def test_a_monstrous_text_is_refused_quickly() -> None:
    for monster in ("1," * 150_000, "9" * 10**6, "*/" * 120, "1-" * 128, "#" * 256, "L" * 256):
        check(monster)
        check(f"0 0 {monster} * *")
        check("* * * * *", monster)
    check(f"{'1,' * 120}1 0 * * *")
    check(f"0 0 {'9' * 240} * *")
    check(f"0 0 * * {'*/1,' * 60}2")
