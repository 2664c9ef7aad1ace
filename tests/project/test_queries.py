"""Each page of the admin takes the same number of queries, however many rows there are."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dispatcher.api.models import ApiToken
from dispatcher.models import Failing, TaskRun, Tick
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import Stop
from tests.browser import board, shop
from tests.browser.addresses import addresses
from tests.browser.board_runs import run_of
from tests.dispatcher.rows import worker

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)

#: How many each page takes, the two for the session and the user among them.
QUERIES = {
    "start": 26,
    "overview": 25,
    "list": 11,
    "list, filtered": 13,
    "list, searched": 11,
    "list, empty": 9,
    "add": 4,
    "task change": 7,
    "task history": 7,
    "task run": 4,
    "task skip": 6,
    "task pause": 5,
    "task backfill": 5,
    "task duplicate": 4,
    "task delete": 5,
    "task runs": 8,
    "task set aside": 7,
    "task paused": 7,
    "task finished": 7,
    "task with a slot skipped": 7,
    "history with changes": 7,
    "unskip": 5,
    "import": 3,
    "export": 11,
    "stop": 5,
    "stops": 5,
    "a stop": 4,
    "runs": 6,
    "runs, filtered": 7,
    "run missed": 7,
    "run cancelled": 7,
    "run succeeded": 7,
    "run failed": 8,
    "run retrying": 8,
    "run running": 7,
    "run planned": 5,
    "cancel": 4,
    "rerun": 5,
    "rerun with other arguments": 5,
    "workers": 5,
    "a worker": 4,
    "ticks": 5,
    "a tick": 4,
    "tokens": 6,
    "token add": 6,
    "token change": 5,
    "token history": 5,
    "token revoke": 5,
}


@pytest.fixture
def rows(admin_user: User) -> Iterator[board.Board]:
    with shop.registered():
        yield board.fill(admin_user, hours=1)


def queries(client: Client, address: str) -> list[str]:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(address).status_code == 200, address
    return [query["sql"] for query in captured.captured_queries]


def grow(rows: board.Board, user: User) -> None:
    """More of everything that a page lists: ten times as many tasks, some hundred runs, ..."""
    now = database_now()
    made = ScheduledTask.objects.bulk_create(
        ScheduledTask(
            name=f"more {n}",
            kind="interval",
            interval_seconds=3600,
            task="shop.tasks.sync_stock",
            group=f"group {n % 20}",
            owner=f"owner {n % 20}",
            next_run_at=now + n * MINUTE,
        )
        for n in range(1, 100)
    )
    runs = []
    for n, task in enumerate([*rows.tasks.values(), *made] * 5, 1):
        at = now - 120 * MINUTE - n * timedelta(seconds=37)
        status = ("succeeded", "failed", "running", "lost")[n % 4]
        ended = None if status == "running" else at
        begun = {"started_at": at, "claimed_at": at, "finished_at": ended, "attempt": 1}
        runs.append(run_of(task, at, status, trigger="manual", worker="w", **begun))
    TaskRun.objects.bulk_create(runs)
    for task, run in zip(made[:30], runs[len(rows.tasks) :], strict=False):
        Failing.objects.create(scheduled_task=task, run=run, since=now, noticed_at=now)
    for n in range(12):
        rows.tasks["orders"].description = f"edit {n}"
        rows.tasks["orders"].save(update_fields=["description"])
        worker(now, f"queue {n}")
        Stop.objects.create(paused_at=now, resumed_at=now, in_force=None)
        ApiToken(name=f"token {n}", user=user, scopes=["read"]).issue(now, by=user)
    Tick.objects.bulk_create(
        Tick(started_at=now - n * MINUTE, finished_at=now, dispatcher="d") for n in range(200)
    )


def test_each_page_takes_as_many_queries_for_many_rows_as_for_few(
    rows: board.Board, admin_client: Client, admin_user: User
) -> None:
    pages = addresses(rows)
    for address in pages.values():
        queries(admin_client, address)  # what is cached once
    few = {name: queries(admin_client, address) for name, address in pages.items()}
    grow(rows, admin_user)
    many = {name: queries(admin_client, address) for name, address in pages.items()}

    differ = {name: (len(few[name]), len(many[name])) for name in pages}
    differ = {name: counts for name, counts in differ.items() if counts[0] != counts[1]}
    assert differ == {}
    assert {name: len(found) for name, found in many.items()} == QUERIES
