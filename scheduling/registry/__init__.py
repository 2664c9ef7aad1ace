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

__all__ = [
    "TaskInfo",
    "all_tasks",
    "binding_error",
    "close_matches",
    "describe",
    "is_known",
    "is_refused",
    "queue_for",
    "signature_of",
    "task_name",
    "task_names",
]
