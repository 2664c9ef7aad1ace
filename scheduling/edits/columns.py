"""The columns of a scheduled task by what it means to change them."""

from collections.abc import Iterable

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

#: Columns that a constraint ties together: if one changes, all are written.
TIED = (("kind", "run_at", "interval_seconds", "cron_expression"), ("starts_at", "ends_at"))


def with_tied(changed: set[str]) -> list[str]:
    """The columns that changed, and those that a constraint ties to them."""
    tied = (columns for columns in TIED if changed.intersection(columns))
    return sorted(changed.union(*tied))


def is_edit(columns: Iterable[str]) -> bool:
    """Whether to write these columns is an edit; else they are the scheduler's."""
    return not {*DECIDING, *OTHERS}.isdisjoint(columns)
