"""Our own producers: the project's broker, with options that hang and repeat nothing.

A pool of our own, because the options belong to connections, and the project's are its own affair;
and because Celery writes the retries of one caller's publish into the connection that it used.
"""

from collections.abc import Mapping
from typing import Any

from celery import Celery
from kombu import Connection, pools

#: Where a broker refuses connections a save says so at once, instead of trying again for 6 s.
AT_ONCE: dict[str, Any] = {"max_retries": 0}

#: The client of Redis tries nothing again by itself: it would hang a save for longer, and kombu
#: sends no batches where it may, as one might then come twice.
NOT_AGAIN: dict[str, Any] = {"retry_on_timeout": False}

#: A frozen or unreachable Redis must not hang a save or a tick (seconds).
REDIS_TIMES: dict[str, Any] = {
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
}


def producers(app: Celery) -> Any:
    """The pool of producers for our messages, as large as the project's."""
    pool: Any = pools.producers[connection(app)]
    pool.limit = app.pool.limit
    return pool


def connection(app: Celery) -> Connection:
    """A new connection, not yet open, to the broker that the project writes to."""
    options = _options(app, app.conf.broker_transport_options)
    made: Connection = app.connection_for_write(transport_options=options)
    return made


def is_redis(app: Celery) -> bool:
    """Whether that broker is a Redis or a Valkey, be it behind TLS, a socket or Sentinel."""
    return bool(app.connection_for_write().get_transport_cls().driver_type == "redis")


def _options(app: Celery, theirs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Ours, but times that the project has set itself are what it wants. Celery adds its others."""
    if not is_redis(app):
        return AT_ONCE
    times = {k: v for k, v in REDIS_TIMES.items() if k not in (theirs or {})}
    return times | NOT_AGAIN | AT_ONCE
