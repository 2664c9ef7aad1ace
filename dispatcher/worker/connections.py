"""The project's own database connections, between two tasks of a worker.

Celery closes them before and after every task, unless the project sets `CELERY_DB_REUSE_MAX`. What
it does not mend is done here: a connection that was closed inside a transaction fails for ever, and
one that stays open meets the next task as the last one left it.
"""

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from scheduling.database import own_connection
from scheduling.database.session import is_unclean, renew


def replace_dead() -> None:
    """Close every connection whose server is gone, or that met an error: a session that takes no
    writes answers like any other. The next query opens a new one. One round trip for each."""
    for connection in _idle():
        if connection.errors_occurred:
            connection.close()
        else:
            _close_if_dead(connection)


def look_after() -> None:
    """In a worker, connect again where the last task left a transaction open. Else as Django
    before a request: a connection that met an error is tried now, and with CONN_HEALTH_CHECKS
    every one before its first query."""
    if own_connection.is_enabled():
        for connection in connections.all(initialized_only=True):
            if is_unclean(connection):
                renew(connection)
    for connection in _idle():
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
