"""Which names a queue for runs can have: those that a broker does not keep for itself.

Looked up in kombu 5.7 (`transport/redis.py`), Celery 5.7 (`app/control.py`, `events`, native
delayed delivery) and the AMQP 0-9-1 specification, where a name is at most 255 bytes.
"""

from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from scheduling.celery_app import celery_app
from scheduling.registry.task_options import own_queue

#: The dispatchers' own queue; what waits in it runs in a dispatcher.
DISPATCHER = "dispatcher"

#: Bytes of a short string of AMQP.
LONGEST = 255

#: RabbitMQ's own; kombu's keys in Redis; Celery's events, remote control, delays and results.
_PREFIXES = ("amq.", "_kombu.", "celeryev", "celery_delayed_", "celery-task-meta-")
_SUFFIXES = (".pidbox",)
#: Keys of Redis in which kombu keeps what workers hold, by the transport option that names them.
_KEYS = {
    "unacked_key": "unacked",
    "unacked_index_key": "unacked_index",
    "unacked_mutex_key": "unacked_mutex",
}


class QueueProblem(NamedTuple):
    """Why no run can be sent to a queue: `code` for programs, `sentence` for people."""

    code: str
    sentence: str


def queue_problem(name: str, task: str = "") -> QueueProblem | None:
    """What is wrong with the name of a queue for runs; None where nothing is. `task`: the one that
    is sent to it, which may bring the queue along."""
    if name != name.strip() or not name.isprintable():
        message = _("The name of a queue has no control characters, and no space at its ends.")
        return QueueProblem("malformed_queue", message)
    if len(name.encode()) > LONGEST:
        message = _("The name of a queue has at most %(limit)d bytes.")
        return QueueProblem("malformed_queue", message % {"limit": LONGEST})
    if _is_dispatchers(name):
        message = _("The queue “dispatcher” is the scheduler's own. Choose another one.")
        return QueueProblem("reserved_queue", message)
    if name in _keys() or name.startswith(_PREFIXES) or name.endswith(_SUFFIXES):
        message = _("The broker or Celery keeps the name “%(queue)s” for itself. Choose another.")
        return QueueProblem("reserved_queue", message % {"queue": name})
    if name and is_undeclared(name) and own_queue(task, name) is None:
        message = _(
            "Celery knows no queue “%(queue)s”, and makes none (task_create_missing_queues). "
            "Add it to task_queues, or choose another one."
        )
        return QueueProblem("undeclared_queue", message % {"queue": name})
    return None


def is_undeclared(name: str) -> bool:
    """Whether Celery knows no such queue, and is told by `task_create_missing_queues` to refuse
    what it does not know."""
    queues: Any = celery_app().amqp.queues
    return not (queues.create_missing or name in queues or name in queues.aliases)


def _is_dispatchers(name: str) -> bool:
    """Also by a suffix: on Redis each priority is a list of its own, `queue`, separator, number."""
    if name == DISPATCHER:
        return bool(celery_app().conf.task_default_queue != DISPATCHER)
    separator = str(_transport_options().get("sep") or "")
    return bool(separator) and name.startswith(DISPATCHER + separator)


def _keys() -> set[str]:
    options = _transport_options()
    return {str(options.get(option) or key) for option, key in _KEYS.items()}


def _transport_options() -> dict[str, Any]:
    return celery_app().conf.broker_transport_options or {}
