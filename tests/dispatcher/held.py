"""What another process does to the database, from a thread with a connection of its own."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction


@contextmanager
def in_an_open_transaction(work: Callable[[], Any]) -> Iterator[None]:
    """While the block runs, `work` is done and neither committed nor rolled back; after it, it is
    rolled back."""
    done, over = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                work()
                done.set()
                over.wait(60)
                transaction.set_rollback(True)
        finally:
            done.set()
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(hold)
        assert done.wait(60)
        try:
            yield
        finally:
            over.set()
            held.result(timeout=60)


@contextmanager
def impatient() -> Iterator[None]:
    """This connection waits for a lock a moment only. It is closed before and after: another one
    has the patience of the settings."""
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute(
            {
                "postgresql": "SET lock_timeout = '150ms'",
                "mysql": "SET innodb_lock_wait_timeout = 1",
                "sqlite": "PRAGMA busy_timeout = 150",
            }[connection.vendor]
        )
    try:
        yield
    finally:
        connection.close()
