"""A project whose router sends reads to a replica, which lags behind: ours go to the primary."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections, router
from django.test import Client

import dispatcher
from dispatcher.api.models import ApiToken
from dispatcher.models import TaskRun
from dispatcher.tick import rescue_pass, tick
from dispatcher.worker import celery_signals, gate
from scheduling.database import database_now, own_connection
from scheduling.models import ScheduledTask
from tests.browser import board, shop
from tests.browser.addresses import addresses
from tests.dispatcher.admin.pages import ADD_PAGE, GOOD, LIST, submit
from tests.dispatcher.api.conftest import Api
from tests.dispatcher.rows import job
from tests.dispatcher.worker.test_gate import request_for

OURS = ("scheduling", "dispatcher", "scheduling_api")

pytestmark = pytest.mark.django_db(transaction=True)


class ToReplica:
    """As the project may have it, but that its users are not on a replica here."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "replica" if model._meta.app_label in OURS else None


@pytest.fixture
def replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One that no test may ask, so that whatever is read there fails."""
    behind = {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "behind", "OPTIONS": {}}
    settings = connections.settings["default"] | behind
    monkeypatch.setitem(connections.settings, "replica", settings)
    monkeypatch.setattr(router, "routers", [ToReplica()])
    with pytest.raises(AssertionError, match="connections to 'replica' are not allowed"):
        TaskRun.objects.count()
    for label in OURS:
        apps.get_app_config(label).ready()
    yield
    connections["replica"].close()
    del connections["replica"]


def test_every_page_of_the_admin(replica: None, admin_client: Client, admin_user: User) -> None:
    with shop.registered():
        rows = board.fill(admin_user, hours=1)
        for address in addresses(rows).values():
            assert admin_client.get(address).status_code == 200, address


def test_edits_by_the_form_the_api_and_code(replica: None, admin_client: Client) -> None:
    submit(admin_client, ADD_PAGE, **GOOD)
    row = ScheduledTask.objects.get()
    submit(admin_client, f"{LIST}{row.pk}/change/", description="by the form")
    api, one = Api(admin_client), f"scheduled-tasks/{row.pk}/"
    answers = [
        api.patch(one, {"description": "by the API"}),
        *(api.post(one + verb) for verb in ("pause/", "resume/", "run/", "skip-next/")),
        *(api.get(one + more) for more in ("", "upcoming/", "runs/")),
        *(api.get(path) for path in ("scheduled-tasks/", "runs/", "tasks/")),
        api.create(name="another"),
    ]
    assert {answer.status_code for answer in answers[:-1]} <= {200, 201}
    row.refresh_from_db()
    row.description = "by code"
    row.save(update_fields=["description"])
    ScheduledTask.objects.filter(pk=row.pk).update(queue="other")
    told = row.history.values_list("description", flat=True)
    assert [*told][::-1][:3] == ["", "by the form", "by the API"]
    assert ScheduledTask.objects.all().delete()[0] == 2


def test_the_life_of_a_run(replica: None, sent_messages: Any) -> None:
    task = job(every=60, overlap_policy="queue_one", pause_after_failures=2)
    tick()
    run = dispatcher.run_now(task)
    own_connection.enable()
    for step in (celery_signals.on_success, celery_signals.on_failure):
        request = request_for(run)
        gate.enter(request)
        step(SimpleNamespace(request=request), result=1, exception=ValueError())
        run = dispatcher.rerun(run)
    rescue_pass()
    assert dispatcher.cancel(run)
    assert TaskRun.objects.filter(status="succeeded").count() == 1


@pytest.mark.parametrize(
    "words",
    [
        "tick",
        "doctor",
        "upcoming",
        "prune_runs",
        "verify_slots",
        "pause_everything",
        "resume_everything",
        "check",
    ],
)
def test_the_commands(replica: None, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    job()
    with suppress(SystemExit):  # doctor has something to say
        call_command(words)
    assert "check_failed" not in capsys.readouterr().out


def test_a_user_who_was_read_from_a_replica_can_be_named(replica: None, admin_user: User) -> None:
    admin_user._state.db = "replica"
    token = ApiToken(name="ci", user=admin_user, scopes=["read"])
    token.issue(database_now(), by=admin_user)
    assert ApiToken.objects.get(pk=token.pk).user == admin_user
