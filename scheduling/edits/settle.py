"""What follows from an edit for the columns that the scheduler keeps. Pure: nothing is read or
written here, and the time is an argument."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from scheduling.schedules import ScheduleError
from scheduling.validation import columns

if TYPE_CHECKING:
    from scheduling.models import ScheduledTask

Columns = dict[str, Any]


def settle(
    old: "ScheduledTask", new: "ScheduledTask", now: datetime, by: str, params: Columns
) -> Columns:
    """The further columns that an edit of `old` to `new` changes; none where it decides nothing.

    1. The revision rises: no run of the old definition starts any more.
    2. A finished schedule that was given a new time, and has a slot, is enabled again.
    3. One that is not enabled has no next slot; who disabled it is noted.
    4. One that is enabled starts afresh from `now` if its rule changed, and its next slot is
       computed; without a valid rule it is set aside.

    `by` and `params` say who paused it and why.
    """
    changed = columns.differing(old, new, columns.DECIDING)
    if not changed and old.state_reason != "set_aside":  # whatever was edited may have cured it
        return {}
    rearmed = not changed.isdisjoint(columns.RULE)
    enabled = new.enabled or (rearmed and old.state_reason == "finished" and _has_slot(new, now))
    settled = {"revision": old.revision + 1, "enabled": enabled}
    if not enabled:
        return settled | {"next_run_at": None} | (paused(now, by, params) if old.enabled else {})
    armed = {"armed_at": now} if rearmed else {}
    return settled | _active(now) | armed | next_slot(new, now)


def paused(now: datetime, by: str, params: Columns | None = None) -> Columns:
    """The columns that say that somebody disabled it."""
    return {
        "state_reason": "paused",
        "state_reason_params": params or {},
        "state_reason_at": now,
        "state_reason_by": by,
    }


def _active(now: datetime) -> Columns:
    return {
        "state_reason": "",
        "state_reason_params": {},
        "state_reason_at": now,
        "state_reason_by": "",
        "paused_until": None,
    }


def next_slot(row: "ScheduledTask", now: datetime) -> Columns:
    """The first slot after `now`; that it is set aside, where it has no valid rule."""
    try:
        return {"next_run_at": row.first_slot(now)}
    except ScheduleError as error:
        return set_aside(error.code, str(error), now)


def set_aside(code: str, message: str, now: datetime) -> Columns:
    """The columns that say that it cannot be evaluated, and why."""
    return {
        "state_reason": "set_aside",
        "state_reason_params": {"code": code, "message": message[:500]},
        "state_reason_at": now,
        "state_reason_by": "",
        "next_run_at": None,
    }


def _has_slot(row: "ScheduledTask", now: datetime) -> bool:
    try:
        return row.first_slot(now) is not None
    except ScheduleError:
        return False
