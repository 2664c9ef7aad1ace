"""Runs that are published together: those of one queue, those of one lease; and their queues."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from celery import Celery
from kombu import Producer

from dispatcher.models import TaskRun
from dispatcher.publish.broker import ready
from scheduling import registry


def by_queue(runs: list[TaskRun]) -> dict[str, list[TaskRun]]:
    queues: dict[str, list[TaskRun]] = defaultdict(list)
    for run in runs:
        queues[run.queue].append(run)
    return queues


def bound_queues(app: Celery, producer: Producer, runs: list[TaskRun]) -> dict[str, Any]:
    """The queues by name, bound to the producer's channel: kombu copies an unbound one for every
    message, a fifth of the time that a message takes."""
    tasks = {run.queue: run.task for run in runs if run.queue}
    channel: Any = producer.channel
    return {name: _queue(app, task, name).bind(channel) for name, task in tasks.items()}


def _queue(app: Celery, task: str, name: str) -> Any:
    return registry.own_queue(task, name) or app.amqp.queues[name]


def undeclared(app: Celery, producer: Producer, name: str) -> Any:
    """A queue that is there already, bound, and never declared: one with other arguments than
    Celery would give it, say for priorities, takes messages all the same.

    Raises what the broker says where there is none, or where it refuses that, too.
    """
    name = name or app.conf.task_default_queue
    connection: Any = producer.connection
    ready(connection, name)
    queue: Any = app.amqp.queues[name].bind(connection.default_channel)
    queue.no_declare = True
    return queue


def by_lease(runs: Iterable[TaskRun]) -> Iterator[tuple[tuple[int, datetime], list[UUID]]]:
    groups: dict[tuple[int, datetime], list[UUID]] = defaultdict(list)
    for run in runs:
        assert run.publish_at is not None  # `publish` left the others out
        groups[(run.attempt, run.publish_at)].append(run.pk)
    yield from groups.items()
