"""What is suggested for a rule that is refused or in doubt, told with its next three runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.utils.translation import gettext as _

from scheduling.schedules import Cron, Interval, ScheduleError
from scheduling.schedules.advice import Suggestion
from scheduling.schedules.zones import NAMES, utc_of_local, zone
from scheduling.words.cron_words import cron_words
from scheduling.words.wording import exact_duration_text

_RUNS = 3


@dataclass(frozen=True)
class Suggested:
    """What to put into the fields of a scheduled task, what that means, and when it would run.

    `expression` is "" and `interval_seconds` a number where the kind interval is meant.
    `starts_at` and `ends_at` are given where the text named years.
    """

    kind: str
    expression: str
    interval_seconds: int | None
    timezone: str
    starts_at: datetime | None
    ends_at: datetime | None
    meaning: str
    next_runs: list[datetime] = field(default_factory=list)


def suggested(
    suggestions: Sequence[Suggestion], expression: str, timezone: str, now: datetime
) -> list[Suggested]:
    """Each suggestion told for a rule that has this expression and zone."""
    offers = (_suggested(suggestion, expression, timezone, now) for suggestion in suggestions)
    return [offer for offer in offers if offer is not None]


def zone_suggestions(timezone: str, expression: str, now: datetime) -> list[Suggested]:
    """The zones that a name which is none may mean."""
    try:
        zone(timezone)
    except ScheduleError as error:
        return suggested(error.suggestions, expression, timezone, now)
    return []


def cron_suggestions(expression: str, timezone: str, now: datetime) -> list[Suggested]:
    """What a cron expression that is refused or in doubt probably meant. Where the zone is none, in
    the zone that it means, if there is one."""
    timezone = _zone_of(timezone)
    try:
        warnings = Cron(expression, timezone).warnings
        suggestions = [suggestion for warning in warnings for suggestion in warning.suggestions]
    except ScheduleError as error:
        suggestions = [*error.suggestions]
    return suggested(suggestions, expression, timezone, now)


def _zone_of(timezone: str) -> str:
    if timezone in NAMES:
        return timezone
    try:
        zone(timezone)
    except ScheduleError as error:
        meant = {one.timezone for one in error.suggestions if one.timezone}
        return meant.pop() if len(meant) == 1 else "UTC"
    return timezone


def _suggested(
    suggestion: Suggestion, expression: str, timezone: str, now: datetime
) -> Suggested | None:
    place = suggestion.timezone or timezone
    if suggestion.interval_seconds is not None:
        return _interval(suggestion.interval_seconds, place, now)
    text = suggestion.expression or expression
    try:
        starts, ends = _years(suggestion.years, place)
        since = now if starts is None else max(now, starts - timedelta.resolution)
        runs = _next_runs(Cron(text, place), since, ends)
    except ScheduleError:  # of a zone alone the expression may be wrong as well
        return _zone_alone(place) if suggestion.timezone and not suggestion.expression else None
    meaning = cron_words(text) or _("as the next runs show")
    return Suggested("cron", text, None, place, starts, ends, f"{meaning} ({place})", runs)


def _zone_alone(zone: str) -> Suggested:
    return Suggested("cron", "", None, zone, None, None, zone)


def _interval(seconds: int, zone: str, now: datetime) -> Suggested:
    meaning = _("every %(time)s") % {"time": exact_duration_text(seconds)}
    runs = _next_runs(Interval(timedelta(seconds=seconds), now), now, None)
    return Suggested("interval", "", seconds, zone, None, None, meaning, runs)


def _years(years: tuple[int, int] | None, zone: str) -> tuple[datetime | None, datetime | None]:
    """The first and the last second of the years, on the clock of the zone."""
    if years is None:
        return None, None
    first, last = datetime(years[0], 1, 1), datetime(years[1], 12, 31, 23, 59, 59)  # noqa: DTZ001
    return utc_of_local(first, zone), utc_of_local(last, zone)


def _next_runs(schedule: Cron | Interval, now: datetime, ends: datetime | None) -> list[datetime]:
    runs: list[datetime] = []
    slot = schedule.next_after(now)
    while slot is not None and len(runs) < _RUNS and (ends is None or slot <= ends):
        runs.append(slot)
        slot = schedule.next_after(slot)
    return runs
