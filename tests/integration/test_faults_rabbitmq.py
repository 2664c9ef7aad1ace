"""RabbitMQ restarted, stopped, killed, frozen: nothing is lost, doubled or stuck."""

from collections.abc import Iterator

import pytest

from tests.integration.faults import Ordeal
from tests.integration.harness import Stack
from tests.integration.rabbitmq import RabbitMQ, is_installed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.skipif(not is_installed(), reason="RABBITMQ IS NOT INSTALLED HERE"),
]


@pytest.fixture
def rabbitmq() -> Iterator[RabbitMQ]:
    server = RabbitMQ()
    server.start()
    yield server
    server.close()


def test_no_slot_is_lost_doubled_or_stuck_while_rabbitmq_fails(
    stack: Stack, rabbitmq: RabbitMQ
) -> None:
    stack.broker_url = rabbitmq.url
    ordeal = Ordeal(stack)

    with ordeal.fault("restarted", long=30):
        rabbitmq.stop()
        rabbitmq.start()

    with ordeal.fault("stopped"):
        rabbitmq.stop()
        ordeal.edit()
        ordeal.lasts(60)
        rabbitmq.start()

    with ordeal.fault("killed", long=40):
        rabbitmq.kill()
        ordeal.edit()
        ordeal.lasts(30)
        rabbitmq.start()

    with ordeal.fault("frozen"):
        rabbitmq.freeze()
        ordeal.edit()
        ordeal.lasts(60)
        rabbitmq.thaw()

    ordeal.account()
