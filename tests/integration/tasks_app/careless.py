"""Tasks that leave their database connection as nobody should find it."""

import time

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.contrib.auth.models import Group
from django.db import connection, transaction

#: Per database, what a session may be left with.
SESSION = {
    "postgresql": {
        "begin": "BEGIN",
        "search_path": "SET search_path TO pg_catalog",
        "role": "SET ROLE pg_monitor",
        "read_only": "SET default_transaction_read_only TO on",
        "advisory_lock": "SELECT pg_advisory_lock(4711)",
        "timeouts": "SET statement_timeout TO 1",
        "isolation": "SET default_transaction_isolation TO 'serializable'",
    },
    "mysql": {
        "begin": "BEGIN",
        "search_path": "USE information_schema",
        "read_only": "SET SESSION TRANSACTION READ ONLY",
        "advisory_lock": "SELECT GET_LOCK('4711', 1)",
        "timeouts": "SET SESSION innodb_lock_wait_timeout = 1, sql_mode = ''",
        "isolation": "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    },
    "sqlite": {
        "begin": "BEGIN IMMEDIATE",
        "read_only": "PRAGMA query_only = ON",
        "timeouts": "PRAGMA busy_timeout = 0",
    },
}
#: Left by Django's own means, on each of them.
BY_DJANGO = ("autocommit_off", "atomic", "atomic_error", "soft_limit", "closed", "closed_in_atomic")

_left_open = []  # an atomic block that is collected would end


def _work() -> None:
    Group.objects.create(name="uncommitted")


@shared_task(soft_time_limit=1)
def leave(way: str) -> str:
    """Leaves its connection that way; in a transaction also a row, which nobody commits."""
    {**_WAYS}.get(way, _by_sql)(way)
    return way


def _by_sql(way: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(SESSION[connection.vendor][way])
    if way == "begin":
        _work()


def _autocommit_off(way: str) -> None:
    transaction.set_autocommit(False)
    _work()


def _atomic(way: str) -> None:
    block = transaction.atomic()
    _left_open.append(block)
    block.__enter__()
    _work()
    if way == "closed_in_atomic":
        connection.close()
    if way == "atomic_error":
        transaction.set_rollback(True)


def _soft_limit(way: str) -> None:
    """Strikes inside `atomic()`, in the middle of its own end."""
    _atomic(way)
    raise SoftTimeLimitExceeded


def _closed(way: str) -> None:
    connection.ensure_connection()
    connection.connection.close()


_WAYS = {
    "autocommit_off": _autocommit_off,
    "atomic": _atomic,
    "atomic_error": _atomic,
    "closed_in_atomic": _atomic,
    "soft_limit": _soft_limit,
    "closed": _closed,
}


@shared_task
def innocent(n: int) -> int:
    """Writes a row as any task does, and returns how many of that name there are."""
    name = f"innocent {n}"
    Group.objects.get_or_create(name=name)
    return Group.objects.filter(name=name).count()


@shared_task
def deep_result(depth: int) -> object:
    """Returns lists inside one another."""
    found: list[object] = []
    for _level in range(depth):
        found = [found]
    return found


@shared_task
def holds_rows(seconds: float) -> int:
    """Holds rows of the scheduler locked for a while, as a transaction of an application may."""
    from dispatcher.models import TaskRun
    from scheduling.models import ScheduledTask

    with transaction.atomic():
        waiting = TaskRun.objects.waiting().select_for_update(skip_locked=True)
        held = len(list(waiting.order_by("pk")[:5]))
        held += len(list(ScheduledTask.objects.select_for_update(skip_locked=True)[:5]))
        time.sleep(seconds)
    return held
