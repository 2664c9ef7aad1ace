"""Which slots of a scheduled task will run: what each preview and list of next runs shows."""

from datetime import datetime
from typing import TYPE_CHECKING

from scheduling.database import database_now
from scheduling.models import state
from scheduling.models.state import State
from scheduling.stop import Stop

if TYPE_CHECKING:
    from scheduling.models.scheduled_task import ScheduledTask


def upcoming_slots(
    row: "ScheduledTask", n: int, now: datetime | None, everything_paused: bool | None
) -> list[datetime]:
    """The next at most `n` slots (UTC) after `now` that will run, planned already or not.

    1. None where the row is not evaluated, or everything is paused.
    2. Those skipped by hand are left out.
    3. Those not planned yet end where `max_runs` does.

    What is None is asked of the database. Raises `ScheduleError` if the row has no valid rule.
    """
    if state.of(row) != State.ACTIVE or n <= 0 or _is_paused(everything_paused):
        return []
    skipped, left = set(row.skip_slots), row.slots_left()
    slots: list[datetime] = []
    slot = row.window().next_after(now or database_now())
    while slot is not None and len(slots) < n:
        if left is not None and _is_unplanned(row, slot):
            if left == 0:
                break
            left -= 1
        if slot.isoformat() not in skipped:
            slots.append(slot)
        slot = row.window().next_after(slot)
    return slots


def _is_paused(everything_paused: bool | None) -> bool:
    return Stop.objects.in_force().exists() if everything_paused is None else everything_paused


def _is_unplanned(row: "ScheduledTask", slot: datetime) -> bool:
    if row.next_run_at is not None:
        return slot >= row.next_run_at
    return row.last_run_at is None or slot > row.last_run_at
