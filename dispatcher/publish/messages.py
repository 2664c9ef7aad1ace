"""Hand the message of a run to the broker. No database, no marks."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from celery import Celery
from kombu import Producer

from dispatcher.models import TaskRun
from dispatcher.publish.content import content_of, options_of
from scheduling import registry
from scheduling.database import own_connection
from scheduling.registry.routing import GuardedRouter

#: The header of a run's message that a worker takes with care (`worker.suspects`).
SUSPECT = "suspect"


def takes_batches(producer: Producer) -> bool:
    """True for our connections to Redis and Valkey, where one round trip carries many messages."""
    return bool(getattr(producer, "supports_batch_publish", False))  # newer than the stubs


def _is_redis(producer: Producer) -> bool:
    """Whether priorities count from 0 down, whatever else its connection can do."""
    connection: Any = producer.connection
    return bool(connection.transport.driver_type == "redis")


def send(
    app: Celery, producer: Producer, run: TaskRun, now: datetime, queue: Any | None = None
) -> None:
    """Send one message. Each publish has a new message id: a worker discards an id that it saw
    expire or be revoked; the run's identity is in the headers. `queue`: the run's, bound."""
    eta = run.start_at if run.start_at > now else None
    queue = queue or registry.own_queue(run.task, run.queue) or run.queue or None
    try:
        _send_task(app, producer, run, queue, eta)
    except ValueError:
        # Quorum queues cannot be given an eta less than a second ahead: rather late than early.
        if eta is None or eta > now + timedelta(seconds=3):
            raise
        _send_task(app, producer, run, queue, now + timedelta(seconds=3))


def _send_task(
    app: Celery, producer: Producer, run: TaskRun, queue: Any, eta: datetime | None
) -> None:
    with own_connection.put_away():  # routes and receivers are the project's
        _call_send_task(app, producer, run, queue, eta)


def _call_send_task(
    app: Celery, producer: Producer, run: TaskRun, queue: Any, eta: datetime | None
) -> None:
    content = content_of(run)
    app.send_task(
        content.task,
        content.args,
        content.kwargs,
        task_id=str(uuid4()),
        producer=producer,
        router=GuardedRouter(app.amqp.router),  # type: ignore[arg-type]  # it needs `route` only
        retry=False,
        eta=eta,
        expires=None,
        queue=queue,
        **options_of(run, content.task, _is_redis(producer)),
        retries=content.retries,
        headers=_headers(run) | content.tries,
        ignore_result=True,
        add_to_parent=False,
        argsrepr="",
        kwargsrepr="",
    )


def _headers(run: TaskRun) -> dict[str, Any]:
    """Whose message it is; and, of a suspect, that it is one."""
    care = {SUSPECT: True} if run.took_workers else {}
    return {"run_id": str(run.pk), "attempt": run.attempt} | care
