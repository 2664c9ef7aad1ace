"""Our two entries for beat. They fire under every scheduler, whatever it remembers of them."""

from datetime import datetime
from typing import Any

from celery import signals
from celery.schedules import crontab, schedule

QUEUE = "dispatcher"


class _NotFromTheFuture:
    """A schedule that takes a last run in the future for one now: a clock that was wrong for a
    moment, written down by beat, would keep it silent until that time."""

    def is_due(self, last_run_at: datetime) -> Any:
        me: Any = self
        return super().is_due(min(me.maybe_make_aware(last_run_at), me.now()))  # type: ignore[misc]


class Crontab(_NotFromTheFuture, crontab):
    """As Celery's, for a last run that may be in the future."""


class Interval(_NotFromTheFuture, schedule):
    """As Celery's, for a last run that may be in the future."""


ENTRIES: dict[str, dict[str, Any]] = {
    # A late tick is worth nothing: the next one does its work.
    "dispatcher.tick": {
        "task": "dispatcher.tick",
        "schedule": Crontab(),
        "options": {"queue": QUEUE, "expires": 55},
    },
    "dispatcher.rescue": {
        "task": "dispatcher.rescue",
        "schedule": Interval(20),
        "options": {"queue": QUEUE, "expires": 18},
    },
}


def connect() -> None:
    signals.beat_init.connect(_forget_the_future, dispatch_uid="dispatcher.beat")


def _forget_the_future(sender: Any = None, **signal: Any) -> None:
    """django-celery-beat keeps schedules of its own in tables: there the last run is put right."""
    from django.apps import apps
    from django.utils import timezone

    if not apps.is_installed("django_celery_beat"):
        return
    periodic_task: Any = apps.get_model("django_celery_beat", "PeriodicTask")  # type: ignore[misc]
    rows = periodic_task._default_manager
    rows.filter(name__in=ENTRIES, last_run_at__gt=timezone.now()).update(last_run_at=None)
