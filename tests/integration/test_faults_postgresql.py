"""PostgreSQL stopped, and its connections cut: nothing is lost, doubled or stuck."""

import signal
import time
from collections.abc import Iterator

import environ
import psycopg
import pytest
from django.db import ConnectionHandler, connections

from tests.integration.faults import Ordeal
from tests.integration.harness import Stack
from tests.servers import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.fixture
def postgres(stack: Stack, private_postgres: Postgres) -> Iterator[Postgres]:
    """The database of the processes, and of the ORM here, whatever the suite runs on."""
    stack.database_url = private_postgres.url
    stack.manage("migrate", "--verbosity=0")
    handler = ConnectionHandler({"default": environ.Env.db_url_config(private_postgres.url)})
    suite, connections["default"] = connections["default"], handler["default"]
    yield private_postgres
    stack.close()
    connections["default"].close()
    connections["default"] = suite


def cut_connections(postgres: Postgres) -> None:
    """Ends the session of every client, as an operator or a failover does."""
    with psycopg.connect(postgres.url, autocommit=True) as operator:
        operator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )


def test_no_slot_is_lost_doubled_or_stuck_while_postgresql_fails(
    stack: Stack, postgres: Postgres
) -> None:
    ordeal = Ordeal(stack)

    with ordeal.fault("stopped"):
        postgres.stop()
        time.sleep(5)
        assert ordeal.web.health() == 503
        ordeal.lasts(60)
        postgres.start()
    ordeal.edit()

    with ordeal.fault("connections cut"):
        for _ in range(30):
            cut_connections(postgres)
            time.sleep(1)
    ordeal.edit()

    with ordeal.fault("stopped at once, for three minutes"):
        postgres.graceful = signal.SIGQUIT  # "immediate": as a crash, without a checkpoint
        postgres.stop()
        ordeal.lasts(180)
        postgres.start()
    ordeal.edit()

    ordeal.account()
