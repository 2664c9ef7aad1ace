"""Take the messages of one run out of the broker: those that wait in a queue and, on Redis, those
that a worker took along when it died and that would come back."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from kombu import Connection
from redis import Redis

from dispatcher.publish.broker import ready_in
from scheduling.celery_app import celery_app

#: Messages read at once.
READ_AT_ONCE = 500


def withdraw(run_id: UUID, queue: str) -> int:
    """Take the messages of the run out; how many. What a living worker holds in its memory stays.

    The others keep their order; on RabbitMQ they cannot be taken by workers meanwhile.
    """
    app = celery_app()
    name = queue or app.conf.task_default_queue
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=3)
        if connection.transport.driver_type == "redis":
            return sum(_from_redis(connection, name, str(run_id)))
        return _from_rabbitmq(connection, name, str(run_id))


def _from_redis(connection: Connection, queue: str, run_id: str) -> Iterator[int]:
    channel: Any = connection.default_channel
    client: Any = Redis(
        connection_pool=channel.pool
    )  # kombu's own adds its prefix to some commands only
    prefix = channel.global_keyprefix or ""
    for priority in channel.priority_steps:
        key = prefix + channel._q_for_pri(queue, priority)
        for raw in [raw for raw in _list(client, key) if _is_of(json.loads(raw), run_id)]:
            yield client.lrem(key, 1, raw)
    held, index = prefix + channel.unacked_key, prefix + channel.unacked_index_key
    for tag, raw in list(client.hscan_iter(held, count=READ_AT_ONCE)):
        if _is_of(json.loads(raw)[0], run_id):
            yield client.hdel(held, tag)
            client.zrem(index, tag)


def _list(client: Any, key: str) -> Iterator[bytes]:
    if client.type(key) != b"list":
        return
    for start in range(0, client.llen(key), READ_AT_ONCE):
        yield from client.lrange(key, start, start + READ_AT_ONCE - 1)


def _is_of(message: Any, run_id: str) -> bool:
    headers = message.get("headers") if isinstance(message, dict) else None
    return isinstance(headers, dict) and headers.get("run_id") == run_id


def _from_rabbitmq(connection: Connection, queue: str, run_id: str) -> int:
    """Look at each once. When the channel closes, what was not acknowledged is back in place."""
    found = 0
    waiting = ready_in(connection, queue)
    with connection.channel() as opened:
        channel: Any = opened
        for _each in range(waiting):
            message = channel.basic_get(queue)
            if message is None:
                break
            if _is_of({"headers": message.properties.get("application_headers")}, run_id):
                channel.basic_ack(message.delivery_tag)
                found += 1
    return found
