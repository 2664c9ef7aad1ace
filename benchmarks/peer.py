"""The other products of the worker's benchmark: a plain Celery app, with or without results.

`RESULTS` is "" (Celery records nothing), "results" or "started": django-celery-results, the latter
with `task_track_started`, which writes what Minutehand writes: that a run began, and how it ended.
Its connection is kept between tasks, which Celery's integration of Django does not do by default.
"""

import os

import django
import environ
from celery import Celery
from django.conf import settings

RESULTS = os.environ["RESULTS"]

settings.configure(
    SECRET_KEY="only-for-the-benchmark",
    DATABASES={"default": environ.Env().db("DATABASE_URL")},
    INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_results"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

app = Celery("peer", broker=os.environ["CELERY_BROKER_URL"], include=["benchmarks.noop"])
app.conf.update(
    result_backend="django-db" if RESULTS else None,
    task_ignore_result=not RESULTS,
    task_track_started=RESULTS == "started",
)


def fill(number: int) -> None:
    """Put so many messages into the queue."""
    from django.core.management import call_command

    from benchmarks.noop import noop

    if RESULTS:
        call_command("migrate", verbosity=0)
    with app.producer_pool.acquire(block=True) as producer:
        for n in range(number):
            noop.apply_async((n,), producer=producer)


def recorded() -> int:
    """How many tasks are recorded as succeeded."""
    from django_celery_results.models import TaskResult

    return TaskResult.objects.filter(status="SUCCESS").count()
