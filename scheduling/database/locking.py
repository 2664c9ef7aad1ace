"""Row locks as each database has them, and another try where two writers met."""

import functools
import logging
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import QuerySet

logger = logging.getLogger(__name__)

P = ParamSpec("P")
Q = TypeVar("Q", bound="QuerySet[Any]")
R = TypeVar("R")

TRIES = 3

#: PostgreSQL SQLSTATEs: serialization failure, deadlock, lock not available.
_SQLSTATES = {"40001", "40P01", "55P03"}
#: MySQL and MariaDB error numbers: lock wait timeout, deadlock, record has changed.
_MYSQL_CODES = {1205, 1213, 1020}

#: What says that the server, its disk or the connection to it failed: classes of PostgreSQL's
#: SQLSTATEs (connection, resources, shutdown, system), numbers of MySQL and MariaDB (the same, and
#: a connection that was killed; from 2000 on they are the client's), words of SQLite.
_OUTAGE_STATES = ("08", "53", "57P", "58")
_OUTAGE_CODES = {0, 1021, 1037, 1040, 1041, 1053, 1114, 1203, 1317, 1927}
_OUTAGE_WORDS = ("disk I/O error", "disk is full", "unable to open database file")


def locked(rows: Q, *, skip: bool = False) -> Q:
    """The rows under a write lock; with `skip`, without those that another process holds.

    `FOR NO KEY UPDATE` on PostgreSQL, so that inserts of runs that refer to the row do not wait.
    SQLite has one writer and no row locks: there the transaction itself (IMMEDIATE) is the lock.
    """
    features = connection.features
    return rows.select_for_update(
        no_key=features.has_select_for_no_key_update,
        skip_locked=skip and features.has_select_for_update_skip_locked,
        of=("self",) if features.has_select_for_update_of else (),
    )


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE that PostgreSQL gave, by psycopg 3 or 2; "" where there is none."""
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return state if isinstance(state, str) else ""


def mysql_code(error: BaseException) -> int | None:
    """The error number of MySQL, MariaDB or their client."""
    code = error.args[0] if error.args else None
    return code if isinstance(code, int) else None


def is_contention(error: OperationalError) -> bool:
    """True for a deadlock, a lock timeout or SQLite's "database is locked"."""
    if sqlstate(error) in _SQLSTATES or mysql_code(error) in _MYSQL_CODES:
        return True
    return "database is locked" in str(error) or "table is locked" in str(error)


def is_outage(error: OperationalError | InterfaceError) -> bool:
    """True where the database, or the connection to it, failed, whatever was asked of it.

    By the error, not by the connection: at the end of `atomic()` Django may have a new one.
    """
    state, code = sqlstate(error), mysql_code(error)
    if not state and _is_of_psycopg(error.__cause__):  # it has not heard from the server
        return True
    if code is not None:
        return code in _OUTAGE_CODES or 2000 <= code < 3000
    return state.startswith(_OUTAGE_STATES) or any(word in str(error) for word in _OUTAGE_WORDS)


def savepoint() -> AbstractContextManager[Any]:
    """A savepoint where somebody's transaction is open, which an error of ours must not spoil; else
    none, which costs nothing."""
    open_ = connection.in_atomic_block or not connection.get_autocommit()
    return transaction.atomic() if open_ else nullcontext()


def _is_of_psycopg(cause: BaseException | None) -> bool:
    return hasattr(cause, "sqlstate") or hasattr(cause, "pgcode")


def retry_contention(function: Callable[P, R]) -> Callable[P, R]:
    """Run the function again, three times in all, when the database chose it as the victim.

    Only the outermost transaction can be tried again: inside an open one the error passes through.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        for attempt in range(1, TRIES + 1):
            try:
                return function(*args, **kwargs)
            except OperationalError as error:
                nested = connection.in_atomic_block
                if attempt == TRIES or nested or not is_contention(error):
                    raise
                logger.info(
                    "%s met another writer and is tried again",
                    function.__qualname__,
                    extra={"action": "contention_retried"},
                )
                time.sleep(random.uniform(0.01, 0.05) * attempt)
        raise AssertionError("unreachable")

    return wrapper
