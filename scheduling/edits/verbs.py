"""The edits that have a name: pause, resume, skip the next slot, let it run after all."""

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

from scheduling.database import retry_contention
from scheduling.edits.transaction import check, editing

if TYPE_CHECKING:
    from scheduling.models import ScheduledTask

logger = logging.getLogger(__name__)


@retry_contention
def pause(
    row: "ScheduledTask",
    *,
    by: Any = None,
    until: datetime | None = None,
    params: dict[str, Any] | None = None,
) -> bool:
    """Disable it if it is not so yet; True if this call did."""
    with editing(row, by=by, params=params) as edit:
        if not edit.old.enabled:
            edit.drop()
            return False
        edit.put({"enabled": False, "paused_until": until, "updated_at": edit.now})
    logger.info("Scheduled task %s was paused", row.name, extra={"action": "paused"})
    return True


@retry_contention
def resume(row: "ScheduledTask", *, by: Any = None) -> bool:
    """Enable it if it is not so yet; True if this call did. One without a further slot is
    refused (`ValidationError`)."""
    with editing(row, by=by) as edit:
        if edit.old.enabled:
            edit.drop()
            return False
        edit.put({"enabled": True, "paused_until": None, "updated_at": edit.now})
        check(edit.new, edit.now)
    logger.info("Scheduled task %s was resumed", row.name, extra={"action": "resumed"})
    return True


@retry_contention
def skip_next(row: "ScheduledTask", *, by: Any = None) -> datetime | None:
    """Add the next slot that would run to those that are skipped, and return it; None without."""
    with editing(row, by=by) as edit:
        slot = next(iter(edit.old.upcoming(1, now=edit.now)), None)
        if slot is None:
            edit.drop()
            return None
        skipped = [*_still_to_plan(edit.old, edit.now), slot.isoformat()]
        edit.put({"skip_slots": skipped, "updated_at": edit.now})
    logger.info("The slot %s of %s is skipped", slot, row.name, extra={"action": "skipped"})
    return slot


@retry_contention
def unskip(row: "ScheduledTask", slot: datetime, *, by: Any = None) -> bool:
    """Let a slot to come run that was to be skipped; True if it was."""
    with editing(row, by=by) as edit:
        kept = [text for text in edit.old.skip_slots if text != slot.isoformat()]
        if slot <= edit.now or len(kept) == len(edit.old.skip_slots):
            edit.drop()
            return False
        edit.put({"skip_slots": kept, "updated_at": edit.now})
    logger.info("The slot %s of %s is not skipped", slot, row.name, extra={"action": "unskipped"})
    return True


def _still_to_plan(row: "ScheduledTask", now: datetime) -> list[str]:
    """The skipped slots that have no run yet, or have it still before them."""
    since = min(row.next_run_at or now, now)
    return [text for text in row.skip_slots if datetime.fromisoformat(text) >= since]
