"""Times between that somebody watches, in words: whole seconds."""

from datetime import datetime, timedelta

from django.utils.translation import gettext as _

from scheduling.words import duration_text

SECOND = timedelta(seconds=1)


def ago(moment: datetime | None, now: datetime) -> str:
    return "" if moment is None else _("%(time)s ago") % {"time": between(now, moment)}


def soon(moment: datetime, now: datetime) -> str:
    return _("in %(time)s") % {"time": between(moment, now)} if moment - now >= SECOND else _("now")


def between(later: datetime, earlier: datetime) -> str:
    return duration_text((later - earlier) // SECOND * SECOND)
