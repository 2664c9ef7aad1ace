"""Row locks as each database has them, and another try where two writers met."""

import functools
import logging
import random
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from django.db import OperationalError, connection
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


def is_contention(error: OperationalError) -> bool:
    """True for a deadlock, a lock timeout or SQLite's "database is locked"."""
    cause = error.__cause__
    if getattr(cause, "sqlstate", None) in _SQLSTATES:
        return True
    if error.args and error.args[0] in _MYSQL_CODES:
        return True
    return "database is locked" in str(error) or "table is locked" in str(error)


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
