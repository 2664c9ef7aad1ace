"""The indexes of `ScheduledTask`, by which its lists are quick, and the constraints on a row."""

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

INDEXES = (
    models.Index(fields=("enabled", "next_run_at"), name="scheduledtask_due"),
    # For what the lists are filtered by, in the order in which they show it: by the value
    # alone a page of a group would be looked for among all names, or all its rows sorted.
    models.Index(fields=("group", "name_key"), name="scheduledtask_group_name"),
    models.Index(fields=("owner", "name_key"), name="scheduledtask_owner_name"),
    models.Index(fields=("task", "name_key"), name="scheduledtask_task_name"),
    models.Index(fields=("queue", "name_key"), name="scheduledtask_queue_name"),
    models.Index(fields=("name_key",), name="scheduledtask_disabled", condition=Q(enabled=False)),
    models.Index(
        fields=("name_key",),
        name="scheduledtask_set_aside",
        condition=Q(state_reason="set_aside"),
    ),
    # For `named_from`: in the collation of the database LIKE cannot use the unique index.
    models.Index(
        fields=("name_key",),
        opclasses=["varchar_pattern_ops"],
        name="scheduledtask_name_prefix",
    ),
)

CONSTRAINTS = (
    models.UniqueConstraint(fields=("name_key",), name="scheduledtask_name_any_case"),
    models.CheckConstraint(
        name="scheduledtask_fields_of_its_kind",
        condition=Q(
            kind="one_time",
            run_at__isnull=False,
            interval_seconds__isnull=True,
            cron_expression="",
        )
        | Q(
            kind="interval",
            run_at__isnull=True,
            interval_seconds__isnull=False,  # or NULL >= 1 is NULL, which a CHECK lets pass
            interval_seconds__gte=1,
            cron_expression="",
        )
        | (
            Q(kind="cron", run_at__isnull=True, interval_seconds__isnull=True)
            & ~Q(cron_expression="")
        ),
        violation_error_message=_(
            "Give exactly the field of the kind: run at, every or cron expression."
        ),
    ),
    models.CheckConstraint(
        name="scheduledtask_priority",
        condition=Q(priority__isnull=True) | Q(priority__lte=9),
        violation_error_message=_("The priority is 0 to 9."),
    ),
    models.CheckConstraint(
        name="scheduledtask_ends_after_start",
        condition=Q(starts_at__isnull=True)
        | Q(ends_at__isnull=True)
        | Q(ends_at__gte=F("starts_at")),
        violation_error_message=_("It ends before it starts."),
    ),
)
