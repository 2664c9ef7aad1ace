"""One time for a whole scenario: Python's and the database's, moved by hand.

Nothing waits and nothing depends on how busy the machine is, so that the same steps pass the same
lines each time, and minutes of a schedule's life take milliseconds.
"""

from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import time_machine
from django.db import connection

from dispatcher.models import statements
from scheduling.database import clock

#: A moment as each database writes it, of the type that its own clock has.
LITERALS = {
    "postgresql": "TIMESTAMPTZ '{}+00'",
    "mysql": "TIMESTAMP('{}')",
    "sqlite": "'{}'",
}


class Clock:
    """Stands still at `now` (UTC) until it is moved."""

    def __init__(self, now: datetime) -> None:
        self._travel = time_machine.travel(now, tick=False)
        self._patches = [
            patch.object(clock.DatabaseNow, name, _literal, create=True)
            for name in ("as_sql", "as_mysql", "as_postgresql", "as_sqlite")
        ]
        self._patches.append(patch.dict(clock._NOW))

    def __enter__(self) -> "Clock":
        self._machine = self._travel.start()
        for each in self._patches:
            each.start()
        self._tell_the_database()
        return self

    def __exit__(self, *error: object) -> None:
        for each in reversed(self._patches):
            each.stop()
        self._travel.stop()
        statements._remembered.clear()

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def set(self, now: datetime) -> None:
        self._machine.move_to(now)
        self._tell_the_database()

    def move(self, delta: timedelta) -> None:
        self.set(self.now + delta)

    def _tell_the_database(self) -> None:
        clock._NOW[connection.vendor] = f"SELECT {_text(connection.vendor)}"
        statements._remembered.clear()  # they have the moment before as a literal


def _text(vendor: str) -> str:
    return LITERALS[vendor].format(datetime.now(UTC).replace(tzinfo=None))


def _literal(self: object, compiler: object, connection: object, **extra: object) -> object:
    return _text(connection.vendor), []
