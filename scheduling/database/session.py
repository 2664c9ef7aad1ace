"""The session behind a connection: whether it is clean, and how long its statements may wait."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

#: Seconds that a statement of a worker's own connection waits for a lock, and that it takes.
LOCK_SECONDS = 3
STATEMENT_SECONDS = 10


def is_unclean(connection: BaseDatabaseWrapper) -> bool:
    """Whether a transaction was left open on it, or autocommit off. Asks Django and the driver, not
    the server."""
    if connection.in_atomic_block or connection.closed_in_transaction:
        return True
    raw = connection.connection
    if raw is None:
        return False
    if connection.autocommit != connection.settings_dict["AUTOCOMMIT"]:
        return True
    try:
        return _in_transaction(raw)
    except Exception:  # sqlite3 says so of one that was closed past Django
        return True


def _in_transaction(raw: Any) -> bool:
    """As the server last told the driver: psycopg, PyMySQL, sqlite3. mysqlclient cannot say."""
    info = getattr(raw, "info", None)
    if info is not None:
        return bool(getattr(info, "transaction_status", 0))
    if hasattr(raw, "in_transaction"):
        return bool(raw.in_transaction)
    return bool(getattr(raw, "server_status", 0) & 1)


def renew(connection: BaseDatabaseWrapper) -> None:
    """Connect again if it is unclean; the server rolls back what nobody committed.

    `close()` alone inside `atomic` leaves it failing for ever.
    """
    if not is_unclean(connection) or _is_shared(connection):
        return
    _close(connection)
    try:
        connection.connect()
    except Error:
        _close(connection)  # in no transaction any more: the next query connects


def start_over(connection: BaseDatabaseWrapper) -> None:
    """Let the next query connect anew: nothing of the session stays."""
    renew(connection)
    if not connection.in_atomic_block and not _is_shared(connection):
        _close(connection)


def _is_shared(connection: BaseDatabaseWrapper) -> bool:
    """With other threads, or with the database itself: not ours to close."""
    return connection.allow_thread_sharing or getattr(connection, "is_in_memory_db", bool)()


def _close(connection: BaseDatabaseWrapper) -> None:
    with suppress(Error):
        connection.close()


# Limits -------------------------------------------------------------------------------------------


def limit_waiting(connection: BaseDatabaseWrapper) -> None:
    """Give the session short lock and statement timeouts, at its begin."""
    limit = _LIMITS.get(connection.vendor)
    if limit is not None:
        limit(connection)


def _limit_postgresql(connection: BaseDatabaseWrapper) -> None:
    """In the session; behind a pooler, which lends another session to each transaction, before
    each statement. A pooler names another process than the one that answers."""
    connection.execute_wrappers = []
    if is_pooled(connection):
        connection.execute_wrappers = [_with_local_limits]
    else:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT set_config('lock_timeout', '{LOCK_SECONDS}s', false),"
                f" set_config('statement_timeout', '{STATEMENT_SECONDS}s', false)"
            )


def is_pooled(connection: BaseDatabaseWrapper) -> bool:
    """Whether a pooler such as PgBouncer stands before this PostgreSQL."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return _is_pooled(connection, cursor.fetchone()[0])


def _is_pooled(connection: BaseDatabaseWrapper, process: int) -> bool:
    return bool(connection.connection.info.backend_pid != process)


_LOCAL = (
    f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s';"
    f" SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'; "
)


def _with_local_limits(
    execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    """In the same round trip: statements that are sent together are one transaction."""
    if many:
        return execute(sql, params, many, context)
    result = execute(_LOCAL + sql, params, many, context)
    cursor = context["cursor"].cursor
    with suppress(Exception):  # psycopg 2 is at the last answer by itself
        while cursor.nextset():
            pass
    return result


def _limit_mysql(connection: BaseDatabaseWrapper) -> None:
    own = f"max_execution_time = {STATEMENT_SECONDS * 1000}"  # milliseconds; of a SELECT only
    if connection.mysql_is_mariadb:  # type: ignore[attr-defined]  # of this vendor's wrapper
        own = f"max_statement_time = {STATEMENT_SECONDS}"
    waits = f"innodb_lock_wait_timeout = {LOCK_SECONDS}, lock_wait_timeout = {STATEMENT_SECONDS}"
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION {waits}, {own}")


_LIMITS: dict[str, Callable[[BaseDatabaseWrapper], None]] = {
    "postgresql": _limit_postgresql,
    "mysql": _limit_mysql,
}
