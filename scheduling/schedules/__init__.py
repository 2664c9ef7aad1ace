"""The rules of schedules: frozen values without Django, database and clock."""

from scheduling.schedules.cron import Cron
from scheduling.schedules.errors import ScheduleError, ScheduleWarning
from scheduling.schedules.values import (
    Interval,
    OneTime,
    Schedule,
    Span,
    missed,
    newest,
    slots_between,
)
from scheduling.schedules.zones import utc_of_local

__all__ = [
    "Cron",
    "Interval",
    "OneTime",
    "Schedule",
    "ScheduleError",
    "ScheduleWarning",
    "Span",
    "missed",
    "newest",
    "slots_between",
    "utc_of_local",
]
