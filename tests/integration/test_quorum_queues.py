"""Quorum queues of RabbitMQ: a run starts once, in its second or a little later, never early."""

import os
from collections import Counter
from itertools import product

import pytest

from dispatcher.models import TaskRun
from project.celery import app
from tests.integration.harness import Stack

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        not os.environ.get("TEST_BROKER_URL", "").startswith("amqp"), reason="RabbitMQ has them"
    ),
]

SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.integration.quorum_settings"}
QUEUES, SECONDS = ("topical", "direct"), (0.5, 1.5, 4.2)
SCHEDULE = f"""
from datetime import timedelta
from django.utils import timezone
from scheduling.models import ScheduledTask

task = "tests.integration.tasks_app.tasks.work"
for queue in {QUEUES}:
    for seconds in {SECONDS}:
        at = timezone.now() + timedelta(seconds=seconds)
        ScheduledTask.objects.create_one_time(f"{{queue}} {{seconds}}", task, at, queue=queue)
"""


def test_runs_start_once_and_never_early(stack: Stack) -> None:
    stack.start("worker", queues=",".join(QUEUES), env=SETTINGS)
    stack.manage("shell", "-v", "0", "-c", SCHEDULE, env=SETTINGS)

    runs = TaskRun.objects.all()
    stack.wait_until(lambda: all(run.is_ended for run in runs.all()), 40, "the runs")

    ends = {(run.name, run.status) for run in runs.all()}
    assert ends == {(f"{queue} {s}", "succeeded") for queue, s in product(QUEUES, SECONDS)}
    started = {each.more["run_id"]: each.time for each in stack.executions("work")}
    assert Counter(e.more["run_id"] for e in stack.executions("work")) == Counter(
        str(run.pk) for run in runs.all()
    )
    early = [run.name for run in runs.all() if started[str(run.pk)] < run.start_at.timestamp()]
    assert early == []
    with app.connection_for_write() as connection:  # RabbitMQ has delayed those of the one queue
        connection.default_channel.exchange_declare("celery_delayed_0", "topic", passive=True)
