"""The fields of the form of a scheduled task, in groups, and the same for who only reads."""

from typing import Any

from django.utils.translation import gettext_lazy

from dispatcher.admin.task.form import WALL_TIMES

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
                "preview",
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


def for_reading(fieldset: Any) -> Any:
    """The fieldset with the read-only twins in place of fields that would show too much."""
    title, options = fieldset
    twins = {*WALL_TIMES, "args", "kwargs"}
    shown = ("next_runs" if name == "preview" else name for name in options["fields"])
    fields = tuple(f"shown_{name}" if name in twins else name for name in shown if name != "seen")
    return title, {**options, "fields": fields}
