"""A cron expression in words, where they are exactly right: `cron_words("0 9 * * MON-FRI")`.

The one source of such words for form, lists and messages, in the reader's language. They are made
of the parsed values and never of the text, so that two expressions with the same words mean the
same times; for what has no short and true name there are none. Words of libraries
(cronstrue and cron-descriptor were measured) are made of the text: “every 90 minutes” for `*/90`,
which is hourly, “every 25 minutes” for 0, 25 and 50, and “on day 13 and on Friday” for days that
are either. cronstrue also runs in a browser only, and lists and mails need words too.
"""

from collections.abc import Collection, Sequence
from itertools import product

from django.utils.dates import MONTHS, WEEKDAYS
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext

from scheduling.schedules.cron_text import Fields, read

#: The most times of day, weekdays or days of the month that are listed one by one.
_LISTED = 6

_NTHS = {
    1: gettext_lazy("the first %(weekday)s of the month"),
    2: gettext_lazy("the second %(weekday)s of the month"),
    3: gettext_lazy("the third %(weekday)s of the month"),
    4: gettext_lazy("the fourth %(weekday)s of the month"),
    5: gettext_lazy("the fifth %(weekday)s of the month"),
}


def cron_words(expression: str) -> str:
    """`Monday to Friday at 09:00`, or "" where no words would be right.

    ScheduleError if it is no cron expression. The words are about the clock of the job's zone.
    """
    fields = read(expression)
    days, times, pace, months = _days(fields), _times(fields), _pace(fields), _months(fields)
    if days is None or months is None or not (times or pace):
        return ""
    if times:
        words = _("%(days)s at %(times)s") % {"days": days or _("every day"), "times": times}
    elif days:
        words = _("%(pace)s, %(days)s") % {"pace": pace, "days": days}
    else:
        words = pace
    return _("%(words)s, in %(months)s") % {"words": words, "months": months} if months else words


# Times of day -------------------------------------------------------------------------------------


def _times(fields: Fields) -> str:
    """A few times of day, one by one; "" where they are too many."""
    every = [*product(fields.hours[: _LISTED + 1], fields.minutes, fields.seconds)]
    if len(every) > _LISTED or len(fields.hours) == 24:
        return ""
    return joined([_clock(*time) for time in every])


def _clock(hour: int, minute: int, second: int = 0) -> str:
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def _pace(fields: Fields) -> str:
    """A steady pace through the day or through some hours; "" where there is none."""
    if fields.seconds != (0,):
        return _pace_of_seconds(fields)
    if len(fields.hours) == 24:
        return _pace_of_minutes(fields.minutes)
    if _is_run(fields.hours):
        return _pace_within(fields)
    return _pace_of_hours(fields)


def _pace_of_seconds(fields: Fields) -> str:
    if len(fields.hours) < 24 or len(fields.minutes) < 60:
        return ""
    if step := _step(fields.seconds, 60):
        return ngettext("every second", "every %(n)d seconds", step) % {"n": step}
    if len(fields.seconds) == 1:
        return _("every minute at second %(second)d") % {"second": fields.seconds[0]}
    return ""


def _pace_of_minutes(minutes: Sequence[int]) -> str:
    if minutes == (0,):
        return _("every hour")
    if step := _step(minutes, 60):
        return ngettext("every minute", "every %(n)d minutes", step) % {"n": step}
    if len(minutes) > _LISTED:
        return ""
    marks = joined([_(":%(minute)02d") % {"minute": minute} for minute in minutes])
    return _("every hour at %(minutes)s") % {"minutes": marks}


def _pace_within(fields: Fields) -> str:
    """Steady in a run of hours: `every 10 minutes from 09:00 to 17:50`."""
    minutes = fields.minutes
    first, last = _clock(fields.hours[0], minutes[0]), _clock(fields.hours[-1], minutes[-1])
    if len(minutes) == 1:
        pace = _("every hour")
    elif _step(minutes, 60):
        pace = _pace_of_minutes(minutes)
    else:
        return ""
    return _("%(pace)s from %(first)s to %(last)s") % {"pace": pace, "first": first, "last": last}


