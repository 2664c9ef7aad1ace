"""Whom an error blames: the row that was worked on, or what it was worked with."""

from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError

from scheduling.database.locking import mysql_code, sqlstate

#: What strikes whatever is being done, and must end it: nobody may go on to the next row.
INTERRUPTIONS = (SoftTimeLimitExceeded, MemoryError)

#: SQLSTATEs of PostgreSQL that say so of the data, in other classes than DataError and
#: IntegrityError: a limit of the program, such as the depth of JSON or the size of an index entry.
_ROW_STATES = ("22", "23", "54")
#: The same of MySQL and MariaDB: a packet too large, a wrong value, and what is wrong with JSON.
_ROW_CODES = {1153, 1292, 1366, 1406, 3819, 4025, *range(3140, 3159)}
#: Words of SQLite and of drivers, which give no code, about a value that they cannot take.
_ROW_WORDS = ("json", "too big", "too large", "overflow", "out of range", "binding", "encode")


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
    return any(word in str(error).lower() for word in _ROW_WORDS)
