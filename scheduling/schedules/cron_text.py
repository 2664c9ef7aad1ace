"""What the text of a cron expression says: `read(text)` gives `Fields`, or a ScheduleError.

Every value is worked out here and none is left to croniter, which reads `9-9` as the whole field,
wraps reversed ranges and forgets plain values beside `#`. The grammar is Debian cron's, plus an
optional first field of seconds and the Quartz forms `?`, `L`, `nL` and `n#k`.
"""

import re
from dataclasses import dataclass

from scheduling.schedules.cron_parts import (
    ALIASES,
    DAY,
    FIELD,
    FIVE,
    HOUR,
    MAX_LENGTH,
    MINUTE,
    MONTH,
    SECOND,
    WEEKDAY,
    Part,
)
from scheduling.schedules.cron_refusals import refuse, wrong
from scheduling.schedules.errors import ScheduleError, ScheduleWarning, shortened

_NTH = re.compile(r"([0-9]|[A-Z]{3})#([1-5])")
_LAST = re.compile(r"([0-9]|[A-Z]{3})L")


@dataclass(frozen=True, slots=True)
class Fields:
    """The explicit values of an expression; weekdays count from 0 = Sunday to 6.

    `nths` holds (weekday, k) for `n#k`, `last_weekdays` the n of `nL`. `wildcard` and `both_days`
    (AND of the day fields, not OR) are decided by the text, as Debian cron does. `days_text` is
    the text of day of month, month and day of week, to be echoed.
    """

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    last_day: bool
    months: frozenset[int]
    weekdays: frozenset[int]
    nths: frozenset[tuple[int, int]]
    last_weekdays: frozenset[int]
    wildcard: bool
    both_days: bool
    days_text: str
    warnings: tuple[ScheduleWarning, ...]


def read(expression: object) -> Fields:
    """The fields of an expression; ScheduleError, in well under 50 ms, for anything else."""
    second, minute, hour, day, month, weekday = _split(_plain(expression))
    warnings: list[ScheduleWarning] = []
    days, last_day = _days(day, warnings)
    weekdays, nths, last_weekdays = _weekdays(weekday, warnings)
    return Fields(
        seconds=(0,) if second is None else _sorted(SECOND, second, warnings),
        minutes=_sorted(MINUTE, minute, warnings),
        hours=_sorted(HOUR, hour, warnings),
        days=days,
        last_day=last_day,
        months=frozenset(_sorted(MONTH, month, warnings)),
        weekdays=weekdays,
        nths=nths,
        last_weekdays=last_weekdays,
        wildcard=any(text.startswith("*") for text in (second or "", minute, hour)),
        both_days=day.startswith(("*", "?")) or weekday.startswith(("*", "?")),
        days_text=f"{day} {month} {weekday}",
        warnings=tuple(warnings),
    )


def named(expression: object) -> list[tuple[str, str]]:
    """The name and the text of each field, in order, whether or not it means something.

    ScheduleError where they are not five or six; aliases are expanded.
    """
    second, *texts = _split(_plain(expression))
    names = [part.name for part in FIVE]
    pairs = list(zip(names, texts, strict=True))
    return pairs if second is None else [(SECOND.name, second), *pairs]


def _plain(expression: object) -> str:
    """The stripped text. Its length is looked at first: it bounds the cost of all that follows."""
    if not isinstance(expression, str):
        raise ScheduleError("not_text", FIELD)
    if len(expression) > MAX_LENGTH:
        raise ScheduleError("too_long", FIELD, length=len(expression), limit=MAX_LENGTH)
    if "\n" in expression or "\r" in expression:
        raise ScheduleError("line_break", FIELD)
    for character in expression:
        if character != "\t" and not " " <= character <= "~":
            raise ScheduleError("not_ascii", FIELD, text=shortened(character))
    text = expression.strip(" \t")
    if not text:
        raise ScheduleError("empty", FIELD)
    return text


