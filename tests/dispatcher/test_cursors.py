"""Behind a pooler that lends a session for a transaction, a cursor of the server is lost."""

from contextlib import suppress
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection
from django.test import Client

from scheduling.database import in_batches, session
from scheduling.models import ScheduledTask
from tests.dispatcher.admin.pages import LIST
from tests.dispatcher.rows import job

pytestmark = pytest.mark.django_db


@pytest.fixture
def no_cursors(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("a server-side cursor")

    monkeypatch.setattr(connection, "chunked_cursor", refuse)


@pytest.mark.parametrize("command", ["verify_slots", "upcoming", "doctor", "prune_runs"])
def test_commands_need_none(
    no_cursors: None, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job()
    with suppress(SystemExit):  # there is something to say
        call_command(command)
    assert "server-side cursor" not in capsys.readouterr().out


def test_an_export_and_a_deletion_of_many_need_none(no_cursors: None, admin_client: Client) -> None:
    names = [job().name for _n in range(3)]
    text = admin_client.post(f"{LIST}export/", {"format": "csv"}).content.decode()
    assert [name for name in names if name not in text] == []
    assert ScheduledTask.objects.all().delete()[0] == 3


@pytest.mark.parametrize("size", [1, 2, 3, 500])
def test_batches_keep_the_order_of_the_rows(size: int) -> None:
    names = [job(name).name for name in "bdac"]
    rows = ScheduledTask.objects.exclude(name="d")
    assert [row.name for row in in_batches(rows.order_by("name"), size)] == ["a", "b", "c"]
    assert [row["name"] for row in in_batches(rows.order_by("-pk").values("name"), size)] == [
        name for name in reversed(names) if name != "d"
    ]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="of PostgreSQL's poolers")
@pytest.mark.parametrize("disabled", [False, True])
def test_a_check_says_so(monkeypatch: pytest.MonkeyPatch, disabled: bool) -> None:
    def found() -> list[Any]:
        ids = [message.id for message in run_checks(databases=["default"])]
        return [each for each in ids if each == "dispatcher.W007"]

    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", disabled)
    monkeypatch.setattr(session, "_is_pooled", lambda connection, process: False)
    assert found() == []
    monkeypatch.setattr(session, "_is_pooled", lambda connection, process: True)
    assert len(found()) == (0 if disabled else 1)
