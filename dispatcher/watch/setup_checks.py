"""Django system checks: is the project set up so that its schedules can run? With a remedy each."""

from collections.abc import Iterator
from typing import Any

from celery import Celery
from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import DEFAULT_DB_ALIAS, connections, router

from dispatcher.extras import missing
from dispatcher.worker import installation
from dispatcher.worker.beat import QUEUE
from scheduling import registry
from scheduling.celery_app import celery_app

OURS = ("scheduling", "dispatcher")

#: The schemes of addresses that need the package redis.
REDIS = ("redis", "rediss", "sentinel")

NO_TIME_ZONES = Error(
    "USE_TZ is False, and every time of a schedule is one with a time zone.",
    hint="Set USE_TZ = True.",
    id="dispatcher.E002",
)
NOT_INSTALLED = Warning(
    "This process has no Celery app with the gate: runs that are saved here wait for the next "
    "tick, and what a worker executes in it is neither claimed nor recorded.",
    hint="Call dispatcher.install(app) where the app is made, and import that module in the "
    "__init__.py of your project, so that every process has it.",
    id="dispatcher.W001",
)
NO_BROKER = Warning(
    "No broker is named, so messages go to a RabbitMQ on this machine, Celery's default.",
    hint='Set CELERY_BROKER_URL, for example to "redis://localhost:6379/0".',
    id="dispatcher.W003",
)
NO_REDIS = Error(
    "The broker is a Redis, and its client is not installed.",
    hint='Install it: pip install "minutehand[redis]".',
    id="dispatcher.E004",
)
NO_MASTER = Error(
    "The broker is asked for from a Redis Sentinel, and nobody says of which master: no process "
    "can connect.",
    hint='Add "master_name": "mymaster" to the dictionary CELERY_BROKER_TRANSPORT_OPTIONS.',
    id="dispatcher.E006",
)
NO_QUEUE_FOR_TICKS = Error(
    f"Celery knows no queue “{QUEUE}” and makes none (task_create_missing_queues is False): beat "
    "can send no tick, and no dispatcher can start.",
    hint=f'Add kombu.Queue("{QUEUE}") to CELERY_TASK_QUEUES.',
    id="dispatcher.E005",
)
AFTER_THE_ADMIN = Warning(
    "Minutehand stands behind django.contrib.admin, whose pages do not say when everything is "
    "paused.",
    hint='Put "scheduling" and "dispatcher" before "django.contrib.admin" in INSTALLED_APPS.',
    id="dispatcher.W004",
)
LOCAL_TIMES = Error(
    "DATABASES['default']['TIME_ZONE'] is set, so that this database keeps times without a zone, "
    "in that one; ours are compared with its clock, in UTC.",
    hint="Remove it there. The setting TIME_ZONE is the zone of new schedules and of the pages.",
    id="dispatcher.E007",
)


@register()
def check_project(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check all of the setup that needs no database to be seen."""
    problems = [] if settings.USE_TZ else [NO_TIME_ZONES]
    return [*problems, *_celery(celery_app()), *_order(), *_databases(), *_zone()]


def _celery(app: Celery) -> Iterator[CheckMessage]:
    if not installation.INSTALLED:
        yield NOT_INSTALLED
    elif len(installation.INSTALLED) > 1:
        yield _several(app)
    url = app.conf.broker_write_url
    if not url:
        yield NO_BROKER
    elif _scheme(url) in REDIS and missing("redis"):
        yield NO_REDIS
    elif _scheme(url) == "sentinel" and not (app.conf.broker_transport_options or {}).get(
        "master_name"
    ):
        yield NO_MASTER
    if registry.is_undeclared(QUEUE):
        yield NO_QUEUE_FOR_TICKS


def _scheme(url: str | list[str]) -> str:
    """The address's scheme, by its text: kombu imports the client when it is asked for a transport,
    and a check must say that the client is not there."""
    first = url if isinstance(url, str) else url[0]
    return first.partition("://")[0].partition("+")[0].lower()


def _several(app: Celery) -> CheckMessage:
    names = ", ".join(sorted(repr(each.main) for each in installation.INSTALLED))
    return Warning(
        f"dispatcher.install was called for the Celery apps {names}: runs are sent with "
        f"{app.main!r}, the first, and to its broker only.",
        hint="Call it for the one whose workers execute scheduled tasks.",
        id="dispatcher.W002",
    )


def _order() -> Iterator[CheckMessage]:
    names = [config.name for config in apps.get_app_configs()]
    if "django.contrib.admin" in names:
        admin = names.index("django.contrib.admin")
        if "dispatcher" in names and names.index("dispatcher") > admin:
            yield AFTER_THE_ADMIN


def _databases() -> Iterator[CheckMessage]:
    """Both apps and the signal between them live in one transaction of the default database."""
    for label in OURS:
        for model in apps.get_app_config(label).get_models():
            aliases = {router.db_for_write(model), router.db_for_read(model)}
            if aliases != {DEFAULT_DB_ALIAS}:
                yield Error(
                    f"A database router sends {model._meta.label} to {', '.join(sorted(aliases))}.",
                    hint=f"Let it answer {DEFAULT_DB_ALIAS!r} (or None) for the app {label}.",
                    obj=model,
                    id="dispatcher.E003",
                )
                return


def _zone() -> Iterator[CheckMessage]:
    """PostgreSQL keeps instants, whatever zone it shows them in."""
    database = connections[DEFAULT_DB_ALIAS]
    zone = database.settings_dict["TIME_ZONE"]
    if not database.features.supports_timezones and zone not in (None, "UTC", "Etc/UTC"):
        yield LOCAL_TIMES
