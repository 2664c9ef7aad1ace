"""What a refused or doubtful expression most likely meant, computed.

Every suggestion is read again by `read` before it is made, so it is never refused itself. Two that
mean the same are one. Where a text has several likely readings all are told, for a person to
choose: the one that `Cron` has of it, if it has one, is among them.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice

from scheduling.schedules.advice import Suggestion
from scheduling.schedules.cron_meaning import meaning, meaning_of, with_both_days
from scheduling.schedules.cron_parts import ALIASES, WEEKDAY
from scheduling.schedules.cron_text import Fields, read
from scheduling.schedules.dialects import WEEKDAY_NUMBER, Reading, readings
from scheduling.schedules.errors import ScheduleError, ScheduleWarning, shortened
from scheduling.schedules.pasted import LONGEST, Pasted, unwrapped
from scheduling.schedules.plain_text import plain
from scheduling.schedules.shorthands import WORDS, interval_of

#: The most readings of one text.
_MOST = 6
_STARS_FOR_BOTH = {"*/31", "*/7"}
_BEYOND = re.compile(r"(?:(?P<minute>\d+) )?\*/(?P<step>\d+)(?P<stars>(?: \*)+)")


# Refused ------------------------------------------------------------------------------------------


def advised(error: ScheduleError, text: object) -> ScheduleError:
    """The refusal of `text`, named for what was pasted with it, and with what it probably meant."""
    if not isinstance(text, str) or len(text) > LONGEST:
        return error
    if seconds := interval_of(plain(text)):
        code = error.code if error.code == "every" else "rate"
        return _named(error, code, text).advised([Suggestion(interval_seconds=seconds)])
    pasted = unwrapped(text)
    suggestions = list(islice(_distinct(_of_pasted(pasted)), _MOST))
    if code := pasted.found or (_code_of(pasted) if suggestions else ""):
        error = _named(error, code, pasted.echo or text)
    return error.advised(suggestions) if suggestions else error


def _code_of(pasted: Pasted) -> str:
    """What to say of the text, where its fields are in the order of another cron."""
    text = pasted.texts[0]
    if text in WORDS:
        return "" if text.startswith("@") else "systemd"
    orders = {one.order for one in _readings_of(text, pasted.aws)}
    return {"year": "year_last", "last": "seconds_last"}.get("".join(orders), "")


def _named(error: ScheduleError, code: str, text: str) -> ScheduleError:
    return ScheduleError(code, error.field, text=shortened(text.strip()))


def _of_pasted(pasted: Pasted) -> Iterator[Suggestion]:
    if pasted.zone is None:  # the times are those of an unknown zone
        return
    for text in pasted.texts:
        for reading in _readings_of(text, pasted.aws):
            if meaning_of(reading.expression) is None:
                continue
            yield Suggestion(reading.expression, pasted.zone, years=reading.years)
            both = _both_days(reading.expression)
            if both is not None:
                yield Suggestion(both, pasted.zone, years=reading.years)


def _readings_of(text: str, aws: bool) -> list[Reading]:
    if text in WORDS:
        return [Reading(expression) for expression in WORDS[text]]
    return [Reading(ALIASES[text])] if text in ALIASES else readings(text, aws)


def _both_days(expression: str) -> str | None:
    """How both day fields must match, where one of two is enough; None where that is no question
    or cannot be said."""
    return None if read(expression).both_days else with_both_days(expression)


def _distinct(suggestions: Iterable[Suggestion]) -> Iterator[Suggestion]:
    """Of suggestions that mean the same the first."""
    seen = set()
    for suggestion in suggestions:
        key = (meaning_of(suggestion.expression), suggestion.timezone, suggestion.years)
        if key not in seen:
            seen.add(key)
            yield suggestion


# Accepted, but in doubt ---------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def doubts(expression: str) -> tuple[ScheduleWarning, ...]:
    """What is probably not meant in an expression that is accepted."""
    fields, text = read(expression), " ".join(expression.split())
    warnings = [*_beyond_range(fields, text)]
    if not text.startswith("@"):
        # One question at a time: which days a text means is asked once its fields are certain.
        warnings += [*_of_other_crons(text.upper())] or [*_either_day(fields, text)]
    return tuple(warnings)


def _beyond_range(fields: Fields, text: str) -> Iterator[ScheduleWarning]:
    for warning in fields.warnings:
        # `*/31,2-7 * SAT`: with the star both day fields must match, which is why it was written
        if not (warning.params["text"] in _STARS_FOR_BOTH and _are_both_restricted(fields)):
            yield warning.advised(_steps_meant(text))


def _are_both_restricted(fields: Fields) -> bool:
    return fields.both_days and len(fields.days) < 31 and len(fields.weekdays) < 7


def _steps_meant(text: str) -> list[Suggestion]:
    """Every 90 minutes, from `*/90 * * * *`; nothing where other fields say more."""
    match = _BEYOND.fullmatch(text)
    stars = match["stars"].count("*") if match else 0
    if not match or stars + bool(match["minute"]) != 4 + (stars == 5):
        return []
    unit = {5: 1, 4: 60, 3: 3600}[stars]
    seconds = int(match["step"]) * unit
    minute, hours = match["minute"] or "0", seconds // 3600
    if seconds == 60:
        return [Suggestion("* * * * *")]
    if seconds in {3600, 86_400} or (seconds % 3600 == 0 and hours < 24 and 24 % hours == 0):
        hour = {1: "*", 24: "0"}.get(hours, f"*/{hours}")
        return [Suggestion(f"{minute} {hour} * * *")]
    return [Suggestion(interval_seconds=seconds)] if seconds <= 3650 * 86_400 else []


def _of_other_crons(text: str) -> Iterator[ScheduleWarning]:
    """What the text means where seconds or years are last, or weekdays count from 1 = Sunday."""
    others = [one for one in readings(text) if meaning_of(one.expression) is not None]
    suggestions = [*_distinct(Suggestion(one.expression, years=one.years) for one in others)]
    if len(suggestions) < 2:
        return
    if len({one.order for one in others}) > 1:
        yield ScheduleWarning("field_order").advised(suggestions)
    else:
        yield _quartz_weekday(text.split()[-1]).advised(suggestions)


def _quartz_weekday(text: str) -> ScheduleWarning:
    names, number = WEEKDAY.names, int(WEEKDAY_NUMBER.findall(text)[0])
    details = {
        "part": WEEKDAY.name,
        "number": number,
        "here": names[number % 7],
        "quartz": names[number - 1],
        "instead": shortened(WEEKDAY_NUMBER.sub(lambda found: names[int(found[0]) % 7], text)),
    }
    return ScheduleWarning("quartz_weekday", **details)


def _either_day(fields: Fields, text: str) -> Iterator[ScheduleWarning]:
    if fields.both_days:
        return
    both = with_both_days(text)
    if both is None:
        yield ScheduleWarning("either_day_only")
    elif meaning_of(both) != meaning(fields):
        yield ScheduleWarning("either_day").advised([Suggestion(text), Suggestion(both)])
