"""What is wrong with a schedule, said in one place.

Every message is a template with named placeholders, so that a Django layer can translate it by
`gettext(error.message_template) % error.params`. Templates of cron errors begin with `%(part)s`,
the English name of the cron field at fault (`minute`, `day of month` …).
"""

from collections.abc import Callable, Sequence
from typing import Any

from scheduling.schedules.advice import MESSAGE_LENGTH, Suggestion, offer


def _(template: str) -> str:
    """Marks a template for translation; this layer knows no Django, and translates nothing."""
    return template


# Echoed text is cut to this many characters; with the longest template a message stays below 300.
ECHO_LENGTH = 60

MESSAGES = {
    # the kind
    "unknown_kind": _("“%(text)s” is not a kind of schedule. Use one_time, interval or cron."),
    # the cron text as a whole
    "not_text": _("Write the cron expression as text, for example “0 9 * * MON-FRI”."),
    "empty": _("The cron expression is empty. Write five fields, for example “0 9 * * MON-FRI”."),
    "too_long": _(
        "The cron expression has %(length)s characters; at most %(limit)s are allowed. "
        "Use ranges and steps, or several schedules.%(advice)s"
    ),
    "line_break": _("The cron expression contains a line break. Write it on one line.%(advice)s"),
    "not_ascii": _(
        "The cron expression contains the character “%(text)s”. Use only plain letters, "
        "digits, spaces and * ? , - / # @.%(advice)s"
    ),
    "reboot": _("“@reboot” is not a time. Use a five-field expression or one of %(aliases)s."),
    "every": _(
        "“@every” is not supported in a cron expression. "
        "Use an interval schedule instead.%(advice)s"
    ),
    "unknown_alias": _("“%(text)s” is not a known alias. Use one of %(aliases)s.%(advice)s"),
    "too_few_fields": _(
        "The cron expression has too few fields: %(count)s. Write five (minute, "
        "hour, day of month, month, day of week), or six with the seconds first.%(advice)s"
    ),
    "year_field": _(
        "The cron expression has too many fields: %(count)s. A year field is not "
        "supported: write five fields, or six with the seconds first, and an end date.%(advice)s"
    ),
    # what was pasted with it
    "zone_inside": _(
        "The cron expression names the time zone “%(text)s”. A zone goes into the field "
        "timezone.%(advice)s"
    ),
    "command": _(
        "“%(text)s” after the cron expression is a command. Give only its fields; what runs is "
        "said in the field task.%(advice)s"
    ),
    "comment": _(
        "“%(text)s” after the cron expression is a comment. It goes into the field "
        "description.%(advice)s"
    ),
    "wrapped": _("The cron expression is wrapped in “%(text)s”. Write only its fields.%(advice)s"),
    "space_in_field": _("There is a space inside of a field of the cron expression.%(advice)s"),
    "year_last": _(
        "The last field of the cron expression is a year, as AWS and Quartz write it. That is not "
        "supported: use “starts at” and “ends at”.%(advice)s"
    ),
    "seconds_last": _(
        "The seconds are the last field of the cron expression, as croniter writes them. Here "
        "they come first.%(advice)s"
    ),
    "rate": _("“%(text)s” is a rate, not a cron expression. Use an interval schedule.%(advice)s"),
    "systemd": _("“%(text)s” is a word of systemd. Write five fields.%(advice)s"),
    "never_comes": _(
        "day of month: no year has a day that matches “%(text)s”. "
        "Choose a day of month, month and day of week that meet."
    ),
    # one of its fields
    "empty_item": _("%(part)s: there is an empty item in “%(text)s”.%(advice)s"),
    "out_of_range": _(
        "%(part)s: %(text)s is out of range. Write a value from %(low)s to %(high)s.%(advice)s"
    ),
    "reversed_range": _("%(part)s: the range “%(text)s” runs backwards.%(advice)s"),
    "zero_step": _("%(part)s: the step in “%(text)s” is zero. Write a step of 1 or more."),
    "step_needs_range": _(
        "%(part)s: “%(text)s” has a step but no range. Write a range before the slash.%(advice)s"
    ),
    "full_name": _(
        "%(part)s: “%(text)s” has a name in full. Write three letters of each name.%(advice)s"
    ),
    "hashed": _(
        "%(part)s: “%(text)s” asks for a hashed or random value (H, R), which is not "
        "supported. Write a number, and use jitter to spread the load."
    ),
    "nearest_weekday": _(
        "%(part)s: “%(text)s” asks for the nearest weekday (W), which is not "
        "supported. Write a day of month, or a day of week such as MON-FRI."
    ),
    "question_mark": _(
        "%(part)s: “?” must stand alone, and only in the day of month or the day of "
        "week, not in “%(text)s”.%(advice)s"
    ),
    "last_misplaced": _(
        "%(part)s: “%(text)s” is not a use of L that is understood. Write L alone as "
        "day of month, or a day of week followed by L, such as 5L for the last Friday.%(advice)s"
    ),
    "nth_misplaced": _(
        "%(part)s: “%(text)s” is not a use of # that is understood. Write it as day "
        "of week only, such as MON#1 for the first Monday; the number after # is 1 to 5.%(advice)s"
    ),
    "not_understood": _(
        "%(part)s: “%(text)s” is not understood. "
        "Write a value such as %(example)s, a range, a list, or *.%(advice)s"
    ),
    # zones
    "unknown_timezone": _(
        "“%(text)s” is not a known time zone. Write a name as the IANA database "
        "lists it, such as Europe/Berlin or UTC.%(advice)s"
    ),
    "timezone_case": _("“%(text)s” is not a known time zone.%(advice)s"),
    "skipped_local_time": _(
        "%(text)s does not exist in %(timezone)s: the clock skips it. The "
        "nearest valid times are %(before)s and %(after)s."
    ),
    # moments and intervals
    "not_a_moment": _("Give a date and time (a datetime), not %(text)s."),
    "naive_moment": _("The time %(text)s has no time zone. Give a date and time with its zone."),
    "moment_out_of_range": _(
        "The time %(text)s is too near the end of the calendar. Use a year between 2 and 9998."
    ),
    "not_a_duration": _("Give the interval as a duration (a timedelta), not %(text)s."),
    "fraction_of_second": _("The interval %(text)s has a fraction of a second. Use whole seconds."),
    "interval_too_short": _("The interval is shorter than one second. Use 1 second or more."),
    "interval_too_long": _(
        "The interval is longer than 10 years (%(limit)s days). Use a shorter "
        "one, or a cron expression."
    ),
    # columns that raw SQL has spoilt
    "unreadable": _("The stored value of %(column)s cannot be read. Write a valid one."),
    "unknown_choice": _("“%(text)s” is not a %(column)s. Use one of %(choices)s."),
    "wrong_shape": _("The stored %(column)s is not a JSON %(shape)s. Write one."),
    "not_a_number": _("The stored %(column)s “%(text)s” is not a whole number. Write one."),
    "no_task": _("The row names no task. Choose one."),
    # warnings: accepted, but probably not meant
    "step_beyond_range": _(
        "%(part)s: the step in “%(text)s” is longer than the range, so only %(value)s "
        "matches.%(advice)s"
    ),
    "quartz_weekday": _(
        "%(part)s: %(number)s is %(here)s here, but %(quartz)s in Quartz and AWS, which "
        "count from 1 = SUN. Write names to be sure.%(advice)s"
    ),
    "field_order": _(
        "Six fields are read with the seconds first. This may have been written with the seconds "
        "or the year last.%(advice)s"
    ),
    "either_day": _(
        "day of month and day of week: it runs on each day that matches one of the two, not only "
        "on days that match both.%(advice)s"
    ),
    "either_day_only": _(
        "day of month and day of week: it runs on each day that matches one of the two. “Only on "
        "days that match both” cannot be said in one expression here."
    ),
}


