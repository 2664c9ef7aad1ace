"""The columns of a scheduled task by what it means to change them, and whether they changed."""

import json
from collections.abc import Iterable
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from django.db.models import JSONField

#: Columns that say when.
TIMING = (
    "kind",
    "run_at",
    "interval_seconds",
    "cron_expression",
    "timezone",
    "starts_at",
    "ends_at",
    "max_runs",
)
#: Columns that decide which slots there are.
RULE = (*TIMING, "enabled")
#: Columns that travel with a run or place it: they leave the slots, but unstarted runs follow.
TRAVELLING = (
    "task",
    "args",
    "kwargs",
    "queue",
    "priority",
    "jitter_seconds",
    "expires_seconds",
    "time_limit",
    "soft_time_limit",
    "skip_slots",
)
DECIDING = RULE + TRAVELLING

#: Columns that only the scheduler writes; `save()` leaves them as they are in the database.
KEPT = frozenset(
    (
        "next_run_at",
        "last_run_at",
        "armed_at",
        "slots_used",
        "revision",
        "state_reason",
        "state_reason_params",
        "state_reason_at",
        "state_reason_by",
    )
)

#: Columns that people set and that leave the runs alone; the audit trail keeps them too.
OTHERS = (
    "name",
    "description",
    "owner",
    "group",
    "misfire_policy",
    "misfire_grace_seconds",
    "overlap_policy",
    "max_retries",
    "retry_delay_seconds",
    "retry_backoff",
    "on_lost",
    "pause_after_failures",
    "paused_until",
)

JSON = frozenset(("args", "kwargs", "skip_slots"))

#: Columns that a constraint ties together: if one changes, all are written.
TIED = (("kind", "run_at", "interval_seconds", "cron_expression"), ("starts_at", "ends_at"))


def with_tied(changed: set[str]) -> list[str]:
    """The columns that changed, and those that a constraint ties to them."""
    tied = (columns for columns in TIED if changed.intersection(columns))
    return sorted(changed.union(*tied))


def is_edit(columns: Iterable[str]) -> bool:
    """Whether to write these columns is an edit; else they are the scheduler's."""
    return not {*DECIDING, *OTHERS}.isdisjoint(columns)


def differing(old: Any, new: Any, names: Iterable[str]) -> set[str]:
    """The columns in which the two rows are not the same."""
    return {name for name in names if not is_same(getattr(old, name), getattr(new, name))}


def is_same(one: Any, other: Any) -> bool:
    """Whether both are stored alike. JSON tells `true` from 1, which Python's `==` does not."""
    if one is other:
        return True
    if isinstance(one, list | dict) and one == other:
        return _as_json(one) == _as_json(other)
    return bool(one == other)


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def snapshot(value: Any) -> Any:
    """The JSON value as it is now: what is changed inside it later, is not in it."""
    if isinstance(value, list | dict) and not value:
        return value.copy()  # most are empty, and every row that is read comes here
    try:
        return deepcopy(value)
    except RecursionError:  # of SQL: nested more deeply than can be copied
        return value


def is_expression(value: Any) -> bool:
    """Whether the database is to compute it: `F("priority") + 1`."""
    return hasattr(value, "resolve_expression")


def stored_form(field: Any, value: Any) -> Any:
    """The value as it will come back from the database. Raises what storing it would raise."""
    if isinstance(field, JSONField):
        return json.loads(json.dumps(value, cls=field.encoder), cls=field.decoder)
    value = field.get_prep_value(value)
    return value.astimezone(UTC) if isinstance(value, datetime) else value
