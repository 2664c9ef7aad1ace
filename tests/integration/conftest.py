"""Fixtures for tests with real processes and for tests that break servers."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from tests.environment import RUN_ID
from tests.integration.harness import Stack, empty_broker, test_database_url
from tests.integration.proxy import Proxy
from tests.servers import Postgres, Valkey


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    """A failed test prints the logs of its processes."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and stack is not None and stack.processes:
        report.sections.append(("logs of the processes", stack.logs()))
    return report


@pytest.fixture
def empty_queues() -> Iterator[str]:
    """The broker of the test run, without messages; the value is its URL."""
    url = os.environ["CELERY_BROKER_URL"]
    empty_broker(url)
    yield url
    empty_broker(url)


@pytest.fixture
def stack(transactional_db, empty_queues: str, tmp_path: Path) -> Iterator[Stack]:
    """Real processes on the test database (the ORM here sees the same rows) and an empty broker."""
    stack = Stack(tmp_path, test_database_url(), empty_queues)
    yield stack
    stack.close()


@pytest.fixture
def broker_proxy(stack: Stack) -> Iterator[Proxy]:
    """Processes started from here on reach the broker through it; the test itself goes straight."""
    proxy = Proxy(stack.broker_url).start()
    stack.broker_url = proxy.url
    yield proxy
    stack.close()
    proxy.stop()


@pytest.fixture
def database_proxy(stack: Stack) -> Iterator[Proxy]:
    """Processes started from here on reach the database through it; the ORM here goes straight."""
    if stack.database_url.startswith("sqlite"):
        pytest.skip("SQLite has no connection to cut")
    proxy = Proxy(stack.database_url).start()
    stack.database_url = proxy.url
    yield proxy
    stack.close()
    proxy.stop()


@pytest.fixture
def private_valkey() -> Iterator[Valkey]:
    """A Valkey of the test's own, which keeps its data over `kill` and `start` (see `wipe`)."""
    server = Valkey(persistent=True).start()
    yield server
    server.close()


@pytest.fixture
def private_postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the test's own, empty."""
    server = Postgres().start()
    yield server
    server.close()


@pytest.fixture
def database(transactional_db: None) -> Iterator[dict[str, object]]:
    """A database without tables, of the kind that this test run uses."""
    names = ("ENGINE", "HOST", "PORT", "USER", "PASSWORD")
    settings = {name: connection.settings_dict[name] for name in names}
    if connection.vendor == "sqlite":  # the file that `startproject` names
        yield settings
        return
    name = f"shop_{RUN_ID}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    yield settings | {"NAME": name}
    force = "WITH (FORCE)" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} {force}")
