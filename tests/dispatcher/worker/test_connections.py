"""Connections that the server has closed, on a real server."""

from collections.abc import Callable

import pytest
from django.db import connection, transaction

from dispatcher import tasks
from dispatcher.models import Tick
from dispatcher.worker import connections
from dispatcher.worker.gate import DATABASE_ERRORS

pytestmark = pytest.mark.django_db(transaction=True)

SESSION = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT connection_id()"}
CUT = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}


def session() -> int:
    """The server's id of our connection."""
    with connection.cursor() as cursor:
        cursor.execute(SESSION[connection.vendor])
        return cursor.fetchone()[0]


@pytest.fixture
def cut() -> Callable[[], None]:
    """Ends our session from another one, as an operator or a restart does. Nobody is told."""
    if connection.vendor not in CUT:
        pytest.skip("SQLite has no server")

    def cut() -> None:
        ours, operator = session(), connection.copy()
        with operator.cursor() as cursor:
            cursor.execute(CUT[connection.vendor], [ours])
        operator.close()

    return cut


@pytest.mark.parametrize("task", [tasks.tick, tasks.rescue])
def test_the_pass_after_a_restart_of_the_database_works(cut: Callable[[], None], task) -> None:
    cut()
    task()

    assert Tick.objects.exclude(finished_at=None).exists()


def test_a_task_after_one_that_met_the_error_gets_a_living_connection(
    cut: Callable[[], None],
) -> None:
    session()
    connection.health_check_enabled = False  # as where CONN_HEALTH_CHECKS is off, its default
    cut()
    connections.look_after()
    with pytest.raises(DATABASE_ERRORS):
        session()
    connections.look_after()
    assert session()


def test_with_health_checks_no_task_meets_the_error(cut: Callable[[], None]) -> None:
    before = session()
    connection.health_check_enabled = True
    cut()

    connections.look_after()
    assert session() != before


def test_an_open_transaction_and_a_living_connection_are_left_alone(cut: object) -> None:
    before = session()
    connection.errors_occurred = True
    with transaction.atomic():
        connections.look_after()
        connections.replace_dead()
        assert connection.in_atomic_block
    connections.look_after()

    assert (session(), connection.errors_occurred) == (before, False)
