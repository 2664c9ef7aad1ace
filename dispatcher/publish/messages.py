"""What a run is as a message, and handing one to the broker. No database, no marks."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

from celery import Celery
from kombu import Producer
from kombu.utils import json as message_json

from dispatcher.models import Status, TaskRun
from scheduling.database import own_connection
from scheduling.registry.routing import GuardedRouter


def takes_batches(producer: Producer) -> bool:
    """True on Redis and Valkey, where one round trip carries many messages."""
    return bool(getattr(producer, "supports_batch_publish", False))  # newer than the stubs


def send(
    app: Celery, producer: Producer, run: TaskRun, now: datetime, queue: Any | None = None
) -> None:
    """Send one message. Each publish has a new message id: a worker discards an id that it saw
    expire or be revoked; the run's identity is in the headers. `queue`: the run's, bound."""
    eta = run.start_at if run.start_at > now else None
    queue = queue or run.queue or None
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
    with own_connection.set_aside():  # routes and receivers are the project's
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
        priority=_broker_priority(run.priority, producer),
        time_limit=run.time_limit,
        soft_time_limit=run.soft_time_limit,
        retries=content.retries,
        headers={"run_id": str(run.pk), "attempt": run.attempt} | content.tries,
        ignore_result=True,
        add_to_parent=False,
        argsrepr="",
        kwargsrepr="",
    )


class Content(NamedTuple):
    """What a message carries beside whose it is."""

    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    retries: int
    tries: dict[str, int]


def content_of(run: TaskRun) -> Content:
    """What the run carries; where it waits for its own next try, what that carried when the task
    sent it."""
    if run.status != Status.RETRYING or run.token is None:
        return Content(run.task, run.args, run.kwargs, 0, {})
    tries = {"tries": run.retries + 1}
    kept = run.next_try
    if not kept:
        return Content(run.task, run.args, run.kwargs, run.retries + 1, tries)
    args, kwargs = message_json.loads(kept["arguments"])
    return Content(kept["task"], args, kwargs, kept["retries"], tries)


def _broker_priority(priority: int | None, producer: Producer) -> int | None:
    """9 is first here and on RabbitMQ; on Redis 0 is."""
    if priority is None or not takes_batches(producer):
        return priority
    return 9 - priority