def shortened(value: object) -> str:
    """User text as it may be shown in a message: printable, at most `ECHO_LENGTH` characters."""
    text = value if isinstance(value, str) else repr(value)
    cut = text if len(text) <= ECHO_LENGTH else text[: ECHO_LENGTH - 1] + "…"
    return "".join(character if character.isprintable() else "�" for character in cut)


def _template(code: str, params: dict[str, Any]) -> str:
    """The message of a code. Where it has room for advice, `params` get at least none."""
    if "%(advice)s" in MESSAGES[code]:
        params.setdefault("advice", "")
    return MESSAGES[code]


def with_advice(
    problem: "ScheduleError | ScheduleWarning",
    suggestions: Sequence[Suggestion],
    translated: Callable[[str], str] = str,
) -> dict[str, Any]:
    """The params of a problem with `suggestions`, and the sentence that offers them if it fits."""
    bare = problem.params | {"advice": ""}
    room = MESSAGE_LENGTH - len(translated(problem.message_template) % bare)
    offered = offer(suggestions, room, translated)
    return bare | {"suggestions": tuple(suggestions), "advice": offered}


class ScheduleError(ValueError):
    """A schedule that cannot be: `code` (stable), `field` (of ScheduledTask) and `params`.

    `str(error)` is the English message, at most 300 characters.
    """

    def __init__(self, code: str, field: str, **params: Any) -> None:
        self.code = code
        self.field = field
        self.params = params
        self.message_template = _template(code, params)
        super().__init__(self.message_template % params)

    @property
    def suggestions(self) -> tuple[Suggestion, ...]:
        """What was probably meant; the likeliest first."""
        found: tuple[Suggestion, ...] = self.params.get("suggestions", ())
        return found

    def advised(self, suggestions: Sequence[Suggestion]) -> "ScheduleError":
        """The same error, with what was probably meant."""
        return ScheduleError(self.code, self.field, **with_advice(self, suggestions))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by parts: the default would call the class with the finished message only."""
        return (_rebuilt, (self.code, self.field, self.params))


def _rebuilt(code: str, field: str, params: dict[str, Any]) -> ScheduleError:
    return ScheduleError(code, field, **params)


class ScheduleWarning(UserWarning):
    """An accepted schedule that is probably not what was meant; same shape as the error."""

    def __init__(self, code: str, **params: Any) -> None:
        self.code = code
        self.params = params
        self.message_template = _template(code, params)
        super().__init__(self.message_template % params)

    @property
    def suggestions(self) -> tuple[Suggestion, ...]:
        """What was probably meant; the likeliest first."""
        found: tuple[Suggestion, ...] = self.params.get("suggestions", ())
        return found

    def advised(self, suggestions: Sequence[Suggestion]) -> "ScheduleWarning":
        """The same warning, with what was probably meant."""
        return ScheduleWarning(self.code, **with_advice(self, suggestions))
