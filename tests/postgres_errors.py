"""What the driver of PostgreSQL raises: psycopg 3, or 2 where that is installed instead."""

from django.db.backends.postgresql.base import Database as driver
from django.db.backends.postgresql.psycopg_any import errors, is_psycopg3

__all__ = ["driver", "server_error"]


def server_error(sqlstate: str) -> Exception:
    """An error as the driver makes it of a server's."""
    error: Exception = errors.lookup(sqlstate)("the server's words")
    if not is_psycopg3:
        error.__setstate__({"pgcode": sqlstate})  # its code is read from the server's answer only
    return error
