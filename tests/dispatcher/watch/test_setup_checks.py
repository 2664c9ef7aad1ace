"""The system checks of how the project is set up, each with its remedy; and `doctor --install`."""

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from celery import Celery
from celery.app import app_or_default
from django.apps import apps
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connections, router

import dispatcher
from dispatcher import extras
from dispatcher.recommended import RECOMMENDATIONS
from dispatcher.tick import tick
from dispatcher.watch import setup_checks
from dispatcher.watch.doctor import installed
from dispatcher.worker import installation
from project.celery import app as project_app
from scheduling import celery_app
from scheduling.database import clock_offset, database_now
from tests.dispatcher.rows import job


@pytest.fixture(autouse=True)
def _no_apps_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """They linger until Python collects them."""
    monkeypatch.setattr(installation, "INSTALLED", {project_app})


@pytest.fixture
def other_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """The Celery app of this process, in which nothing is installed yet."""
    monkeypatch.delenv("CELERY_BROKER_URL")
    app = Celery("other", set_as_current=False)
    app.conf.broker_url = "redis://localhost:1/0"
    monkeypatch.setattr(celery_app, "_ours", None)
    monkeypatch.setattr(installation, "INSTALLED", set())
    app.set_current()
    yield app
    project_app.set_current()
    project_app.set_default()


def found() -> list[str]:
    messages = setup_checks.check_project()
    assert all(message.hint for message in messages)
    return [str(message.id) for message in messages]


def test_nothing_is_said_of_this_project() -> None:
    assert [m.id for m in run_checks() if str(m.id).startswith("dispatcher.")] == []
    assert found() == []


def test_times_without_zones(settings: Any) -> None:
    settings.USE_TZ = False
    assert found() == ["dispatcher.E002"]


def test_a_process_without_install(other_app: Celery) -> None:
    assert found() == ["dispatcher.W001"]


def test_install_on_two_apps(other_app: Celery) -> None:
    dispatcher.install(other_app)
    assert found() == []
    another = Celery("another", set_as_current=False)
    dispatcher.install(another)
    (said,) = setup_checks.check_project()
    assert (said.id, celery_app.celery_app()) == ("dispatcher.W002", other_app)
    assert "'another', 'other': runs are sent with 'other', the first" in said.msg


def test_the_app_is_the_one_with_install_whatever_was_made_last(other_app: Celery) -> None:
    dispatcher.install(other_app)
    last = Celery("last")
    assert app_or_default() is last
    assert celery_app.celery_app() is other_app


def test_celerys_default_broker(other_app: Celery) -> None:
    dispatcher.install(other_app)
    other_app.conf.broker_url = None
    assert found() == ["dispatcher.W003"]


def test_a_redis_without_its_client(monkeypatch: pytest.MonkeyPatch, other_app: Celery) -> None:
    dispatcher.install(other_app)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert found() == ["dispatcher.E004"]


@pytest.mark.parametrize(
    "url", ["rediss://localhost:1/0", "sentinel://localhost:1", ["redis://a:1/0", "redis://b:1/0"]]
)
def test_a_redis_is_known_by_its_transport(url: Any, other_app: Celery) -> None:
    dispatcher.install(other_app)
    other_app.conf.broker_url = url

    assert {each.name for each in installed.missing(other_app)} == {r.name for r in RECOMMENDATIONS}


def test_a_sentinel_without_the_name_of_its_master(other_app: Celery) -> None:
    dispatcher.install(other_app)
    other_app.conf.broker_url = "sentinel://localhost:1;sentinel://localhost:2"
    assert found() == ["dispatcher.E006"]
    other_app.conf.broker_transport_options = {"master_name": "mymaster"}
    assert found() == []


@pytest.mark.parametrize("method", ["db_for_read", "db_for_write"])
def test_a_router_that_sends_our_tables_elsewhere(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Router:
        pass

    setattr(Router, method, lambda self, model, **hints: "replica")
    monkeypatch.setattr(router, "routers", [Router()])
    assert found() == ["dispatcher.E003"]


def test_no_queue_for_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = project_app.amqp.queues
    monkeypatch.setattr(queues, "create_missing", False)
    monkeypatch.setitem(queues, "dispatcher", queues["celery"])
    assert found() == []
    monkeypatch.delitem(queues, "dispatcher")
    assert found() == ["dispatcher.E005"]


def test_apps_behind_the_admin(monkeypatch: pytest.MonkeyPatch) -> None:
    behind = sorted(apps.get_app_configs(), key=lambda config: config.name == "dispatcher")
    monkeypatch.setattr(apps, "get_app_configs", lambda: behind)
    assert found() == ["dispatcher.W004"]


# doctor -------------------------------------------------------------------------------------------


def lines() -> str:
    out = StringIO()
    call_command("doctor", "--install", stdout=out)
    return out.getvalue()


def test_doctor_says_what_install_changed_and_what_is_recommended() -> None:
    said = lines()

    for name in ("task_annotations", "beat_schedule", "task_routes"):
        assert f"- {name}: " in said
    assert said.count(" → ") == said.count("  because ") == 3
    assert "All that is recommended is set." in said


def test_doctor_names_what_is_recommended_and_what_happens_without(other_app: Celery) -> None:
    dispatcher.install(other_app)
    said = lines()

    for each in RECOMMENDATIONS:
        assert f"- CELERY_{each.name.upper()} = " in said
        assert f"  Without it {each.without}." in said


def test_doctor_without_install_says_so(other_app: Celery) -> None:
    said = "dispatcher.install was not called in this process: its Celery app is 'other'."
    assert said in lines()


@pytest.mark.parametrize("each", RECOMMENDATIONS, ids=lambda each: each.name)
def test_each_that_is_missing_is_an_advice_and_no_fault(each: Any, other_app: Celery) -> None:
    other_app.conf.update({r.name: r.value for r in RECOMMENDATIONS if r is not each})
    other_app.conf[each.name] = {} if isinstance(each.value, dict) else "theirs"

    advice = list(installed.check_recommended(None))  # type: ignore[arg-type]

    assert [(f.code, f.is_advice) for f in advice] == [(f"not_set_{each.name}", True)]
    assert each.without in advice[0].sentence


def test_what_is_for_redis_is_not_asked_of_rabbitmq(other_app: Celery) -> None:
    other_app.conf.broker_url = "amqp://guest@localhost:1//"

    names = {each.name for each in installed.missing(other_app)}

    assert names == {r.name for r in RECOMMENDATIONS if not r.on_redis_only}


# The zone of the database -------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_times_in_a_zone_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL keeps instants all the same; on the others the clock would be hours off."""
    database = connections["default"]
    names = ("timezone", "timezone_name")
    monkeypatch.setitem(database.settings_dict, "TIME_ZONE", "Asia/Shanghai")
    for name in names:  # remembered by Django
        vars(database).pop(name, None)
    database.close()
    try:
        if not database.features.supports_timezones:
            assert found() == ["dispatcher.E007"]
            return
        assert found() == []
        before = database_now()
        task = job(every=60)
        slot = task.upcoming(1)[0]
        tick()
        assert (task.runs.get().slot, task.runs.get().planned_at >= before) == (slot, True)
        assert abs(clock_offset()) < 5
    finally:
        monkeypatch.undo()
        for name in names:
            vars(database).pop(name, None)
        database.close()
