"""The broker: what it raises when it is away, and how many messages wait in it."""

import logging

from amqp.exceptions import AMQPError, ChannelError
from celery.app import app_or_default
from kombu import Connection
from kombu.exceptions import BatchPublishError, LimitExceeded, OperationalError  # type: ignore[attr-defined]  # newer than the stubs
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

#: How long to wait for a free connection of the pool, in seconds.
POOL_TIMEOUT = 5

#: What a broker that is away, full or frozen raises.
BROKER_ERRORS = (
    OperationalError,
    BatchPublishError,
    LimitExceeded,
    OSError,
    AMQPError,  # kombu passes these two through where a connection dies under it
    RedisError,
)


def messages_ready(queue: str) -> int | None:
    """How many messages wait in the queue; 0 where it does not exist, None without a broker."""
    app = app_or_default()
    name = queue or app.conf.task_default_queue
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
            return ready_in(connection, name)
    except connection_errors() as error:
        logger.warning("The broker could not be asked: %s", error, extra={"action": "broker_away"})
        return None


def ready_in(connection: Connection, queue: str) -> int:
    """How many messages wait in the queue, by an open connection; 0 where it does not exist."""
    try:
        with connection.channel() as channel:  # of its own: a refusal closes it
            declared = channel.queue_declare(queue, passive=True)  # type: ignore[attr-defined]
            return int(declared.message_count)
    except ChannelError:
        return 0


def connection_errors() -> tuple[type[Exception], ...]:
    app = app_or_default()
    return (*BROKER_ERRORS, *app.connection_for_write().connection_errors)
