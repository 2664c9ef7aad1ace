"""The Celery tasks that can be scheduled, and their arguments."""

from scheduling.registry.celery_tasks import (
    TaskInfo,
    all_tasks,
    binding_error,
    close_matches,
    describe,
    is_known,
    is_refused,
    queue_for,
    signature_of,
    task_name,
    task_names,
)
from scheduling.registry.queue_names import QueueProblem, queue_problem
from scheduling.registry.sendable import argument_problem, argument_problems, storable

__all__ = [
    "QueueProblem",
    "TaskInfo",
    "all_tasks",
    "argument_problem",
    "argument_problems",
    "binding_error",
    "close_matches",
    "describe",
    "is_known",
    "is_refused",
    "queue_for",
    "queue_problem",
    "signature_of",
    "storable",
    "task_name",
    "task_names",
]
