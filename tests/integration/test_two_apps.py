"""Which Celery app runs are sent with, in a project that has several, or does not import its own.

Real processes of a fresh project, and a second broker, to which nothing may go."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.integration.harness import Stack
from tests.integration.test_adopting import Shop
from tests.servers import Valkey

#: Two apps around the project's own: Celery's current app is the last one made in this thread, and
#: the first one in others.
OTHERS = """
from celery import Celery
first = Celery("first", broker={url!r})
from shop.celery import app
last = Celery("last", broker={url!r})
"""
SCHEDULE = """
import threading
from datetime import timedelta
from django.db import connection
from django.utils import timezone
from scheduling.models import ScheduledTask

def make(name):
    soon = timezone.now() + timedelta(seconds=1)
    ScheduledTask.objects.create_one_time(
        name, "orders.tasks.send_report", soon, kwargs={"name": name}
    )

make("here")
thread = threading.Thread(target=lambda: (make("in a thread"), connection.close()))
thread.start()
thread.join()
"""
STATUS = """
from dispatcher.models import TaskRun
print(*[f"{run.name}: {run.status}" for run in TaskRun.objects.order_by("name")], sep=", ")
"""
CHECK = """
from dispatcher.watch.setup_checks import check_project
print(check_project())
"""
TICK = """
from django.utils import timezone
from datetime import timedelta
from dispatcher.models import TaskRun
from dispatcher.tick import tick
TaskRun.objects.update(publish_at=timezone.now() - timedelta(seconds=1))
print("error:", tick().error)
"""


@pytest.fixture
def shop(tmp_path: Path, empty_queues: str, database: dict[str, object]) -> Iterator[Shop]:
    shop = Shop(tmp_path, empty_queues, database)
    shop.write()
    shop.run("manage.py", "migrate", "-v", "0")
    yield shop
    shop.close()


@pytest.mark.sampled(2)
def test_runs_go_to_the_broker_of_the_app_that_install_was_called_for(
    shop: Shop, private_valkey: Valkey
) -> None:
    init = (shop.directory / "shop/__init__.py").read_text()
    (shop.directory / "shop/__init__.py").write_text(OTHERS.format(url=private_valkey.url) + init)
    shop.start("worker")

    shop.shell(SCHEDULE)

    wait_until = Stack(shop.directory, "", shop.broker_url).wait_until
    wait_until(lambda: shop.log("worker").count("succeeded") == 2, 30, shop.log("worker"))
    assert shop.shell(STATUS).strip() == "here: succeeded, in a thread: succeeded"
    with redis.Redis.from_url(private_valkey.url) as elsewhere:
        assert elsewhere.keys() == []


@pytest.mark.sampled(2)
def test_a_process_without_the_app_leaves_its_runs_to_those_that_have_it(shop: Shop) -> None:
    """As by the book but for the line in `shop/__init__.py`."""
    (shop.directory / "shop/__init__.py").write_text("")

    shop.shell(SCHEDULE)

    assert shop.shell(STATUS).strip() == "here: planned, in a thread: planned"
    assert "dispatcher.W001" in shop.shell(CHECK)
    assert "no Celery app" in shop.shell(TICK)
    assert shop.shell("import shop.celery" + TICK).strip() == "error:"
    assert shop.shell(STATUS).strip() == "here: published, in a thread: published"
