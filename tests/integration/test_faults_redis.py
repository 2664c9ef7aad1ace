"""Redis away, emptied, frozen, full: nothing is lost, doubled or stuck."""

from collections.abc import Iterator

import pytest
import redis

from tests.integration.faults import Ordeal
from tests.integration.harness import Stack
from tests.servers import Valkey

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """A broker that keeps nothing on disk."""
    server = Valkey().start()
    yield server
    server.close()


def test_no_slot_is_lost_doubled_or_stuck_while_redis_fails(stack: Stack, valkey: Valkey) -> None:
    stack.broker_url = valkey.url
    ordeal = Ordeal(stack)

    with ordeal.fault("stopped, back empty"):
        valkey.stop()
        ordeal.edit()
        ordeal.lasts(60)
        valkey.start()

    with redis.Redis.from_url(valkey.url) as client:
        with ordeal.fault("FLUSHALL", long=30):
            client.flushall()
            ordeal.edit()

        with ordeal.fault("frozen"):
            valkey.freeze()
            ordeal.edit()
            ordeal.lasts(60)
            valkey.thaw()

        with ordeal.fault("full"):
            client.config_set("maxmemory", 1)
            ordeal.edit()
            ordeal.lasts(60)
            client.config_set("maxmemory", 0)

    ordeal.account()
