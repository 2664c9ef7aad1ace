"""The Celery app of the schedules: the one that `dispatcher.install` was called for.

Celery's current app is another thing: the one that was made last in this thread, the first one
elsewhere, or one of Celery's own, with a RabbitMQ on this machine, where none was made yet.
"""

from celery import Celery
from celery.app import app_or_default

_ours: Celery | None = None


def use(app: Celery) -> None:
    """Note the app. The first one stays, whatever else is installed later."""
    global _ours
    _ours = app if _ours is None else _ours


def installed() -> Celery | None:
    """The app of the schedules; None where this process has not imported it."""
    return _ours


def celery_app() -> Celery:
    """The app of the schedules; Celery's current one where this process has not imported it.

    >>> celery_app().conf.task_default_queue
    """
    return app_or_default() if _ours is None else _ours
