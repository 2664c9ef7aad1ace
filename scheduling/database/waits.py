"""How long a pass of ours waits for a row that an open transaction of somebody else has locked."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connection, transaction
from django.db.models import QuerySet

from scheduling.database.locking import locked

Q = TypeVar("Q", bound="QuerySet[Any]")

#: Seconds. Whoever meets a lock for longer is tried again, or comes back in the next pass.
BRIEF = 2

_LOCKING = ("UPDATE", "DELETE", "INSERT")


@contextmanager
def brief_waits() -> Iterator[None]:
    """No statement in here waits longer than `BRIEF` seconds for a lock.

    On PostgreSQL by `SET LOCAL` in the transaction of each statement that locks: under PgBouncer a
    session is nobody's. On MySQL and MariaDB by the session's variable, put back at the end. SQLite
    has one writer, and the timeout of its connection.
    """
    if connection.vendor == "postgresql":
        with connection.execute_wrapper(_set_before_locking):
            yield
    elif connection.vendor == "mysql":
        with _session_variable("innodb_lock_wait_timeout", BRIEF):
            yield
    else:
        yield


def _set_before_locking(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    connection = context["connection"]
    if not _locks(sql):
        return execute(sql, params, many, context)
    if not connection.in_atomic_block:
        with transaction.atomic(using=connection.alias):
            return _set_before_locking(execute, sql, params, many, context)
    execute(f"SET LOCAL lock_timeout = '{BRIEF}s'", None, False, context)
    return execute(sql, params, many, context)


def _locks(sql: Any) -> bool:
    text = sql if isinstance(sql, str) else ""
    return text.lstrip().startswith(_LOCKING) or "FOR NO KEY UPDATE" in text or "FOR UPDATE" in text


@contextmanager
def _session_variable(name: str, value: int) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT @@SESSION.{name}")
        before = int(cursor.fetchone()[0])
        cursor.execute(f"SET SESSION {name} = {value}")
    try:
        yield
    finally:
        if connection.connection is not None and not connection.needs_rollback:
            with connection.cursor() as cursor:
                cursor.execute(f"SET SESSION {name} = {before}")


def free(rows: Q, limit: int | None = None) -> list[Any]:
    """The primary keys of those of the rows that nobody has locked, in order, at most `limit`.

    In a transaction of the caller's they are locked from now on; else they were free a moment ago.
    """
    with transaction.atomic(savepoint=False):
        return list(locked(rows.order_by("pk"), skip=True).values_list("pk", flat=True)[:limit])
