"""The Celery tasks that can be scheduled, and their arguments."""

from scheduling.registry.celery_tasks import (
    TaskInfo,
    all_tasks,
    binding_error,
    close_matches,
    describe,
    is_known,
    is_refused,
    signature_of,
    task_names,
)
from scheduling.registry.queue_names import QueueProblem, is_undeclared, queue_problem
from scheduling.registry.routing import RouteError, asked_queue, depends_on_arguments, queue_for
from scheduling.registry.sendable import argument_problem, argument_problems, storable
from scheduling.registry.task_options import own_expiry, own_options, own_queue

__all__ = [
    "QueueProblem",
    "RouteError",
    "TaskInfo",
    "all_tasks",
    "argument_problem",
    "argument_problems",
    "asked_queue",
    "binding_error",
    "close_matches",
    "depends_on_arguments",
    "describe",
    "is_known",
    "is_refused",
    "is_undeclared",
    "own_expiry",
    "own_options",
    "own_queue",
    "queue_for",
    "queue_problem",
    "signature_of",
    "storable",
    "task_names",
]
