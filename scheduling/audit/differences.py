"""What changed, in words: the differences between rows of the audit trail. Secrets are masked."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import models
from django.template.defaultfilters import truncatechars
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from scheduling import trail
from scheduling.models import ScheduledTask, State
from scheduling.registry import masking
from scheduling.words import wording

#: Kept for `verify_slots`; to people they say nothing that the other columns do not.
_UNSAID = {"id", "created_at", "armed_at", "revision", "state_reason_params"}
#: The longest value that is shown.
LONGEST = 1000

Row = Any  # a row of the trail, or a ScheduledTask


@dataclass(frozen=True)
class FieldChange:
    """One column of a change: its label, and what it was and is, in words ("" for nothing)."""

    name: str
    label: str
    old: str
    new: str


@dataclass(frozen=True)
class WordedEntry:
    """One row of the trail in words."""

    id: int
    kind: str
    when: str
    by: str
    via: str
    changes: list[FieldChange]


def in_words(entries: Sequence[Row], before: Row | None, zone: str) -> list[WordedEntry]:
    """Rows of one scheduled task, newest first, each against the one that follows it here.

    `before` is the row before the last of them; None if that is the creation. Times in `zone`.
    """
    olds = [*entries[1:], before]
    return [_worded(entry, old, zone) for entry, old in zip(entries, olds, strict=True)]


def _worded(entry: Row, old: Row | None, zone: str) -> WordedEntry:
    kinds = {trail.CREATED: _("created"), trail.CHANGED: _("changed"), trail.DELETED: _("deleted")}
    return WordedEntry(
        id=entry.history_id,
        kind=kinds.get(entry.history_type, entry.history_type),
        when=wording.moment_text(entry.history_date, zone),
        by=entry.by,
        via=entry.get_via_display(),
        changes=_changes(entry, old, zone),
    )


def _changes(entry: Row, old: Row | None, zone: str) -> list[FieldChange]:
    if entry.history_type == trail.CREATED:
        given = field_changes(ScheduledTask(), entry, zone)
        return [replace(change, old="") for change in given if change.new]
    return [] if old is None else field_changes(old, entry, zone)


def field_changes(old: Row, new: Row, zone: str | None = None) -> list[FieldChange]:
    """What differs, in the order of the columns."""
    return list(_field_changes(old, new, zone or new.timezone))


def _field_changes(old: Row, new: Row, zone: str) -> Iterator[FieldChange]:
    for field in _fields():
        if _value(old, field.attname) != _value(new, field.attname):
            texts = _text(field, old, zone), _text(field, new, zone)
            if texts[0] == texts[1]:
                texts = texts[0], _("%(value)s (a hidden value changed)") % {"value": texts[1]}
            yield FieldChange(field.attname, capfirst(str(field.verbose_name)), *texts)


def _fields() -> Iterable["models.Field[Any, Any]"]:
    tracked = ScheduledTask.history.model.tracked_fields
    return [field for field in tracked if field.attname not in _UNSAID]


def _value(row: Row, name: str) -> Any:
    if name == "state_reason":
        return row.state_reason, row.state_reason_params
    return getattr(row, name)


def _text(field: "models.Field[Any, Any]", row: Row, zone: str) -> str:
    value = getattr(row, field.attname)
    if field.attname == "state_reason":
        text = _state_text(row)
    elif isinstance(value, bool):
        text = _("yes") if value else _("no")
    elif isinstance(value, datetime):
        text = wording.moment_text(value, zone)
    elif isinstance(field, models.JSONField):
        text = json.dumps(masking.masked(value), ensure_ascii=False, default=str)
    elif field.choices:
        text = str(dict(field.flatchoices).get(value, value))
    else:
        text = "" if value is None else str(value)
    return truncatechars(text, LONGEST)


def _state_text(row: Row) -> str:
    label = wording.state_label(row.state_reason or State.ACTIVE)
    params = row.state_reason_params if isinstance(row.state_reason_params, dict) else {}
    if isinstance(params.get("failures"), int):
        why = _("%(count)d failures in a row") % {"count": params["failures"]}
    else:
        why = wording.noted_text(params)
    return f"{label} ({why})" if why else label
