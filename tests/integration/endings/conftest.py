"""One worker process per pool serves all tests of a file of this folder.

A test that kills a worker starts one of its own on the queue `other`.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.endings.runs import CHILDREN
from tests.integration.harness import Stack, empty_broker, test_database_url


@pytest.fixture(scope="module")
def pool(
    request: pytest.FixtureRequest, django_db_setup: None, tmp_path_factory: Any
) -> Iterator[Stack]:
    """A stack with one worker of the pool that the test names."""
    broker_url = os.environ["CELERY_BROKER_URL"]
    empty_broker(broker_url)
    stack = Stack(tmp_path_factory.mktemp(request.param), test_database_url(), broker_url)
    stack.pool = request.param  # type: ignore[attr-defined]
    stack.start("worker", pool=request.param, concurrency=CHILDREN, queues="celery")
    yield stack
    stack.close()
    empty_broker(broker_url)


@pytest.fixture
def stack(pool: Stack, transactional_db: None) -> Iterator[Stack]:
    """The module's stack, with an empty record."""
    pool.record_path.write_text("")
    yield pool
    assert pool.processes[0].running, pool.processes[0].tail()