def _split(text: str) -> tuple[str | None, str, str, str, str, str]:
    """Six field texts in upper case, seconds first; None for the seconds of five fields."""
    if text.startswith("@"):
        text = _expanded(text)
    texts = text.upper().split()
    if len(texts) < 5:
        raise ScheduleError("too_few_fields", FIELD, count=len(texts))
    if len(texts) > 6:
        raise ScheduleError("year_field", FIELD, count=len(texts))
    minute, hour, day, month, weekday = texts[-5:]
    return texts[0] if len(texts) == 6 else None, minute, hour, day, month, weekday


def _expanded(alias: str) -> str:
    name = alias.split()[0].lower()
    if alias.lower() in ALIASES:
        return ALIASES[alias.lower()]
    if name == "@every":
        raise ScheduleError("every", FIELD)
    known = ", ".join(ALIASES)
    if name == "@reboot":
        raise ScheduleError("reboot", FIELD, aliases=known)
    raise ScheduleError("unknown_alias", FIELD, text=shortened(alias), aliases=known)


def _days(text: str, warnings: list[ScheduleWarning]) -> tuple[frozenset[int], bool]:
    """The days of the month, and whether its last day (`L`) is among them."""
    items = _items(DAY, "*" if text == "?" else text)
    days = {day for item in items if item != "L" for day in _values(DAY, item, warnings)}
    return frozenset(days), "L" in items


def _weekdays(
    text: str, warnings: list[ScheduleWarning]
) -> tuple[frozenset[int], frozenset[tuple[int, int]], frozenset[int]]:
    """The plain weekdays, the `n#k` and the `nL` of the day-of-week field."""
    plain: set[int] = set()
    nths: set[tuple[int, int]] = set()
    last: set[int] = set()
    for item in _items(WEEKDAY, "*" if text == "?" else text):
        if nth := _NTH.fullmatch(item):
            nths.add((_number(WEEKDAY, nth[1], item) % 7, int(nth[2])))
        elif ends := _LAST.fullmatch(item):
            last.add(_number(WEEKDAY, ends[1], item) % 7)
        else:
            plain.update(day % 7 for day in _values(WEEKDAY, item, warnings))
    return frozenset(plain), frozenset(nths), frozenset(last)


def _sorted(part: Part, text: str, warnings: list[ScheduleWarning]) -> tuple[int, ...]:
    values = {value for item in _items(part, text) for value in _values(part, item, warnings)}
    return tuple(sorted(values))


def _items(part: Part, text: str) -> list[str]:
    items = text.split(",")
    if "" in items:
        raise wrong("empty_item", part, text)
    return items


def _values(part: Part, item: str, warnings: list[ScheduleWarning]) -> range:
    """The values of `*`, `a`, `a-b` and each of them with a step."""
    base, slash, step_text = item.partition("/")
    first, last = _bounds(part, base, item, stepped=bool(slash))
    if not slash:
        return range(first, last + 1)
    if not step_text.isdigit():
        refuse(part, item)
    if not (step := int(step_text)):
        raise wrong("zero_step", part, item)
    if step > max(last - first, 1):
        details = {"part": part.name, "text": shortened(item), "value": first}
        warnings.append(ScheduleWarning("step_beyond_range", **details))
    return range(first, last + 1, step)


def _bounds(part: Part, base: str, item: str, *, stepped: bool) -> tuple[int, int]:
    """The first and the last value of an item without its step."""
    if base == "*":
        return part.low, 6 if part is WEEKDAY else part.high
    start, dash, end = base.partition("-")
    first = _number(part, start, item)
    if not dash:
        if stepped and part is WEEKDAY:
            raise wrong("step_needs_range", part, item)
        return first, part.high if stepped else first
    last = _number(part, end, item)
    if part is WEEKDAY and end == "SUN" and first > 0:
        last = 7  # FRI-SUN: a name has no two numbers to choose from, so it ends the week
    if first > last:
        raise wrong("reversed_range", part, base)
    return first, last


def _number(part: Part, text: str, item: str) -> int:
    """The value of a number or a name in `item`, which is echoed when it is wrong."""
    if text in part.names:
        return part.low + part.names.index(text)
    if not text.isdigit():
        refuse(part, item)
    if not part.low <= int(text) <= part.high:
        raise wrong("out_of_range", part, text, low=part.low, high=part.high)
    return int(text)
