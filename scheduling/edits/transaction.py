"""The edit transaction: every change of a scheduled task, from whoever it comes.

One transaction each: lock the row, read the old rule under the lock, write, raise the revision,
compute the next slot, and send `schedule_changed`, whose receiver handles the runs in the same
transaction. When it commits, the gate lets no run of the old revision start.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction

from scheduling import trail
from scheduling.database import database_now, locked, retry_contention
from scheduling.edits.columns import DECIDING, KEPT, RULE
from scheduling.edits.signals import Change, schedule_changed
from scheduling.schedules import ScheduleError

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from scheduling.models import ScheduledTask

logger = logging.getLogger(__name__)

BATCH = 200

Write = Callable[..., Any]


def create(row: "ScheduledTask", write: Write) -> None:
    """Insert a new row, armed from now on, and let its first runs be planned."""
    row.clean()
    with transaction.atomic():
        now = database_now()
        row.created_at = row.updated_at = row.armed_at = now
        row.next_run_at = row.first_slot(now) if row.enabled else None
        if not row.enabled:
            row.state_reason, row.state_reason_at = "paused", now
            row.state_reason_by = str(trail.actor().by or "")[:200]
        write()
        with trail.one_edit():
            _announce(None, row, now)
        _refresh(row)
        trail.record([row], trail.CREATED, now)


def record_creation(rows: list["ScheduledTask"]) -> None:
    """The audit trail of rows that were inserted without an edit transaction."""
    if rows and any(row.pk is None for row in rows):  # MySQL returns no ids from a bulk insert
        rows = list(type(rows[0]).objects.filter(name__in=[row.name for row in rows]))
    trail.record(rows, trail.CREATED, database_now())


@retry_contention
def save(row: "ScheduledTask", write: Write, columns: Iterable[str] | None = None) -> None:
    """Write a changed row. What the scheduler keeps is not written, and `enabled` only if this
    copy changed it: the scheduler may have finished the schedule since the copy was read."""
    row.clean()
    with transaction.atomic():
        old = _locked_row(row)
        now = database_now()
        row.updated_at = now
        write(update_fields=_written_columns(row, columns))
        _follow_up(old, now)
        _refresh(row)
        trail.record_changes([(old, row)], now)


def _written_columns(row: "ScheduledTask", columns: Iterable[str] | None) -> list[str]:
    if columns is not None:
        return [name for name in {*columns, "updated_at"} if name not in KEPT]
    columns = [field.name for field in row._meta.concrete_fields if not field.primary_key]
    skipped = KEPT | {"name_key", "created_at", *row.unreadable}
    if row._stored is not None and row._stored.get("enabled") == row.enabled:
        skipped |= {"enabled"}
    return [name for name in columns if name not in skipped]


def _refresh(row: "ScheduledTask") -> None:
    row.refresh_from_db()
    row.remember()


def _locked_row(row: "ScheduledTask") -> "ScheduledTask":
    return locked(type(row).objects.filter(pk=row.pk)).get()


def _follow_up(
    old: "ScheduledTask",
    now: datetime,
    by: Any = None,
    params: dict[str, Any] | None = None,
) -> None:
    """Compare the row with what it was, and settle everything that follows from the difference."""
    with trail.one_edit():
        _settle(old, now, by, params)


def _settle(old: "ScheduledTask", now: datetime, by: Any, params: dict[str, Any] | None) -> None:
    new = type(old).objects.get(pk=old.pk)
    changed = {name for name in DECIDING if getattr(old, name) != getattr(new, name)}
    if not changed and old.state_reason != "set_aside":  # whatever was edited may have cured it
        return
    rearmed = not changed.isdisjoint(RULE)
    if rearmed and not new.enabled and old.state_reason == "finished":
        new.enabled = _has_slot(new, now)  # a new time arms a finished schedule again
    columns: dict[str, Any] = {"revision": old.revision + 1, "enabled": new.enabled}
    if not new.enabled:
        columns |= {"next_run_at": None} | _paused(old, now, by, params)
    else:
        columns |= _active(now) | ({"armed_at": now} if rearmed else {})
    rows = type(old).objects.filter(pk=old.pk)
    rows.keep(**columns)
    if new.enabled:
        arm(rows.get(), now)
    _announce(old, rows.get(), now)


def _paused(
    old: "ScheduledTask", now: datetime, by: Any, params: dict[str, Any] | None
) -> dict[str, Any]:
    if not old.enabled:
        return {}
    return {
        "state_reason": "paused",
        "state_reason_params": params or {},
        "state_reason_at": now,
        "state_reason_by": str((trail.actor().by if by is None else by) or "")[:200],
    }


def _active(now: datetime) -> dict[str, Any]:
    return {
        "state_reason": "",
        "state_reason_params": {},
        "state_reason_at": now,
        "state_reason_by": "",
        "paused_until": None,
    }


def _has_slot(row: "ScheduledTask", now: datetime) -> bool:
    try:
        return row.first_slot(now) is not None
    except ScheduleError:
        return False


def arm(row: "ScheduledTask", now: datetime) -> None:
    """Compute the first slot after `now` and store it; a row without a valid rule is set aside."""
    rows = type(row).objects.filter(pk=row.pk)
    try:
        rows.keep(next_run_at=row.first_slot(now))
    except ScheduleError as error:
        rows.set_aside(error.code, str(error), now)


def give_back(row: "ScheduledTask", slots: int, now: datetime) -> None:
    """Return slots that were planned ahead and are not any more to `max_runs`."""
    row.slots_used = max(row.slots_used - slots, 0)
    type(row).objects.filter(pk=row.pk).keep(slots_used=row.slots_used)
    if row.enabled and row.max_runs is not None:
        arm(row, now)


def _announce(old: "ScheduledTask | None", new: "ScheduledTask | None", now: datetime) -> None:
    sender = type(old or new)
    schedule_changed.send(sender=sender, change=Change(old=old, new=new, now=now))


@retry_contention
def delete(row: "ScheduledTask", write: Write) -> tuple[int, dict[str, int]]:
    """Delete the row in the edit transaction; `(0, {})` if it was gone already."""
    with transaction.atomic():
        old = locked(type(row).objects.filter(pk=row.pk)).first()
        if old is None:
            return 0, {}
        now = database_now()
        _announce(old, None, now)
        deleted: tuple[int, dict[str, int]] = write()
        trail.record([old], trail.DELETED, now)
        return deleted


def pause(
    row: "ScheduledTask",
    *,
    by: Any = None,
    until: datetime | None = None,
    params: dict[str, Any] | None = None,
) -> bool:
    columns = {"enabled": False, "paused_until": until}
    return _switch(row, columns, wanted=lambda old: bool(old.enabled), by=by, params=params)


def resume(row: "ScheduledTask", *, by: Any = None) -> bool:
    columns = {"enabled": True, "paused_until": None}
    return _switch(row, columns, wanted=lambda old: not old.enabled, by=by)


@retry_contention
def _switch(
    row: "ScheduledTask",
    columns: dict[str, Any],
    *,
    wanted: Callable[["ScheduledTask"], bool],
    by: Any,
    params: dict[str, Any] | None = None,
) -> bool:
    """Set `enabled` if it is not so yet; True if this call did."""
    with transaction.atomic():
        old = _locked_row(row)
        if not wanted(old):
            _refresh(row)
            return False
        now = database_now()
        stored = type(row).objects.get(pk=row.pk)
        for name, value in columns.items():
            setattr(stored, name, value)
        if stored.enabled:
            stored.clean()  # to resume a schedule without a further slot is refused
        stored.updated_at = now
        stored.save_base(update_fields=frozenset([*columns, "updated_at"]))
        _follow_up(old, now, by, params)
        _refresh(row)
        trail.record_changes([(old, row)], now, by=by)
    action = "resumed" if columns["enabled"] else "paused"
    logger.info("Scheduled task %s was %s", row.name, action, extra={"action": action})
    return True


@retry_contention
def skip_next(row: "ScheduledTask", *, by: Any = None) -> datetime | None:
    """Add the next slot that would run to those that are skipped, and return it; None without."""
    with transaction.atomic():
        old = _locked_row(row)
        now = database_now()
        stored = type(row).objects.get(pk=row.pk)
        slot = next(iter(stored.upcoming(1, now=now)), None)
        if slot is None:
            _refresh(row)
            return None
        stored.skip_slots = [*_still_to_plan(stored, now), slot.isoformat()]
        stored.updated_at = now
        stored.save_base(update_fields=frozenset(("skip_slots", "updated_at")))
        _follow_up(old, now, by)
        _refresh(row)
        trail.record_changes([(old, row)], now, by=by)
    logger.info("The slot %s of %s is skipped", slot, row.name, extra={"action": "skipped"})
    return slot


@retry_contention
def unskip(row: "ScheduledTask", slot: datetime, *, by: Any = None) -> bool:
    """Let a slot to come run that was to be skipped; True if it was."""
    with transaction.atomic():
        old = _locked_row(row)
        now = database_now()
        kept = [text for text in old.skip_slots if text != slot.isoformat()]
        if slot <= now or len(kept) == len(old.skip_slots):
            _refresh(row)
            return False
        type(row).objects.filter(pk=row.pk).keep(skip_slots=kept, updated_at=now)
        _follow_up(old, now, by)
        _refresh(row)
        trail.record_changes([(old, row)], now, by=by)
    logger.info("The slot %s of %s is not skipped", slot, row.name, extra={"action": "unskipped"})
    return True


def _still_to_plan(row: "ScheduledTask", now: datetime) -> list[str]:
    """The skipped slots that have no run yet, or have it still before them."""
    since = min(row.next_run_at or now, now)
    return [text for text in row.skip_slots if datetime.fromisoformat(text) >= since]


def update_each(rows: "QuerySet[ScheduledTask]", columns: dict[str, Any]) -> int:
    """`QuerySet.update` of what people set: an edit of each row, batch by batch."""
    ids = list(rows.order_by("pk").values_list("pk", flat=True))
    return sum(
        _update_batch(rows.model, ids[start : start + BATCH], columns)
        for start in range(0, len(ids), BATCH)
    )


@retry_contention
def _update_batch(
    model: type["ScheduledTask"], ids: Collection[int], columns: dict[str, Any]
) -> int:
    with transaction.atomic():
        olds = list(locked(model.objects.filter(pk__in=ids).order_by("pk")))
        now = database_now()
        written = model.objects.filter(pk__in=[old.pk for old in olds]).keep(**columns)
        for old in olds:
            _follow_up(old, now)
        news = model.objects.in_bulk([old.pk for old in olds])
        trail.record_changes([(old, news[old.pk]) for old in olds], now)
        return written


def bulk_update_each(objs: list["ScheduledTask"], names: list[str]) -> int:
    """`bulk_update` of what people set: an edit of each row."""
    return sum(
        _update_batch(type(obj), [obj.pk], {name: getattr(obj, name) for name in names})
        for obj in objs
    )
