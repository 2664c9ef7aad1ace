"""The broker: what it raises when it is away, and how many messages wait in it."""

import logging
from collections.abc import Iterable
from typing import Any, NamedTuple

from amqp.exceptions import AMQPError, ChannelError
from kombu import Connection
from kombu.exceptions import BatchPublishError, LimitExceeded, OperationalError  # type: ignore[attr-defined]  # newer than the stubs

from dispatcher.publish import pool
from scheduling.celery_app import celery_app

try:
    from redis.exceptions import NoPermissionError, RedisError, ResponseError
except ImportError:  # a project whose broker is RabbitMQ has no need of it: nobody raises this
    RedisError = NoPermissionError = ResponseError = type("RedisError", (Exception,), {})  # type: ignore[misc, assignment]

logger = logging.getLogger(__name__)

#: How long to wait for a free connection of the pool, in seconds.
POOL_TIMEOUT = 5

#: What AMQP says of a queue that does not exist; the first message makes it. (kombu: a text.)
NOT_FOUND = "404"

#: What a broker that is away, full or frozen raises.
BROKER_ERRORS = (
    OperationalError,
    BatchPublishError,
    LimitExceeded,
    OSError,
    AMQPError,  # kombu passes these two through where a connection dies under it
    RedisError,
)


def is_of_one_queue(error: BaseException) -> bool:
    """Whether the broker refused one queue, and takes messages for the others.

    RabbitMQ closes the channel: the name is its own, the queue was declared with other arguments or
    belongs to another connection, a permission is missing. In Redis the key is no list, or an ACL
    forbids it. Where no connection came about, the error is of the login: ask only after one did.
    """
    causes = (error, error.__cause__)
    return any(
        isinstance(e, (ChannelError, NoPermissionError)) or _is_wrong_type(e) for e in causes
    )


def _is_wrong_type(error: BaseException | None) -> bool:
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


def messages_ready(queue: str) -> int | None:
    """How many messages wait in the queue; 0 where it does not exist, None without a broker."""
    app = celery_app()
    name = queue or app.conf.task_default_queue
    try:
        with pool.connection(app) as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
            return ready_in(connection, name)
    except connection_errors() as error:
        logger.warning("The broker could not be asked: %s", error, extra={"action": "broker_away"})
        return None


def refusals(queues: Iterable[str]) -> dict[str, str]:
    """The refusals of the broker, by queue, in its own words; empty without a broker."""
    said: dict[str, str] = {}
    try:
        with pool.connection(celery_app()) as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
            for queue in queues:
                if error := _refusal(connection, queue):
                    said[queue] = str(error)
    except connection_errors():
        return {}
    return said


def _refusal(connection: Connection, queue: str) -> Exception | None:
    try:
        ready(connection, queue)
    except BROKER_ERRORS as error:
        if not is_of_one_queue(error):
            raise
        return None if str(getattr(error, "reply_code", "")) == NOT_FOUND else error
    return None


def ready_in(connection: Connection, queue: str) -> int:
    """How many messages wait in the queue, by an open connection; 0 where it does not exist, or
    where the broker refuses it."""
    try:
        return ready(connection, queue)
    except BROKER_ERRORS as error:
        if not is_of_one_queue(error):
            raise
        return 0


def ready(connection: Connection, queue: str) -> int:
    """Do as `ready_in`, but raise what the broker says of a queue that is not there or refused."""
    with connection.channel() as channel:  # of its own: a refusal closes it
        declared = channel.queue_declare(queue, passive=True)  # type: ignore[attr-defined]
        return int(declared.message_count)


class Eviction(NamedTuple):
    """Which keys a Redis drops when its memory is full, and when that is."""

    policy: str
    limit: int  # bytes; 0: none


def eviction() -> Eviction | None:
    """Asked of the Redis itself; None of another broker, and where it may not be asked."""
    app = celery_app()
    if not pool.is_redis(app):
        return None
    try:
        with pool.connection(app) as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
            channel: Any = connection.default_channel
            memory = channel.client.info("memory")  # CONFIG is refused by many a provider
    except connection_errors() as error:
        logger.info("The broker does not say what it evicts: %s", error)
        return None
    return Eviction(str(memory.get("maxmemory_policy", "")), int(memory.get("maxmemory", 0)))


def connection_errors() -> tuple[type[Exception], ...]:
    app = celery_app()
    return (*BROKER_ERRORS, *app.connection_for_write().connection_errors)
