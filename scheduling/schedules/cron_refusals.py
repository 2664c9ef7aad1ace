"""Why the text of a cron field is refused: the first reason that fits is the one to tell."""

import re
from typing import NoReturn

from scheduling.schedules.cron_parts import FIELD, Part
from scheduling.schedules.errors import ScheduleError, shortened

# Forms of other crons, the likeliest first, each with the code of what to say about it.
_REFUSED_FORMS = {
    "question_mark": re.compile(r".*\?.*"),
    "nth_misplaced": re.compile(r".*#.*"),
    "hashed": re.compile(r"[HR](?![A-Z]).*"),
    "nearest_weekday": re.compile(r"(L|[0-9]+)W"),
    "last_misplaced": re.compile(r"L([-+/0-9].*)?|([0-9]+|[A-Z]{3})L.*"),
}


def wrong(code: str, part: Part, text: str, **params: object) -> ScheduleError:
    """The error about `text` in one field."""
    return ScheduleError(code, FIELD, part=part.name, text=shortened(text), **params)


def refuse(part: Part, item: str) -> NoReturn:
    """Say why an item is no value."""
    if any(
        len(word) > 3 and word.isalpha() and part.short_name(word)
        for word in re.split(r"[-/#]", item)
    ):
        raise wrong("full_name", part, item)
    for code, unwanted in _REFUSED_FORMS.items():
        if unwanted.fullmatch(item):
            raise wrong(code, part, item)
    example = part.names[1] if part.names else str(part.high)
    raise wrong("not_understood", part, item, example=example)
