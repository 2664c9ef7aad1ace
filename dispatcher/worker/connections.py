"""Database connections that outlive their server.

`CELERY_DB_REUSE_MAX` keeps them open from task to task (`installation`). Between two tasks nobody
looks whether they are alive, as Django does between two requests: after a restart of the database
every task of the process would fail.
"""

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper


def replace_dead() -> None:
    """Close every connection whose server is gone; the next query opens a new one. One round trip
    for each that is open."""
    for connection in _idle():
        _close_if_dead(connection)


def look_after(*, but_not: str | None = None) -> None:
    """As Django before a request: a connection that met an error is tried now, and with
    CONN_HEALTH_CHECKS every one before its first query. `but_not`: an alias to leave alone."""
    for connection in _idle():
        if connection.alias != but_not:
            connection.health_check_done = False  # type: ignore[attr-defined]  # not in the stubs
            if connection.errors_occurred:
                _close_if_dead(connection)


def _idle() -> list[BaseDatabaseWrapper]:
    """Those of this thread that are open and in no transaction."""
    everyone = connections.all(initialized_only=True)
    return [each for each in everyone if each.connection is not None and not each.in_atomic_block]


def _close_if_dead(connection: BaseDatabaseWrapper) -> None:
    if connection.is_usable():
        connection.errors_occurred = False
    else:
        connection.close()
