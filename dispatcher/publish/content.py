"""What the message of a run says: its call, and how it goes to the broker."""

from typing import Any, NamedTuple

from kombu.utils import json as message_json

from dispatcher.models import Status, TaskRun
from scheduling import registry
from scheduling.registry.routing import asked_queue

#: Options of a task that nothing of ours stands for. Not `immediate`: RabbitMQ closes the
#: connection of who asks for it, which others publish on as well.
_OF_THE_TASK = ("serializer", "compression", "delivery_mode")
_DESTINATION = ("exchange", "routing_key")


class Content(NamedTuple):
    """What a message carries beside whose it is."""

    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    retries: int
    tries: dict[str, int]


def content_of(run: TaskRun) -> Content:
    """What the message of a run carries: the run's own call; where it waits for its own next try,
    what the task sent with that."""
    if run.status != Status.RETRYING or run.token is None:
        return Content(run.task, run.args, run.kwargs, 0, {})
    tries = {"tries": run.retries + 1}
    kept = run.next_try
    if not kept:
        return Content(run.task, run.args, run.kwargs, run.retries + 1, tries)
    args, kwargs = message_json.loads(kept["arguments"])
    return Content(kept["task"], args, kwargs, kept["retries"], tries)


def options_of(run: TaskRun, task: str, is_redis: bool) -> dict[str, Any]:
    """Options of the message: as the run says, or its task where the run says nothing. Each is
    named, also where there is none: Celery 5.7 would ask the task again, 5.6 would not."""
    own = registry.own_options(task)
    hard, soft = run.time_limit, run.soft_time_limit
    return {
        "priority": own.get("priority") if run.priority is None else _ranked(run, is_redis),
        "time_limit": own.get("time_limit") if hard is None else hard,
        "soft_time_limit": own.get("soft_time_limit") if soft is None else soft,
        "mandatory": bool(own.get("mandatory")),
        "immediate": False,
        **{name: own.get(name) for name in _OF_THE_TASK},
        **_destination(run, own),
    }


def _ranked(run: TaskRun, is_redis: bool) -> int | None:
    """9 is first here and on RabbitMQ; on Redis 0 is. A task's own is in the broker's terms."""
    return 9 - run.priority if is_redis and run.priority is not None else run.priority


def _destination(run: TaskRun, own: dict[str, Any]) -> dict[str, Any]:
    """The task's exchange and routing key lead away from a queue that somebody else chose."""
    says = any(name in own for name in _DESTINATION)
    if says and run.queue not in ("", asked_queue(run.task, run.args, run.kwargs)):
        own = {}
    return {name: own.get(name) for name in _DESTINATION}
