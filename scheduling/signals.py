"""The seam upwards: a schedule was created, edited, paused, resumed or deleted, or all of them
may run again."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.dispatch import Signal

if TYPE_CHECKING:
    from scheduling.models import ScheduledTask


@dataclass(frozen=True)
class Change:
    """What happened to one scheduled task. `old` is None at creation, `new` None at deletion.

    Both are rows as they stand in the database, read under the row lock that the sender holds.
    """

    old: "ScheduledTask | None"
    new: "ScheduledTask | None"
    now: datetime


#: Sent as `send(sender=ScheduledTask, change=Change(...))`, inside the transaction of the change,
#: with the ScheduledTask row locked. An exception of a receiver undoes the change.
schedule_changed = Signal()

#: Sent as `send_robust(sender=Stop)` after the commit that ended a pause of everything.
everything_resumed = Signal()
