"""A database that takes no writes for a while, as after a failover or before a full disk."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.db import InternalError, connection
from django.test import Client

from dispatcher import tasks
from dispatcher.models import Tick
from dispatcher.worker import gate
from scheduling.database import database_now, own_connection
from tests.dispatcher.models.test_verb_conditions import values
from tests.dispatcher.rows import tick_at
from tests.dispatcher.worker.test_gate import make, request_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def read_only() -> Iterator[Callable[[bool], None]]:
    """Switch it on or off for every session that begins from then on."""
    if connection.vendor != "postgresql":
        pytest.skip("the others refuse the statement on every session alike")

    def switch(on: bool) -> None:
        operator = connection.copy()
        with operator.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
            cursor.execute(
                f"ALTER DATABASE {connection.settings_dict['NAME']}"
                f" SET default_transaction_read_only = {'on' if on else 'off'}"
            )
        operator.close()

    yield switch
    switch(False)
    connection.close()


def test_it_is_loud_and_recovers_by_itself(
    read_only: Callable[[bool], None], client: Client
) -> None:
    """Sessions that were begun meanwhile stay read-only: each process must leave its own."""
    run, sent_again = make(), make()
    tick_at(database_now() - timedelta(minutes=5))
    own_connection.enable()
    read_only(True)
    connection.close()

    for task in (tasks.tick, tasks.rescue):
        with pytest.raises(InternalError, match="read-only"):
            task()
    with pytest.raises(gate.Vetoed, match="read-only"):
        gate.enter(request_for(run))
    assert (values(run)["status"], client.get("/healthz").status_code) == ("published", 503)

    read_only(False)
    gate.enter(request_for(sent_again))
    tasks.rescue()
    tasks.tick()
    assert values(sent_again)["status"] == "running"
    assert Tick.objects.exclude(finished_at=None).count() == 3
    assert client.get("/healthz").status_code == 200
