"""Whom an error blames: the row that was worked on, or what it was worked with."""

from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, OperationalError

from scheduling.database.locking import mysql_code, sqlstate

#: What strikes whatever is being done, and must end it: nobody may go on to the next row.
INTERRUPTIONS = (SoftTimeLimitExceeded, MemoryError)

#: SQLSTATEs of PostgreSQL that say so of the data, in other classes than DataError and
#: IntegrityError: a limit of the program, such as the depth of JSON or the size of an index entry.
_ROW_STATES = ("22", "23", "54")
#: The same of MySQL and MariaDB: a packet too large, a wrong value, and what is wrong with JSON.
_ROW_CODES = {1153, 1292, 1366, 1406, 3819, 4025, *range(3140, 3159)}
#: Words of SQLite, of drivers and of the system about what is around a row.
_WORDS = (
    *("disk", "space", "file", "locked", "readonly", "read-only", "no such", "interrupted"),
    *("connection", "closed", "server", "memory", "timeout", "timed out", "cancel", "permission"),
)


def blames_row(error: BaseException | None) -> bool:
    """Whether the row itself caused the error, so that it would be the same tomorrow.

    Not a full disk, a lock, a timeout, a column that a migration has not made yet, a server that
    goes away, a time limit, memory, a file: those are tried again.
    """
    if isinstance(error, (*INTERRUPTIONS, OSError)):
        return False
    if not isinstance(error, (DatabaseError, InterfaceError)):
        return True
    state, code = sqlstate(error), mysql_code(error)
    if state:
        return state.startswith(_ROW_STATES)
    if isinstance(error, (DataError, IntegrityError)):
        return True
    if code is not None:
        return code in _ROW_CODES
    return _is_unheard_of(error)


def _is_unheard_of(error: BaseException) -> bool:
    """An error without a code, as SQLite has it, in words that tell of nothing around the row."""
    text = str(error).lower()
    known = any(word in text for word in _WORDS)
    return isinstance(error, (OperationalError, InterfaceError)) and bool(text) and not known
