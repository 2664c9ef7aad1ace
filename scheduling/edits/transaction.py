"""The edit transaction: every change of a scheduled task, from whoever it comes.

When it commits, the gate lets no run of the old revision start.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction

from scheduling import trail
from scheduling.database import database_now, locked, retry_contention
from scheduling.edits import settle
from scheduling.signals import Change, schedule_changed
from scheduling.validation import DECIDING, KEPT, OTHERS, is_expression, stored_form

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from scheduling.models import ScheduledTask


@dataclass
class Edit:
    """One edit of one row, which is locked. `old` is the row as it was read under the lock, `new`
    a copy of it that the edit changes, `now` the database's time after the lock was taken."""

    old: "ScheduledTask"
    now: datetime
    by: Any = None
    params: dict[str, Any] = field(default_factory=dict)
    new: "ScheduledTask" = field(init=False)
    named: set[str] = field(default_factory=set)
    is_dropped: bool = False

    def __post_init__(self) -> None:
        self.new = copy(self.old)

    def put(self, columns: dict[str, Any]) -> None:
        """Change these columns."""
        for name, value in columns.items():
            setattr(self.new, name, value)
        self.named |= columns.keys()
        if "name" in columns:
            self.new.__dict__.pop("name_key", None)  # the database computes it; read when asked for
        # What could not be read of these columns is replaced now.
        kept = {n: value for n, value in self.old.stand_ins.items() if n not in self.named}
        self.new.stand_ins = kept

    def drop(self) -> None:
        """Change nothing after all."""
        self.is_dropped = True

    def finish(self, write: Callable[["ScheduledTask", set[str]], Any]) -> None:
        """Settle, write, and send `schedule_changed` if it decides anything. One UPDATE."""
        _take_stored_forms(self.new, self.named)
        by = str((trail.actor().by if self.by is None else self.by) or "")[:200]
        settled = settle.settle(self.old, self.new, self.now, by, self.params)
        for name, value in settled.items():
            setattr(self.new, name, value)
        write(self.new, self.named | settled.keys())
        if settled:
            announce(self.old, self.new, self.now)


@contextmanager
def editing(
    row: "ScheduledTask", *, by: Any = None, params: dict[str, Any] | None = None
) -> Iterator[Edit]:
    """The edit of a row in one transaction. What the block puts is written at its end.

    1. Lock the row, and read it, once. `DoesNotExist` if it is gone.
    2. The block decides, by `edit.old` and `edit.now`, and puts or drops.
    3. What follows is computed in memory, and all of it written in one UPDATE.
    4. The receiver of `schedule_changed` handles the runs.
    5. The audit trail is told. `row` is then what is stored, without being read again.
    """
    with transaction.atomic():
        old = locked(type(row).objects.filter(pk=row.pk)).get()
        edit = Edit(old, database_now(), by, params or {})  # a wait for the lock is over
        yield edit
        if not edit.is_dropped:
            edit.finish(_save)
            trail.note_changed([(edit.old, edit.new)], edit.now, by=by)
    show(row, edit.new)


def read_locked(rows: "QuerySet[ScheduledTask]") -> tuple[list["ScheduledTask"], datetime]:
    """The rows, locked in the order of their ids, and the time after that."""
    olds = list(locked(rows.order_by("pk")))
    return olds, database_now()


def _save(new: "ScheduledTask", names: set[str]) -> None:
    new.save_base(update_fields=frozenset(names))


def show(row: "ScheduledTask", stored: "ScheduledTask") -> None:
    """Make the caller's copy what is stored."""
    names = {field.attname for field in row._meta.concrete_fields}
    for name in names:
        row.__dict__.pop(name, None)
    row.__dict__.update({k: v for k, v in stored.__dict__.items() if k in names})
    row.__dict__.pop("_prefetched_objects_cache", None)
    row.stand_ins = stored.stand_ins
    row.remember()


