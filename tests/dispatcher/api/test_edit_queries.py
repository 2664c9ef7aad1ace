"""What an edit costs: at most so many queries, savepoints not counted."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dispatcher.api.models import ApiToken
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.api.conftest import Api
from tests.dispatcher.rows import OK

pytestmark = pytest.mark.django_db

#: Once a year: an edit plans nothing. Once a minute: it deletes one or two runs, and plans others.
RARE, OFTEN = "0 9 1 1 *", "* * * * *"

SAVEPOINTS = ("SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT")


def queries(work: Callable[[], Any]) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        work()
    asked = [query["sql"].strip() for query in captured.captured_queries]
    return [sql for sql in asked if not sql.startswith(SAVEPOINTS)]


def cron(name: str = "job", expression: str = RARE) -> ScheduledTask:
    return ScheduledTask.objects.create_cron(name, OK, expression)


@pytest.fixture(autouse=True)
def warmed(db: None) -> None:
    """What a process asks once."""
    task = cron("warm", OFTEN)
    task.pause()
    task.resume()


def create(task: ScheduledTask, expression: str) -> None:
    cron("another", expression)


def insert(task: ScheduledTask, expression: str) -> None:
    ScheduledTask(name="another", task=OK, kind="cron", cron_expression=expression).save()


def save(task: ScheduledTask, expression: str) -> None:
    task.cron_expression = "1 9 1 1 *" if expression == RARE else "*/2 * * * *"
    task.save()


def remark(task: ScheduledTask, expression: str) -> None:
    task.description = "why"
    task.save(update_fields=["description"])


def update(task: ScheduledTask, expression: str) -> None:
    ScheduledTask.objects.filter(pk=task.pk).update(queue="other")


def resume(task: ScheduledTask, expression: str) -> None:
    task.resume()


EDITS: dict[str, tuple[Callable[[ScheduledTask, str], Any], int, int]] = {
    "create_cron": (create, 4, 8),
    "save of a new one": (insert, 4, 8),
    "save": (save, 5, 11),
    "save of a remark": (remark, 4, 4),
    "update": (update, 6, 12),
    "pause": (lambda task, expression: task.pause(), 5, 7),
    "resume": (resume, 5, 9),
    "skip_next": (lambda task, expression: task.skip_next(), 6, 12),
    "delete": (lambda task, expression: task.delete(), 7, 8),
}


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("expression", [RARE, OFTEN], ids=["rare", "often"])
def test_an_edit_takes_at_most_so_many(name: str, expression: str) -> None:
    edit, rare, often = EDITS[name]
    task = cron(expression=expression)
    if name == "resume":
        task.pause()
    asked = queries(lambda: edit(task, expression))
    assert len(asked) <= (rare if expression == RARE else often), "\n".join(asked)


@pytest.mark.parametrize("name", [name for name in EDITS if name not in ("update", "delete")])
def test_an_edit_reads_its_row_once_and_writes_it_once(name: str) -> None:
    """Where it has no runs: to plan and to give back slots is written apart."""
    task = cron()
    if name == "resume":
        task.pause()
    asked = queries(lambda: EDITS[name][0](task, RARE))
    row = f'"{ScheduledTask._meta.db_table}"'.replace('"', connection.ops.quote_name("x")[0])
    reads = [sql for sql in asked if sql.startswith("SELECT") and f"{row}." in sql]
    writes = [sql for sql in asked if sql.startswith((f"UPDATE {row}", f"INSERT INTO {row}"))]
    assert (len(reads), len(writes)) == (1, 1)  # of a new one: whether its name is taken


def by_token() -> Api:
    ben = get_user_model().objects.create_user("ben")
    names = ("change_scheduledtask", "view_scheduledtask")
    ben.user_permissions.set(Permission.objects.filter(codename__in=names))
    token = ApiToken(name="ci", user=ben, scopes=["read", "write"]).issue(database_now(), by=ben)
    return Api(Client(headers={"authorization": f"Bearer {token}"}))


@pytest.mark.parametrize(("who", "most"), [("session", 10), ("token", 11)])
def test_a_patch_of_the_cron_takes_at_most_so_many(api: Api, who: str, most: int) -> None:
    client = api if who == "session" else by_token()
    task = cron()
    path = f"scheduled-tasks/{task.pk}/"
    assert client.patch(path, {"cron_expression": "1 9 1 1 *"}).status_code == 200
    asked = queries(lambda: client.patch(path, {"cron_expression": "2 9 1 1 *"}))
    task.refresh_from_db()
    assert task.cron_expression == "2 9 1 1 *"
    assert len(asked) <= most, "\n".join(asked)
