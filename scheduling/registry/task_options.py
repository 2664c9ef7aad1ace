"""The options that a task brings along: `@shared_task(queue=…, priority=…, expires=…)`.

Celery applies them at every `apply_async`; at `send_task` since 5.7, and only in a process that has
imported the task. Here they are read, so that they hold wherever a run is made or sent.
"""

import logging
from datetime import datetime, timedelta
from functools import cache
from numbers import Real
from typing import Any

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.time import maybe_make_aware
from kombu import Queue

from scheduling.celery_app import celery_app
from scheduling.registry import celery_tasks

logger = logging.getLogger(__name__)

#: What `Task.apply_async` takes from the task, in Celery 5.6 and 5.7.
TAKEN = (
    "queue",
    "routing_key",
    "exchange",
    "priority",
    "expires",
    "serializer",
    "delivery_mode",
    "compression",
    "time_limit",
    "soft_time_limit",
    "immediate",
    "mandatory",
)


def own_options(name: str) -> dict[str, Any]:
    """What the task of this name says of its messages; empty where it is unknown or says nothing.

    Also what Celery's settings say for all tasks (`task_default_priority`, `task_time_limit`).
    """
    app = celery_app()
    _imported(app)
    task = app.tasks.get(name)
    if task is None:
        return {}
    said = ((option, getattr(task, option, None)) for option in TAKEN)
    return {option: value for option, value in said if value is not None}


@cache
def _imported(app: Celery) -> None:
    """A process that serves pages has not imported every task. One that cannot be imported is as
    one that is unknown here."""
    try:
        celery_tasks.import_tasks(app)
    except (SoftTimeLimitExceeded, MemoryError):
        raise
    except Exception:
        logger.exception("The tasks of %s cannot be imported", app, extra={"action": "no_tasks"})


def own_queue(task: str, queue: str) -> Queue | None:
    """The queue that the task gives as kombu's `Queue`, with its exchange, if the run's is that."""
    own = own_options(task).get("queue")
    return own if isinstance(own, Queue) and own.name == queue else None


def own_expiry(name: str, moment: datetime) -> datetime | None:
    """When a run of `moment` expires by what its task says: seconds from then, or an instant."""
    expires = own_options(name).get("expires")
    try:
        if isinstance(expires, str):
            expires = datetime.fromisoformat(expires)
        if isinstance(expires, datetime):
            aware: datetime = maybe_make_aware(expires, celery_app().timezone)
            return aware
        if isinstance(expires, Real):
            expires = timedelta(seconds=float(expires))
        return None if expires is None else moment + expires
    except (TypeError, ValueError, OverflowError) as error:
        logger.error("The task %s expires never: %s", name, error, extra={"action": "no_expiry"})
        return None
