"""The same schedule as other crons write it: `readings(text)` are our expressions for a text.

Fields in another order (the seconds or the year last), weekdays that count from 1 = Sunday
(Quartz, AWS), names in full, ranges that run backwards.
"""

import re
from collections.abc import Iterator
from itertools import islice, product
from typing import Literal, NamedTuple

from scheduling.schedules.cron_parts import FIVE, SECOND
from scheduling.schedules.dialect_fields import field

_YEARS = re.compile(r"((?:19|20|21)\d\d)(?:-((?:19|20|21)\d\d))?")
# A weekday by number: not a step, not the k of n#k.
WEEKDAY_NUMBER = re.compile(r"(?<![\w#/])[0-9]+")
_ANY = frozenset("*?")
#: The most readings of one order of the fields.
_MOST = 4


Order = Literal["first", "last", "year"]


class Layout(NamedTuple):
    """Which token is which: the seconds, the five fields, the years; and how weekdays count."""

    second: str
    five: tuple[str, ...]
    years: str = "*"
    order: Order = "first"
    quartz: bool = False
    named: bool = True  # weekdays are written by name, because their numbers are in doubt


class Reading(NamedTuple):
    """Our expression, and the years in which it runs; None for every year.

    `order`: which field of six was taken for the one beside the usual five.
    """

    expression: str
    years: tuple[int, int] | None = None
    order: Order = "first"


def readings(text: str, aws: bool = False) -> list[Reading]:
    """What five to seven fields in upper case may mean, the likeliest first."""
    tokens = tuple(text.split())
    found = [reading for layout in _layouts(tokens, aws) for reading in _readings(layout)]
    return [*dict.fromkeys(found)]


# The order of the fields --------------------------------------------------------------------------


def _layouts(tokens: tuple[str, ...], aws: bool) -> Iterator[Layout]:
    asks = "?" in " ".join(tokens)
    if len(tokens) == 5:
        tokens = tuple("*" if n == 3 and text == "?" else text for n, text in enumerate(tokens))
        yield from _numberings(Layout("0", tokens, named=asks), either=asks)
        return
    years = tokens[6] if len(tokens) == 7 else "*"
    first = Layout(tokens[0], tokens[1:6], years)
    last = Layout(tokens[5], tokens[:5], years, "last")
    year = Layout("0", tokens[:5], tokens[5], "year")
    is_year = len(tokens) == 6 and _is_year(year) and any(_readings(year))
    is_first = not (aws and is_year) and any(_readings(first))
    if is_first:
        yield from _numberings(first, either=True)
    if is_year and (not is_first or _is_odd_unless_year(first)):
        yield from _numberings(year, quartz=asks, either=aws)
    if _is_second(last) and not (aws and is_year) and (not is_first or _is_odd_unless_last(first)):
        yield last


def _numberings(layout: Layout, *, either: bool = False, quartz: bool = False) -> Iterator[Layout]:
    """The ways to count weekdays from 1 on: ours, that of Quartz, or `either` where the text does
    not tell them apart. Quartz has no 0, so one among the numbers is no doubt."""
    numbers = [int(number) for number in WEEKDAY_NUMBER.findall(layout.five[4])]
    is_in_doubt = bool(numbers) and 0 not in numbers and max(numbers) <= 7
    if not (is_in_doubt and quartz):
        yield layout
    if layout.five[4] == "L" or (is_in_doubt and (either or quartz)):
        yield layout._replace(quartz=True)


def _is_year(layout: Layout) -> bool:
    return layout.years == "*" or _years(layout.years) is not None


def _is_second(layout: Layout) -> bool:
    """Whether the last of six fields can be seconds: several a minute make sense each minute."""
    return layout.second not in _ANY and (layout.second.isdigit() or layout.five[0].startswith("*"))


def _is_odd_unless_last(first: Layout) -> bool:
    """Whether seconds first, as the fields are read, is odd enough to ask for the other order.

    A last field of 0 is the second of most who write it last. Else “at minute 9 of every hour, on
    some days” and “each few seconds, on one weekday” are what a daily job looks like, misread.
    """
    minute, hour, _day, _month, weekday = first.five
    if weekday.isdigit() and int(weekday) == 0:
        return True
    if first.second.startswith("*"):
        return not weekday.startswith("*") or minute == hour == "*"
    return hour.startswith("*") and not minute.startswith("*") and weekday not in _ANY


def _is_odd_unless_year(first: Layout) -> bool:
    """The same for a year field of `*` at the end."""
    minute, hour, day, month, _weekday = first.five
    if first.second.isdigit() and int(first.second):
        return True
    restricted = any(text not in _ANY for text in (day, month))
    return hour.startswith("*") and not minute.startswith("*") and restricted


def _years(text: str) -> tuple[int, int] | None:
    match = _YEARS.fullmatch(text)
    if not match:
        return None
    first, last = int(match[1]), int(match[2] or match[1])
    return (first, last) if first <= last else None


# Our text -----------------------------------------------------------------------------------------


def _readings(layout: Layout) -> list[Reading]:
    years = _years(layout.years)
    if years is None and layout.years != "*":
        return []
    seconds = [""] if layout.second in {"0", "00"} else field(SECOND, layout.second)
    fields = [
        field(part, text, layout.quartz, layout.named)
        for part, text in zip(FIVE, layout.five, strict=True)
    ]
    texts = islice(product(seconds, *fields), _MOST)
    return [Reading(" ".join(filter(None, text)), years, layout.order) for text in texts]
