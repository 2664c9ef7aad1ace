"""No suggestion means something else than what the text may have meant.

Each text is written from a known intention, in the manner of another cron, by the writers below,
which share no code with what suggests. The oracle is `Cron` on the intention in its plainest form,
or a walk over the days of some years.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduling.schedules import Cron, ScheduleError

DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
IN_FULL = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS_IN_FULL = [date(2026, n, 1).strftime("%B") for n in range(1, 13)]
EXAMPLES = 150

# Intentions ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wish:
    """When a person wants it to run. `days` and `weekdays`: None for all of them, else a list, or
    a pair for a range; at most one of the two."""

    minute: str
    hour: str
    days: tuple[int, ...] | None
    months: tuple[int, ...] | None
    weekdays: tuple[int, ...] | None
    is_range: bool
    second: int = 0

    def written(
        self,
        day: Callable[[int], str] = lambda n: DAYS[n],
        month: Callable[[int], str] = str,
        comma: str = ",",
        dash: str = "-",
    ) -> list[str]:
        """The five fields."""
        return [
            self.minute.replace(",", comma),
            self.hour.replace(",", comma),
            _joined(self.days, str, comma, dash, False),
            _joined(self.months, month, comma, dash, False),
            _joined(self.weekdays, day, comma, dash, self.is_range),
        ]

    @property
    def cron(self) -> Cron:
        second = [str(self.second)] if self.second else []
        return Cron(" ".join((*second, *self.written())))


def _joined(values, text, comma, dash, is_range) -> str:
    if values is None:
        return "*"
    if is_range:
        return f"{text(values[0])}{dash}{text(values[-1])}"
    return comma.join(map(text, values))


MINUTES = st.sampled_from(["0", "30", "5", "*/5", "*/15", "0,30", "10-20"])
HOURS = st.sampled_from(["*", "9", "0", "22", "9-17", "8,12,16", "*/2", "1"])


@st.composite
def wishes(draw, numbers_from: int = 0) -> Wish:
    kind = draw(st.sampled_from(["daily", "weekly", "weekly", "monthly"]))
    days = weekdays = None
    is_range = False
    if kind == "monthly":
        days = tuple(sorted(draw(st.sets(st.integers(1, 31), min_size=1, max_size=3))))
    if kind == "weekly":
        is_range = draw(st.booleans())
        least = 2 if is_range else 1
        chosen = draw(st.sets(st.integers(numbers_from, 6), min_size=least, max_size=4))
        weekdays = tuple(sorted(chosen))
    months = draw(st.none() | st.sets(st.sampled_from([1, 3, 7, 12]), min_size=1, max_size=2))
    return Wish(
        minute=draw(MINUTES),
        hour=draw(HOURS),
        days=days,
        months=None if months is None else tuple(sorted(months)),
        weekdays=weekdays,
        is_range=is_range,
    )


# Asking -------------------------------------------------------------------------------------------

_random = Random(7)
MOMENTS = sorted(
    datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=_random.randrange(7 * 366 * 1440))
    for _ in range(12)
)


def same(one: Cron, other: Cron) -> bool:
    """Whether they have the same next slots, all over seven years."""
    return all(one.next_after(moment) == other.next_after(moment) for moment in MOMENTS)


def told(text: str) -> tuple[list, Cron | None]:
    """What is suggested for a text; and what it means to us, where it is accepted."""
    try:
        cron = Cron(text)
    except ScheduleError as error:
        assert len(str(error)) <= 300
        return list(error.suggestions), None
    for warning in cron.warnings:
        assert len(str(warning)) <= 300
    return [one for warning in cron.warnings for one in warning.suggestions], cron


def check(text: str, wish: Wish, *others: Cron, must: bool = True) -> None:
    """Every suggestion is the wish or one of the `others`, or what an accepted text means."""
    suggestions, cron = told(text)
    likely = [wish.cron, *others, *([cron] if cron else [])]
    met = False
    for one in suggestions:
        found = Cron(one.expression)
        assert any(same(found, other) for other in likely), (text, one)
        met = met or same(found, wish.cron)
    assert met or not must or (cron is not None and same(cron, wish.cron)), (text, suggestions)


# Refused ------------------------------------------------------------------------------------------


@given(wishes(), st.sampled_from([", ", " ,", " , ", ",  "]))
@settings(deadline=None, max_examples=EXAMPLES)
def test_spaces_in_lists(wish: Wish, comma: str) -> None:
    check(" ".join(wish.written(comma=comma)), wish)


@given(wishes(), st.sampled_from([" - ", " -", "- ", "–", " – ", "－"]))
@settings(deadline=None, max_examples=EXAMPLES)
def test_spaces_and_odd_hyphens_in_ranges(wish: Wish, dash: str) -> None:
    check(" ".join(wish.written(dash=dash, day=str)), wish)


@given(wishes(), st.sampled_from(["full", "FULL", "full s", "four"]))
@settings(deadline=None, max_examples=EXAMPLES)
def test_names_in_full(wish: Wish, how: str) -> None:
    def day(n: int) -> str:
        return {"FULL": IN_FULL[n].upper(), "full s": f"{IN_FULL[n]}s", "four": IN_FULL[n][:4]}.get(
            how, IN_FULL[n]
        )

    check(" ".join(wish.written(day=day, month=lambda n: MONTHS_IN_FULL[n - 1])), wish)


@given(wishes(), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=EXAMPLES)
def test_aws(wish: Wish, by_number: bool, wrapped: bool) -> None:
    day = (lambda n: str(n + 1)) if by_number else (lambda n: DAYS[n])
    fields = wish.written(day=day)
    fields[2 if fields[4] != "*" else 4] = "?"
    text = " ".join((*fields, "*"))
    check(f"cron({text})" if wrapped else text, wish)


@given(wishes(), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=EXAMPLES)
def test_quartz(wish: Wish, by_number: bool, with_year: bool) -> None:
    """Weekdays from 1 = Sunday; that somebody meant ours cannot be excluded."""
    day = (lambda n: str(n + 1)) if by_number else (lambda n: DAYS[n])
    fields = wish.written(day=day)
    fields[2 if fields[4] != "*" else 4] = "?"
    ours = [field.replace("?", "*") for field in fields]
    others = [Cron(" ".join(ours))] if by_number else []
    check(" ".join(("0", *fields, *(["*"] if with_year else []))), wish, *others)


@given(wishes(), st.sampled_from([0, 0, 0, 15, 30, 59]))
@settings(deadline=None, max_examples=EXAMPLES)
def test_seconds_last(wish: Wish, second: int) -> None:
    wish = Wish(**(wish.__dict__ | {"second": second}))
    text = " ".join((*wish.written(day=str), str(second)))
    check(text, wish, *quartz_of(text), must=second == 0 or second > 7)


@given(wishes())
@settings(deadline=None, max_examples=EXAMPLES)
def test_a_year_at_the_end(wish: Wish) -> None:
    text = " ".join((*wish.written(day=str), "*"))
    check(text, wish, *quartz_of(text), must=False)
    check(" ".join((*wish.written(), "2027")), wish)


def quartz_of(text: str) -> list[Cron]:
    """The other reading of six fields with the seconds first: weekdays from 1 = Sunday."""
    *fields, weekday = text.split()
    numbers = [part for item in weekday.split(",") for part in item.split("-")]
    if not all(part.isdigit() and 1 <= int(part) <= 7 for part in numbers):
        return []
    for number in sorted({*numbers}):
        weekday = weekday.replace(number, DAYS[int(number) - 1])
    try:
        return [Cron(" ".join((*fields, weekday)))]
    except ScheduleError:
        return []


@given(wishes(numbers_from=1), st.integers(1, 6), st.integers(1, 6))
@settings(deadline=None, max_examples=EXAMPLES)
def test_weekdays_that_run_backwards(wish: Wish, first: int, last: int) -> None:
    if first == last:
        return
    first, last = max(first, last), min(first, last)
    around = [day % 7 for day in range(first, last + 8)]
    wish = Wish(**(wish.__dict__ | {"weekdays": tuple(around), "days": None, "is_range": False}))
    for range_ in (f"{first}-{last}", f"{DAYS[first]}-{DAYS[last]}", f"{IN_FULL[first]}-{last}"):
        check(" ".join((*wish.written()[:4], range_)), wish)


@given(wishes(), st.integers(0, 23), st.integers(0, 23), st.sampled_from([1, 2, 3]))
@settings(deadline=None, max_examples=EXAMPLES)
def test_hours_that_run_backwards(wish: Wish, first: int, last: int, step: int) -> None:
    if first <= last:
        return
    around = [hour % 24 for hour in range(first, last + 25)][::step]
    wish = Wish(**(wish.__dict__ | {"hour": ",".join(map(str, around))}))
    fields = wish.written()
    fields[1] = f"{first}-{last}" + (f"/{step}" if step > 1 else "")
    check(" ".join(fields), wish)


DECORATIONS = [
    "{} # every day", "{} /usr/bin/backup --all", "{} root /bin/true", "`{}`", "'{}'", '"{}",',
    "cron({})", "cron: '{}'", "- cron: \"{}\"", "MAILTO=ops\n{}\n", "{}\n", "\u200b{}", "{}\ufeff",
    "  {} cd /srv && make",
]  # fmt: skip


@given(wishes(), st.sampled_from(DECORATIONS))
@settings(deadline=None, max_examples=EXAMPLES)
def test_what_was_pasted_with_it(wish: Wish, decoration: str) -> None:
    check(decoration.format(" ".join(wish.written(day=str))), wish)


@given(wishes())
@settings(deadline=None, max_examples=EXAMPLES)
def test_odd_characters(wish: Wish) -> None:
    text = " ".join(wish.written())
    wide = "".join(chr(ord(c) + 0xFEE0) if c != " " else "\u3000" for c in text)
    for odd in (text.replace(" ", "\u00a0"), text.replace(" ", " \u200b"), wide):
        check(odd, wish)


ZONED = ["TZ={1} {0}", "CRON_TZ={1} {0}", "CRON_TZ={1}\n{0}", "{0} {1}", "{0} ({1})", "{0} TZ={1}"]
NAMED = {
    "Asia/Shanghai": "Asia/Shanghai",
    "America/New_York": "America/New_York",
    "Asia/Beijing": "Asia/Shanghai",
    "UTC": "UTC",
    "europe/berlin": "Europe/Berlin",
}


@given(wishes(), st.sampled_from(ZONED), st.sampled_from(sorted(NAMED)))
@settings(deadline=None, max_examples=EXAMPLES)
def test_a_zone_that_was_pasted_with_it(wish: Wish, how: str, name: str) -> None:
    text = how.format(" ".join(wish.written(day=str)), name)
    check(text, wish)
    suggestions, _ = told(text)
    assert {one.timezone for one in suggestions} == {NAMED[name]}


# Both day fields ----------------------------------------------------------------------------------

FIRST, LAST = date(2026, 1, 1), date(2028, 12, 31)
CALENDAR = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]


def days_of(cron: Cron) -> list[date]:
    """The days on which a daily schedule runs."""
    found = []
    slot = cron.next_after(datetime(2025, 12, 31, 12, tzinfo=UTC))
    while slot is not None and slot.date() <= LAST:
        found.append(slot.date())
        slot = cron.next_after(slot)
    return found


@given(
    st.sampled_from(["1-7", "8-14", "15-21", "22-28", "1-14", "1", "1,15", "13", "25-31", "2-8"]),
    st.sets(st.integers(0, 6), min_size=1, max_size=3),
    st.sets(st.integers(1, 12), max_size=3),
)
@settings(deadline=None, max_examples=40)
def test_both_day_fields(days: str, weekdays: set[int], months: set[int]) -> None:
    """One of them is enough, as the text is read, or both must match."""
    numbers = set()
    for item in days.split(","):
        first, _, last = item.partition("-")
        numbers |= {*range(int(first), int(last or first) + 1)}
    in_months = [day for day in CALENDAR if not months or day.month in months]
    is_day = {day for day in in_months if day.day in numbers}
    is_weekday = {day for day in in_months if day.isoweekday() % 7 in weekdays}
    either, both = sorted(is_day | is_weekday), sorted(is_day & is_weekday)

    month_text = ",".join(map(str, sorted(months))) or "*"
    text = f"0 4 {days} {month_text} {','.join(DAYS[n] for n in sorted(weekdays))}"
    [warning] = Cron(text).warnings
    found = [days_of(Cron(one.expression)) for one in warning.suggestions]
    if warning.code == "either_day_only":
        assert found == []
        assert 1 not in numbers
    else:
        assert found == [either, both]
    full = text.replace("SUN", "Sunday").replace("MON", "Monday")
    if full != text:
        for one in told(full)[0]:
            assert days_of(Cron(one.expression)) in (either, both)


# Any text -----------------------------------------------------------------------------------------

ITEMS = "* ? 0 1 5 9 30 */5 */90 1-5 7-1 22-2 L 5L L5 MON Monday 1#2 2026 0/15 1/2 , - # x UTC"
SOUP = st.lists(st.sampled_from(ITEMS.split(" ")), min_size=1, max_size=8).map(" ".join)


@given(SOUP | st.text("0159*/,-?LW#@ monday.TZ=()\t\n", max_size=40))
@settings(deadline=None, max_examples=4 * EXAMPLES)
def test_whatever_is_suggested_is_accepted_and_told_in_few_words(text: str) -> None:
    for one in told(text)[0]:
        if one.expression:
            Cron(one.expression, one.timezone or "UTC")
        else:
            assert one.interval_seconds


@pytest.mark.parametrize(
    "text", ["0 9 * * * Nowhere/Town", "TZ=X 0 9 * * *", "TZ=GMT+8 0 9 * * *", "0 9 * * * GMT+8"]
)
def test_no_times_are_suggested_for_a_zone_that_is_not_certain(text: str) -> None:
    assert told(text)[0] == []
