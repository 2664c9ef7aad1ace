"""`Finding`, and how a sentence names many things."""

from collections.abc import Iterable
from dataclasses import dataclass

#: How many names one sentence lists.
SHOWN = 10


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: `code` is stable, `sentence` says what it is and what to do.

    `is_advice`: it could be better; nothing is broken, and `doctor` ends with 0.
    """

    code: str
    sentence: str
    is_advice: bool = False


def listed(names: Iterable[str]) -> str:
    """The names, the first ten and how many more: `a, b, c and 7 more`."""
    names = list(names)
    more = len(names) - SHOWN
    text = ", ".join(names[:SHOWN])
    return f"{text} and {more} more" if more > 0 else text
