"""The project's settings with Django's connection pool, and code of the project's that asks the
database in the worker's main process."""

import threading
import time

from celery import signals

from project.settings import *  # noqa: F403
from project.settings import DATABASES

DATABASES["default"]["OPTIONS"]["pool"] = {"timeout": 5}
DATABASES["default"]["CONN_MAX_AGE"] = 0  # the pool keeps them


@signals.worker_init.connect(weak=False)
def ask_from_now_on(**signal: object) -> None:
    threading.Thread(target=_ask, daemon=True).start()


def _ask() -> None:
    from django.contrib.auth.models import Group
    from django.db import DatabaseError, connection

    from tests.integration.tasks_app.tasks import note

    while True:
        try:
            note("asked", groups=Group.objects.count(), error="")
        except DatabaseError as error:
            note("asked", error=str(error))
        connection.close()  # back to the pool
        time.sleep(0.5)
