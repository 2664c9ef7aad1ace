"""What the database shares with all processes: its clock and its locks."""

from scheduling.database.batches import in_batches
from scheduling.database.blame import INTERRUPTIONS, blames_row
from scheduling.database.clock import DatabaseNow, clock_offset, database_in, database_now
from scheduling.database.locking import (
    TRIES,
    is_contention,
    is_outage,
    locked,
    retry_contention,
    savepoint,
)
from scheduling.database.waits import brief_waits, free

__all__ = [
    "INTERRUPTIONS",
    "TRIES",
    "DatabaseNow",
    "blames_row",
    "brief_waits",
    "clock_offset",
    "database_in",
    "database_now",
    "free",
    "in_batches",
    "is_contention",
    "is_outage",
    "locked",
    "retry_contention",
    "savepoint",
]
