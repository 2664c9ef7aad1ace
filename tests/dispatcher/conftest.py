"""The broker as the tests of this folder see it: messages that nobody consumes."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery.app import app_or_default
from celery.app.control import Control
from kombu import pools

from dispatcher import run_finished
from tests.dispatcher.workers import Crew

Messages = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def sent_messages(transactional_db: None) -> Iterator[Messages]:
    """Takes the messages that wait in the queue `celery`: their headers and decoded bodies."""
    app = app_or_default()

    def take() -> list[dict[str, Any]]:
        found = []
        with app.connection_for_read() as connection:
            queue = connection.SimpleQueue(app.amqp.queues["celery"])
            while True:
                try:
                    message = queue.get(block=False)
                except queue.Empty:
                    break
                message.ack()
                found.append(
                    {
                        "headers": message.headers,
                        "properties": message.properties,
                        "body": json.loads(message.body),
                    }
                )
            queue.close()
        return found

    take()
    yield take
    take()


@pytest.fixture
def broken_broker(transactional_db: None, broker_at: Callable[[str], None]) -> None:
    """A broker that refuses connections: a port of our own that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    scheme = os.environ["CELERY_BROKER_URL"].partition(":")[0]
    broker_at(f"{scheme}://127.0.0.1:{port}/")


@pytest.fixture
def broker_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Names another broker, until the end of the test."""

    def name(url: str) -> None:
        monkeypatch.setenv("CELERY_BROKER_URL", url)  # Celery reads it
        _forget_connections()

    yield name
    monkeypatch.undo()
    _forget_connections()


@pytest.fixture
def revoked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What workers are asked to end: a mock, because who is asked are the workers that run."""
    asked: list[tuple[str, bool]] = []

    def revoke(self: Control, id: str, terminate: bool = False, connection: Any = None) -> None:
        assert connection is not None, "the project's own may wait for a broker for ever"
        asked.append((id, terminate))

    monkeypatch.setattr(Control, "revoke", revoke)
    return asked


@pytest.fixture
def told() -> Iterator[list[tuple[Any, str]]]:
    """The runs of which `run_finished` told, with their status then."""
    heard: list[tuple[Any, str]] = []

    def hear(run: Any, **signal: Any) -> None:
        heard.append((run.pk, run.status))

    run_finished.connect(hear)
    yield heard
    run_finished.disconnect(hear)


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew(3)
    yield crew
    crew.close()


def _forget_connections() -> None:
    app = app_or_default()
    pools.reset()
    app._pool = None
    app.amqp._producer_pool = None