def _pace_of_hours(fields: Fields) -> str:
    """Every so many hours through the whole day, such as 0, 2, 4 … 22."""
    step = _step(fields.hours, 24)
    if not step or len(fields.minutes) != 1:
        return ""
    first = _clock(0, fields.minutes[0])
    text = ngettext("every hour from %(first)s", "every %(n)d hours from %(first)s", step)
    return text % {"n": step, "first": first}


def _step(values: Sequence[int], size: int) -> int:
    """The n of 0, n, 2n … where it fills the cycle evenly, also across its end; else 0."""
    if size % len(values) or len(values) < 2:
        return 0
    step = size // len(values)
    return step if tuple(values) == tuple(range(0, size, step)) else 0


# Days ---------------------------------------------------------------------------------------------


def _days(fields: Fields) -> str | None:
    """The days in words, "" for every day, None where there are no words."""
    any_day, any_weekday = len(fields.days) == 31, len(fields.weekdays) == 7
    of_month, of_week = _days_of_month(fields), _days_of_week(fields)
    if fields.both_days:
        if any_day or any_weekday:
            return "" if any_day and any_weekday else of_week if any_day else of_month
        return None  # “the Mondays among the odd days” is no shorter than the table of runs
    if any_day or any_weekday:
        return ""
    if of_month is None or of_week is None:
        return None
    return joined([of_month, of_week])


def _days_of_month(fields: Fields) -> str | None:
    days = sorted(fields.days)
    last = [_("the last day of the month")] if fields.last_day else []
    if len(days) > 2 and _is_run(days):
        texts = {"first": days[0], "last": days[-1]}
        return joined([_("days %(first)d to %(last)d of the month") % texts, *last])
    if len(days) > _LISTED:
        return None
    if not days:
        return joined(last)
    numbers = joined([str(day) for day in days])
    text = ngettext("day %(days)s of the month", "days %(days)s of the month", len(days))
    return joined([text % {"days": numbers}, *last])


def _days_of_week(fields: Fields) -> str | None:
    # From Monday on, as WEEKDAYS counts: cron's Sunday 0 becomes 6.
    plain = sorted((day - 1) % 7 for day in fields.weekdays)
    if len(plain) > 2 and _is_run(plain):
        texts = {"first": WEEKDAYS[plain[0]], "last": WEEKDAYS[plain[-1]]}
        parts = [_("%(first)s to %(last)s") % texts]
    else:
        parts = [_("every %(weekday)s") % {"weekday": WEEKDAYS[day]} for day in plain]
    for day, nth in sorted(fields.nths, key=lambda pair: (pair[1], pair[0])):
        parts.append(str(_NTHS[nth]) % {"weekday": WEEKDAYS[(day - 1) % 7]})
    for day in sorted(fields.last_weekdays):
        texts = {"weekday": WEEKDAYS[(day - 1) % 7]}
        parts.append(_("the last %(weekday)s of the month") % texts)
    return joined(parts) if len(parts) <= _LISTED else None


def _months(fields: Fields) -> str | None:
    """The months in words, "" for all of them, None where there are no words."""
    months = sorted(fields.months)
    if len(months) == 12:
        return ""
    if len(months) > 2 and _is_run(months):
        texts = {"first": MONTHS[months[0]], "last": MONTHS[months[-1]]}
        return _("%(first)s to %(last)s") % texts
    return joined([str(MONTHS[month]) for month in months]) if len(months) <= _LISTED else None


# Lists --------------------------------------------------------------------------------------------


def _is_run(values: Collection[int]) -> bool:
    """Whether the values follow one another without a hole."""
    return max(values) - min(values) + 1 == len(values)


def joined(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    most = pgettext("between the items of a list", ", ").join(items[:-1])
    return _("%(most)s and %(last)s") % {"most": most, "last": items[-1]}
