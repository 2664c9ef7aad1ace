"""The broker as a worker sees it, and the broker that is away."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from unittest.mock import patch

import kombu
from celery.app import app_or_default
from kombu import pools

QUEUES = ("celery", "other")

URL = os.environ["CELERY_BROKER_URL"]

_reader: kombu.Connection | None = None


@dataclass
class Message:
    """As a worker has it: `headers`, arguments, and when it may be executed (None: now)."""

    headers: dict[str, Any]
    args: list[Any]
    kwargs: dict[str, Any]
    eta: datetime | None
    queue: str

    @property
    def run_id(self) -> str:
        return str(self.headers.get("run_id"))

    def request(self) -> dict[str, Any]:
        """What Celery's worker makes of it for the pool."""
        delivery = {"exchange": "", "routing_key": self.queue, "redelivered": False}
        return {
            **self.headers,
            "args": self.args,
            "kwargs": self.kwargs,
            "hostname": "worker@test",
            "is_eager": False,
            "delivery_info": delivery,
        }


def drain() -> list[Message]:
    """Takes every message, oldest first, queue by queue."""
    global _reader
    _reader = _reader or kombu.Connection(URL)
    queues = app_or_default().amqp.queues
    found: list[Message] = []
    for name in QUEUES:
        queue = queues[name].bind(_reader.default_channel)
        queue.declare()
        while (message := queue.get(no_ack=True)) is not None:
            found.append(_read(message, name))
    return found


def _read(message: kombu.Message, queue: str) -> Message:
    args, kwargs, _embed = json.loads(message.body)
    eta = message.headers.get("eta")
    when = datetime.fromisoformat(eta) if eta else None
    headers = {name: value for name, value in message.headers.items() if name != "origin"}
    return Message(headers, args, kwargs, when, queue)


def disconnect() -> None:
    """Close every connection, so that a fork shares none with its parent."""
    global _reader
    if _reader is not None:
        _reader.release()
    _reader = None
    _forget_pools()


def _forget_pools() -> None:
    app = app_or_default()
    pools.reset()
    app._pool = None
    app.amqp._producer_pool = None


@contextmanager
def away() -> Iterator[None]:
    """Nobody listens where the broker was. Nobody waits for it either: kombu's pauses are none."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    nowhere = f"{URL.partition(':')[0]}://127.0.0.1:{port}/"
    environment = patch.dict(os.environ, CELERY_BROKER_URL=nowhere)  # Celery reads it
    with environment, patch("kombu.utils.functional.sleep"):
        _forget_pools()
        yield
    _forget_pools()
