"""The time of the database: the one clock that every process shares."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import DateTimeField, ExpressionWrapper
from django.db.models.functions import Now


class DatabaseNow(Now):
    """The database's time in UTC, to the microsecond (SQLite: millisecond), as an expression.

    Django's own `Now` is the session's local time on MySQL and MariaDB, which Django then reads
    as UTC: hours off on a server whose zone is not UTC.
    """

    def as_mysql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **extra)


def database_in(delta: timedelta) -> "ExpressionWrapper[Any]":
    """The database's time plus `delta`, as an expression."""
    return ExpressionWrapper(DatabaseNow() + delta, output_field=DateTimeField())


_NOW = {
    "mysql": "SELECT UTC_TIMESTAMP(6)",
    "postgresql": "SELECT CLOCK_TIMESTAMP()",
    "sqlite": "SELECT STRFTIME('%Y-%m-%d %H:%M:%f', 'now')",
}


def database_now() -> datetime:
    """The database's time, aware, UTC. Read it once per tick or edit and pass it on.

    On PostgreSQL it is the wall clock, not the start of the transaction: an edit that waited for
    a row lock must not judge by a time from before the wait.
    """
    with connection.cursor() as cursor:
        cursor.execute(_NOW.get(connection.vendor, "SELECT CURRENT_TIMESTAMP"))
        value = cursor.fetchone()[0]
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def clock_offset() -> float:
    """This machine's clock minus the database's, in seconds."""
    connection.ensure_connection()  # or the time that it takes would count
    before = time.time()
    now = database_now().timestamp()
    return (before + time.time()) / 2 - now
