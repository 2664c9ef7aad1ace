"""A broker that is found by a Redis Sentinel: with the name of the master it is as any other."""

from collections.abc import Iterator

import pytest
import redis

from dispatcher.models import TaskRun
from tests.integration.harness import Stack
from tests.servers import Sentinel, Valkey

pytestmark = pytest.mark.django_db(transaction=True)

SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.integration.sentinel_settings"}
SCHEDULE = """
from datetime import timedelta
from django.utils import timezone
from dispatcher.watch import figures
from scheduling.models import ScheduledTask

task = "tests.integration.tasks_app.tasks.record"
soon = timezone.now() + timedelta(seconds=1)
ScheduledTask.objects.create_one_time("by sentinel", task, soon, args=["once"])
print(figures.depths([]))
"""


@pytest.fixture
def sentinel() -> Iterator[Sentinel]:
    master = Valkey().start()
    sentinel = Sentinel(master).start()
    sentinel.master = master  # type: ignore[attr-defined]
    yield sentinel
    sentinel.close()
    master.close()


@pytest.mark.sampled(2)
def test_runs_go_through_a_sentinel(stack: Stack, sentinel: Sentinel) -> None:
    stack.broker_url = sentinel.url
    stack.start("worker", pool="threads", env=SETTINGS)
    assert "no issues" in stack.manage("check", env=SETTINGS)

    said = stack.manage("shell", "-v", "0", "-c", SCHEDULE, env=SETTINGS)

    stack.wait_until(lambda: TaskRun.objects.filter(status="succeeded").exists(), 30, "the run")
    assert len(stack.executions("once")) == 1
    assert "Depth(queue='dispatcher', ready=0)" in said
    with redis.Redis.from_url(sentinel.master.url) as client:  # type: ignore[attr-defined]
        assert client.exists("_kombu.binding.celery")


def test_without_the_name_of_the_master_the_check_says_what_to_do(
    stack: Stack, sentinel: Sentinel
) -> None:
    stack.broker_url = sentinel.url
    checked = stack.run("check", ["manage.py", "check"])
    assert checked.wait() == 1
    assert "dispatcher.E006" in checked.log and '"master_name"' in checked.log
