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
    options = _options(app.connection_for_write().transport, app.conf.broker_transport_options)
    made: Connection = app.connection_for_write(transport_options=options)
    return made


def _options(transport: Any, theirs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Ours, but times that the project has set itself are what it wants. Celery adds its others."""
    times = REDIS_TIMES if transport.driver_type == "redis" else {}
    return {k: v for k, v in times.items() if k not in (theirs or {})} | AT_ONCE
