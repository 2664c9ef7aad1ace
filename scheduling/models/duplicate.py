"""Copies of scheduled tasks: the same in all that people set, under another name, and paused."""

from copy import deepcopy

from django.utils.translation import gettext as _

from scheduling.models import spoilt_rows
from scheduling.models.scheduled_task import ScheduledTask
from scheduling.validation import DECIDING, OTHERS

#: What a copy does not take over: its name, and what is about slots of the original.
_OWN = {"name", "enabled", "paused_until", "skip_slots"}
_LONGEST: int = ScheduledTask._meta.get_field("name").max_length or 0


def duplicate(task: ScheduledTask) -> ScheduledTask:
    """A saved copy of the task, paused until somebody has looked at it.

    `ScheduledTask.clean()` says what is wrong with it; `ScheduleError` if a column of the task
    cannot be read.
    """
    spoilt_rows.check_readable(task)
    columns = {*DECIDING, *OTHERS} - _OWN
    copy = ScheduledTask(**{name: deepcopy(getattr(task, name)) for name in columns})
    copy.name, copy.enabled = name_of_copy(task.name), False
    copy.state_reason_params = {"copy_of": task.name}
    copy.save(force_insert=True)
    return copy


def name_of_copy(name: str) -> str:
    """`report (copy)`, or the first of `report (copy 2)`, … that no scheduled task has."""
    number = 1
    while True:
        tail = _(" (copy)") if number == 1 else _(" (copy %(n)d)") % {"n": number}
        candidate = name[: _LONGEST - len(tail)] + tail
        if not ScheduledTask.objects.filter(name_key=candidate.lower()).exists():
            return candidate
        number += 1
