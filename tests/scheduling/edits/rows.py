"""Scheduled tasks to edit, and other good values for their columns."""

from datetime import UTC, datetime, timedelta

from scheduling.models import ScheduledTask

OK = "tests.integration.tasks_app.tasks.ok"
ADD = "tests.integration.tasks_app.tasks.add"
LATER = datetime(2099, 1, 1, 12, tzinfo=UTC)
PAST = datetime(2020, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
S = timedelta(seconds=1)

#: Another good value for each column that people set.
OTHER = {
    "run_at": LATER + HOUR,
    "interval_seconds": 7200,
    "cron_expression": "0 9 * * *",
    "timezone": "Asia/Shanghai",
    "starts_at": LATER - HOUR,
    "ends_at": LATER + 24 * HOUR,
    "max_runs": 1000,
    "task": "shop.other",
    "args": [1],
    "kwargs": {"x": 1},
    "queue": "other",
    "priority": 3,
    "jitter_seconds": 5,
    "expires_seconds": 600,
    "time_limit": 20,
    "soft_time_limit": 10,
    "skip_slots": [LATER.isoformat()],
    "name": "another",
    "description": "why",
    "owner": "ada",
    "group": "billing",
    "misfire_policy": "skip",
    "misfire_grace_seconds": 5,
    "overlap_policy": "skip",
    "max_retries": 3,
    "retry_delay_seconds": 5,
    "retry_backoff": True,
    "on_lost": "rerun",
    "pause_after_failures": 2,
    "paused_until": LATER,
}
KIND_OF = {"run_at": "one_time", "cron_expression": "cron"}
SCHEDULES = {
    "interval": {"interval_seconds": 3600},
    "cron": {"cron_expression": "0 * * * *"},
    "one_time": {"run_at": LATER},
}
#: One good value for each column that the scheduler keeps.
WHAT_IS_KEPT = {
    "next_run_at": LATER,
    "last_run_at": LATER - HOUR,
    "armed_at": LATER - 2 * HOUR,
    "slots_used": 7,
    "revision": 70,
    "state_reason": "set_aside",
    "state_reason_params": {"code": "x"},
    "state_reason_at": LATER,
    "state_reason_by": "ada",
}


def make(kind="interval", name="job", **options):
    defaults = {"name": name, "task": "shop.task", "kind": kind, **SCHEDULES[kind]}
    row = ScheduledTask(**(defaults | options))
    row.save()
    return row


def stored(row):
    return ScheduledTask.objects.get(pk=row.pk)


def edit(row, way, **values):
    if way == "update":
        return ScheduledTask.objects.filter(pk=row.pk).update(**values)
    mine = stored(row)
    for name, value in values.items():
        setattr(mine, name, value)
    if way == "bulk_update":
        return ScheduledTask.objects.bulk_update([mine], list(values))
    return mine.save()
