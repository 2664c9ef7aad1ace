"""The project's settings with a broker behind a Redis Sentinel, as docs/deployment.md has it."""

from project.settings import *  # noqa: F403
from project.settings import RECOMMENDED

CELERY_BROKER_TRANSPORT_OPTIONS = {
    **RECOMMENDED["CELERY_BROKER_TRANSPORT_OPTIONS"],
    "master_name": "mymaster",
}