def announce(old: "ScheduledTask | None", new: "ScheduledTask | None", now: datetime) -> None:
    """Send `schedule_changed`. Whoever handles the runs keeps `new` what is stored."""
    with trail.one_edit():
        schedule_changed.send(sender=type(old or new), change=Change(old=old, new=new, now=now))


def create(row: "ScheduledTask", write: Callable[..., Any]) -> None:
    """Insert a new row, armed from now on, and let its first runs be planned."""
    with transaction.atomic():
        now = database_now()
        check(row, now)
        _take_stored_forms(row, (*DECIDING, *OTHERS))
        row.created_at = row.updated_at = row.armed_at = now
        row.next_run_at = row.first_slot(now) if row.enabled else None
        if not row.enabled:
            by = str(trail.actor().by or "")[:200]
            given = row.state_reason_params  # of a copy: of what it is one
            for name, value in settle.paused(now, by, given).items():
                setattr(row, name, value)
        write()
        announce(None, row, now)
        trail.note([row], trail.CREATED, now)
        row.remember()


def check(row: "ScheduledTask", now: datetime) -> None:
    """Ask `clean()`, by the time that the edit has read already."""
    row.judged_at = now
    try:
        row.clean()
    finally:
        row.judged_at = None


def _take_stored_forms(row: "ScheduledTask", names: Iterable[str]) -> None:
    """Make the values what the database will give back. They are valid, if anybody asks that."""
    for name in names:
        value = getattr(row, name)
        if not is_expression(value):
            setattr(row, name, stored_form(row._meta.get_field(name), value))


@retry_contention
def save(row: "ScheduledTask", columns: Iterable[str] | None = None) -> None:
    """Write what this copy changed, or the named columns, and nothing else: the others may have
    been changed by somebody since the copy was read. What the scheduler keeps is not written."""
    columns_of_copy = {name: getattr(row, name) for name in _written(row, columns)}
    with editing(row) as edit:
        edit.put(evaluated(type(row), [row.pk], columns_of_copy).get(row.pk, columns_of_copy))
        check(edit.new, edit.now)
        edit.put({"updated_at": edit.now})


def _written(row: "ScheduledTask", columns: Iterable[str] | None) -> set[str]:
    if columns is None:
        changed = {name for name in (*DECIDING, *OTHERS) if row.is_changed(name)}
        return changed - {*row.unreadable}
    named, known = {*columns}, {field.name for field in row._meta.concrete_fields}
    if unknown := sorted(named - known):
        raise ValueError(f"A scheduled task has no columns {', '.join(unknown)}.")
    return named - KEPT - {"id", "name_key", "updated_at"}


def evaluated(
    model: type["ScheduledTask"], ids: Collection[int], columns: dict[str, Any]
) -> dict[int, dict[str, Any]]:
    """Values by row: what the database makes of expressions, written already. Empty
    where there are none."""
    if not any(map(is_expression, columns.values())):
        return {}
    rows = model.objects.filter(pk__in=ids)
    rows.keep(**columns)
    return {row["pk"]: {name: row[name] for name in columns} for row in rows.values("pk", *columns)}


def note_created(rows: list["ScheduledTask"]) -> None:
    """The audit trail of rows that were inserted without an edit transaction."""
    for row in rows:
        row.remember()
    if rows and any(row.pk is None for row in rows):  # MySQL returns no ids from a bulk insert
        rows = list(type(rows[0]).objects.filter(name__in=[row.name for row in rows]))
    trail.note(rows, trail.CREATED, database_now())


@retry_contention
def delete(row: "ScheduledTask", write: Callable[[], Any]) -> tuple[int, dict[str, int]]:
    """Delete the row in the edit transaction; `(0, {})` if it was gone already."""
    with transaction.atomic():
        old = locked(type(row).objects.filter(pk=row.pk)).first()
        if old is None:
            return 0, {}
        now = database_now()
        announce(old, None, now)
        deleted: tuple[int, dict[str, int]] = write()
        trail.note([old], trail.DELETED, now)
        return deleted
