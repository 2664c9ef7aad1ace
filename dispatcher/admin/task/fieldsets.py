"""The fields of the page of a scheduled task, in groups: of the form, and for who only reads."""

from typing import Any

from django.utils.translation import gettext_lazy

from dispatcher.admin.task import details
from dispatcher.admin.task.preview import preview
from dispatcher.admin.task.skipping import slots_skipped_by_hand
from scheduling.models import ScheduledTask

FIELDSETS: Any = (
    (gettext_lazy("What runs"), {"fields": ("seen", "name", "task", "args", "kwargs")}),
    (
        gettext_lazy("When"),
        {
            "fields": (
                "enabled",
                "kind",
                "cron_expression",
                "interval_seconds",
                "run_at",
                "timezone",
                preview,
                "starts_at",
                "ends_at",
                "max_runs",
                "jitter_seconds",
            ),
        },
    ),
    (
        gettext_lazy("Late and overlapping runs"),
        {
            "fields": (
                "misfire_policy",
                "misfire_grace_seconds",
                "expires_seconds",
                "overlap_policy",
            ),
        },
    ),
    (
        gettext_lazy("When it fails"),
        {
            "fields": (
                "max_retries",
                "retry_delay_seconds",
                "retry_backoff",
                "on_lost",
                "pause_after_failures",
            ),
        },
    ),
    (
        gettext_lazy("Limits and queue"),
        {"fields": ("time_limit", "soft_time_limit", "queue", "priority")},
    ),
    (gettext_lazy("About"), {"fields": ("description", "owner", "group")}),
)


#: What stands in place of inputs that would show too much, or times on another clock.
_TWINS: dict[Any, Any] = {
    preview: details.next_runs,
    "args": details.shown_args,
    "kwargs": details.shown_kwargs,
    "run_at": details.shown_run_at,
    "starts_at": details.shown_starts_at,
    "ends_at": details.shown_ends_at,
}
#: What no person writes.
READ_ONLY = (
    details.state_now,
    preview,
    details.next_runs,
    details.skipped,
    details.recent_runs,
)


def fieldsets_of(task: ScheduledTask | None, *, may_change: bool) -> Any:
    if task is None:
        return FIELDSETS
    skipped = [details.skipped] if slots_skipped_by_hand(task) else []
    now = {"fields": (details.state_now, *skipped, details.recent_runs)}
    shown = FIELDSETS if may_change else map(_for_reading, FIELDSETS)
    return ((gettext_lazy("Now"), now), *shown)


def _for_reading(fieldset: Any) -> Any:
    """The fieldset with the read-only twins of its fields."""
    title, options = fieldset
    fields = tuple(_TWINS.get(name, name) for name in options["fields"] if name != "seen")
    return title, {**options, "fields": fields}
