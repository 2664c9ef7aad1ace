"""Runs without a broker: in this process under `task_always_eager`, not at all under Django's test
runner.

`send_task` knows nothing of `task_always_eager`, which stands in the settings of most projects'
tests: it would publish to the broker that their production uses.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from celery import Celery
from django.core import mail

from dispatcher import conf
from dispatcher.models import TaskRun

logger = logging.getLogger(__name__)


def is_held_back() -> bool:
    """Whether nothing may be sent: Django's `setup_test_environment` is in force (which is what
    puts an outbox there), and SCHEDULER_PUBLISH_IN_TESTS does not ask for messages."""
    return hasattr(mail, "outbox") and not conf.PUBLISH_IN_TESTS.value


def execute(app: Celery, runs: Sequence[TaskRun], now: datetime) -> int:
    """Run those that are due, here and now, through the gate; how many. Those of later instants
    wait for a tick of that time, as nobody holds their messages."""
    due = [run for run in runs if run.start_at <= now]
    for run in due:
        _execute(app, run)
    return len(due)


def _execute(app: Celery, run: TaskRun) -> None:
    """What the task raises is on its row; the caller is not the one who called the task."""
    task = app.tasks.get(run.task)
    if task is None:
        logger.error("Run %s: this process knows no task %s", run.pk, run.task)
        return
    headers: Any = {"run_id": str(run.pk), "attempt": run.attempt}
    task.apply(run.args, run.kwargs, task_id=str(uuid4()), throw=False, headers=headers)
