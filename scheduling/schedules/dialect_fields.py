"""One field as other crons write it, in our text: `field(WEEKDAY, "MONDAY-FRIDAY")`.

Names in full, ranges that run backwards (they go round the end), weekdays from 1 = Sunday.
"""

import re
from collections.abc import Sequence
from itertools import islice, product

from scheduling.schedules.cron_parts import DAY, WEEKDAY, Part

_NTH = re.compile(r"([0-7]|[A-Z]{3,10})#([1-5])")
_LAST = re.compile(r"([0-7]|[A-Z]{3,9}?)L")
_LAST_OF_CRONITER = re.compile(r"L([0-7])")
#: The most readings of one field.
_MOST = 4


def field(part: Part, text: str, quartz: bool = False, named: bool = False) -> list[str]:
    """The field in each of its likely readings; none where it has none.

    `quartz`: weekdays count from 1 = Sunday. `named`: write weekdays by name.
    """
    if text == "?":
        return ["*"] if part in (DAY, WEEKDAY) else []
    if part is WEEKDAY and quartz and text == "L":
        return ["SAT"]
    items = (_item(part, item, quartz, named) for item in text.split(","))
    return [",".join(joined) for joined in islice(product(*items), _MOST)]


def _item(part: Part, item: str, quartz: bool, named: bool) -> list[str]:
    base, slash, step = item.partition("/")
    if slash and not (step.isdigit() and int(step)):
        return []
    if base == "*" or (base == "?" and slash and part in (DAY, WEEKDAY)):
        return [f"*{slash}{step}"]
    if not slash and part is DAY and item == "L":
        return [item]
    named = part is WEEKDAY and (named or quartz)
    if not slash and part is WEEKDAY and (special := _special(item, quartz, named)):
        return [special]
    words = base.split("-")
    values = [_value(part, word, quartz) for word in words]
    if None in values or len(values) > 2:
        return []
    numbers = [value for value in values if value is not None]
    stride = int(step) if slash else 1
    is_backwards = len(numbers) == 2 and numbers[0] > numbers[1] > part.low
    named = named or (not is_backwards and any(map(str.isalpha, base)))
    if len(numbers) == 2:
        return [_range(part, numbers[0], numbers[1], stride, named)]
    if not slash:
        return [_text(part, numbers[0], named)]
    if part is WEEKDAY:
        return _open_steps(numbers[0], stride, quartz, named)
    return [f"{_text(part, numbers[0], named)}/{stride}"]


def _special(item: str, quartz: bool, named: bool) -> str | None:
    """`MON#1` and `FRIL`, from `2#1`, `MONDAY#1`, `6L` and the `L5` of croniter."""
    nth, last = _NTH.fullmatch(item), _LAST.fullmatch(item)
    other = None if quartz else _LAST_OF_CRONITER.fullmatch(item)
    special = nth or last or other
    if special is None or (day := _value(WEEKDAY, special[1], quartz)) is None:
        return None
    named = named or special[1].isalpha()
    return _text(WEEKDAY, day, named) + (f"#{nth[2]}" if nth else "L")


def _value(part: Part, word: str, quartz: bool = False) -> int | None:
    """The value of a number or of a name, also in full; None for anything else."""
    if name := part.short_name(word):
        return part.low + part.names.index(name)
    if not (word.isdigit() and len(word) < 4):
        return None
    value = int(word) - (quartz and part is WEEKDAY)
    return value if part.low <= value <= part.high - (quartz and part is WEEKDAY) else None


def _text(part: Part, value: int, named: bool) -> str:
    if not (named and part.names):
        return str(value)
    return part.names[value % 7 if part is WEEKDAY else value - part.low]


def _range(part: Part, first: int, last: int, step: int, named: bool) -> str:
    """`a-b` with its step, or, where that runs backwards, the two ranges it consists of."""
    if part is WEEKDAY and last == 0 < first:
        last = 7
    if first <= last and (step == 1 or first == last):
        return _run(part, first, last, named)
    if first <= last and not (part is WEEKDAY and last == 7 and named):
        return f"{_run(part, first, last, named)}/{step}"
    around = _around(part, first, last)
    if step > 1:
        return _listed(part, around[::step], named)
    if part is WEEKDAY and first == 7:
        return _run(part, 0, last, named)
    ends = ((first, 6 if part is WEEKDAY else part.high), (part.low, last))
    return ",".join(_run(part, a, b, named) for a, b in ends)


def _around(part: Part, first: int, last: int) -> list[int]:
    """The values from `first` on to `last`, round the end of the range."""
    if part is WEEKDAY:
        return [day % 7 for day in range(first, last + 1 + 7 * (last < first))]
    whole = [*range(part.low, part.high + 1)]
    return whole[first - part.low :] + whole[: last - part.low + 1]


def _run(part: Part, first: int, last: int, named: bool) -> str:
    if first == last:
        return _text(part, first, named)
    if part is WEEKDAY and named and (first, last) == (0, 7):
        last = 6
    return f"{_text(part, first, named)}-{_text(part, last, named)}"


def _listed(part: Part, values: Sequence[int], named: bool) -> str:
    return ",".join(_text(part, value, named) for value in dict.fromkeys(values))


def _open_steps(first: int, step: int, quartz: bool, named: bool) -> list[str]:
    """`a/n` of weekdays: up to Saturday, or up to the Sunday after it, where that is another day.

    Debian's cron counts to 7, many others to 6.
    """
    if first == 7:
        return []
    if first == 6:
        return [_text(WEEKDAY, first, named)]
    to_saturday = f"{_run(WEEKDAY, first, 6, named)}/{step}"
    if quartz or not first or (7 - first) % step:
        return [to_saturday]
    to_sunday = f"{_text(WEEKDAY, first, named)}-7/{step}"
    return [to_sunday, to_saturday]
