"""What the database shares with all processes: its clock and its locks."""

from scheduling.database.clock import DatabaseNow, clock_offset, database_in, database_now
from scheduling.database.locking import (
    TRIES,
    is_contention,
    is_outage,
    locked,
    retry_contention,
    savepoint,
)

__all__ = [
    "TRIES",
    "DatabaseNow",
    "clock_offset",
    "database_in",
    "database_now",
    "is_contention",
    "is_outage",
    "locked",
    "retry_contention",
    "savepoint",
]
