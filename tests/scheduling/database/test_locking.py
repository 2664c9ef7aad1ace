"""What an error of the database says: another writer, an outage, or neither."""

import logging

import pytest
from django.db import InterfaceError, OperationalError, connection, transaction

from scheduling.database import is_contention, is_outage, locking, retry_contention
from tests.postgres_errors import driver, server_error

pytestmark = pytest.mark.django_db


def told(cause):
    """As Django raises what a driver raised."""
    error = OperationalError(*cause.args)
    error.__cause__ = cause
    return error


def postgresql(sqlstate):
    return told(server_error(sqlstate))


CONTENTION = {
    "a serialization failure": postgresql("40001"),
    "a deadlock": postgresql("40P01"),
    "a lock that is not available": postgresql("55P03"),
    "a lock wait timeout of MySQL": OperationalError(1205, "Lock wait timeout exceeded"),
    "a deadlock of MySQL": OperationalError(1213, "Deadlock found"),
    "a changed record of MariaDB": OperationalError(1020, "Record has changed since last read"),
    "a locked database of SQLite": OperationalError("database is locked"),
    "a locked table of SQLite": OperationalError("database table is locked"),
}
OUTAGE = {
    "a connection that failed": postgresql("08006"),
    "a full disk": postgresql("53100"),
    "too many connections": postgresql("53300"),
    "a shutdown": postgresql("57P01"),
    "a server that starts": postgresql("57P03"),
    "a disk that fails": postgresql("58030"),
    "no word of the server": told(driver.OperationalError("the connection is closed")),
    "a closed connection of MySQL": InterfaceError(0, ""),
    "no server of MySQL": OperationalError(2003, "Can't connect to MySQL server"),
    "a lost connection of MySQL": OperationalError(2013, "Lost connection to server"),
    "the last number of MySQL's client": OperationalError(2999, "whatever"),
    "a shutdown of MySQL": OperationalError(1053, "Server shutdown in progress"),
    "a killed connection of MariaDB": OperationalError(1927, "Connection was killed"),
    "a full disk of MySQL": OperationalError(1021, "Disk full"),
    "a failing disk of SQLite": OperationalError("disk I/O error"),
    "a full disk of SQLite": OperationalError("database or disk is full"),
    "no file of SQLite": OperationalError("unable to open database file"),
}
NEITHER = {
    "a row that is too big": postgresql("54000"),
    "a query that was cancelled": postgresql("57014"),
    "an invalid JSON text of MySQL": OperationalError(3140, "Invalid JSON text"),
    "words": OperationalError("the row is too big"),
    "nothing": OperationalError(),
    "words of a driver": InterfaceError("Error binding parameter"),
}
ALL = CONTENTION | OUTAGE | NEITHER


@pytest.mark.parametrize("case", ALL)
def test_an_error_is_told_apart(case):
    error = ALL[case]
    assert is_contention(error) is (case in CONTENTION)
    assert is_outage(error) is (case in OUTAGE)


# Another try --------------------------------------------------------------------------------------


class Refused:
    """Fails so often, then answers."""

    def __init__(self, times, error):
        self.left, self.error, self.calls = times, error, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error
        return args, kwargs


@pytest.fixture
def naps(monkeypatch):
    found = []
    monkeypatch.setattr(locking.time, "sleep", found.append)
    return found


def wrapped(refused):
    def verb(*args, **kwargs):
        return refused(*args, **kwargs)

    return retry_contention(verb)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("times", [0, 1, 2])
def test_contention_is_tried_three_times_in_all(naps, caplog, times):
    caplog.set_level(logging.INFO)
    refused = Refused(times, CONTENTION["a deadlock"])
    assert wrapped(refused)(1, b=2) == ((1,), {"b": 2})
    assert (refused.calls, len(naps)) == (times + 1, times)
    assert [record.action for record in caplog.records] == ["contention_retried"] * times
    assert all(0 < nap <= 0.1 for nap in naps)  # other writers get their turn, the caller waits not


@pytest.mark.django_db(transaction=True)
def test_the_third_time_it_is_raised(naps):
    refused = Refused(3, CONTENTION["a deadlock"])
    with pytest.raises(OperationalError):
        wrapped(refused)()
    assert (refused.calls, len(naps)) == (3, 2)


@pytest.mark.sampled(3)
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("case", [*OUTAGE, *NEITHER])
def test_anything_else_is_raised_at_once(naps, case):
    refused = Refused(1, ALL[case])
    with pytest.raises(type(ALL[case])):
        wrapped(refused)()
    assert (refused.calls, naps) == (1, [])


def test_inside_a_transaction_it_passes_through(naps):
    """The transaction has lost what was done before: only its beginning can be tried again."""
    refused = Refused(1, CONTENTION["a deadlock"])
    with transaction.atomic(), pytest.raises(OperationalError):
        wrapped(refused)()
    assert connection.in_atomic_block  # that of the test
    assert (refused.calls, naps) == (1, [])


def test_the_function_keeps_its_name():
    assert wrapped(Refused(0, None)).__name__ == "verb"
