"""`RECOMMENDED`: settings that help a worker with scheduled tasks, for a project to take or leave.

They are the project's own settings, and concern its other tasks, too. So `install` sets none of
them. `from dispatcher import RECOMMENDED; globals().update(RECOMMENDED)` in the Django settings
takes them all; what stands below that line wins. `manage.py doctor` says which are missing.
"""

from dataclasses import dataclass
from typing import Any

#: Celery's setting of the consumer, as a path.
CONSUMER = "dispatcher.worker.consumer:ResilientConsumer"


@dataclass(frozen=True)
class Recommendation:
    """A setting of Celery by its lower-case name, and what happens without it."""

    name: str
    value: Any
    without: str
    on_redis_only: bool = False


RECOMMENDATIONS = (
    Recommendation(
        "worker_prefetch_multiplier",
        1,
        "a busy worker keeps messages that an idle one could start",
    ),
    Recommendation(
        "worker_disable_prefetch",
        True,
        "a busy worker takes due runs along, and they start late",
        on_redis_only=True,
    ),
    Recommendation(
        "worker_consumer",
        CONSUMER,
        "a restart of Redis ends every worker that holds a message for later",
        on_redis_only=True,
    ),
    Recommendation(
        "broker_connection_retry_on_startup",
        True,
        "a worker that starts before its broker ends",
    ),
    Recommendation(
        "broker_connection_max_retries",
        None,
        "a worker gives up after 45 minutes without its broker",
    ),
    Recommendation(
        "broker_transport_options",
        {"socket_timeout": 5, "socket_connect_timeout": 2, "socket_keepalive": True},
        "a frozen Redis hangs a worker, and whatever sends a message",
        on_redis_only=True,
    ),
)

#: For Django's settings, in the namespace `CELERY`. A RabbitMQ passes over what is for Redis.
RECOMMENDED: dict[str, Any] = {f"CELERY_{r.name.upper()}": r.value for r in RECOMMENDATIONS}
