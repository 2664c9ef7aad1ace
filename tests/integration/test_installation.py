"""`install(app)`: what it adds to an app, what it leaves as the user set it, and what it costs."""

import os
import pickle
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, Task, signals
from celery.app.defaults import DEFAULTS
from celery.app.task import Context
from celery.schedules import crontab
from celery.utils.imports import symbol_by_name
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from django.db import connection
from django.test.utils import CaptureQueriesContext

import dispatcher
from dispatcher import run_task
from dispatcher.models import TaskRun
from dispatcher.publish import pool
from dispatcher.worker import celery_signals, gate
from dispatcher.worker.consumer import ResilientConsumer, SurvivesRestart, resilient
from dispatcher.worker.installation import CHANGED_SETTINGS
from dispatcher.worker.request import RunRequest, SeesEnds
from project.celery import app as project_app
from tests.integration.tasks_app import tasks

REDIS = "redis://localhost:1/0"

#: Celery's signals that say something of a run or a worker.
LISTENED = (
    signals.before_task_publish,
    signals.task_prerun,
    signals.task_success,
    signals.task_failure,
    signals.task_retry,
    signals.task_postrun,
    signals.task_unknown,
    signals.task_rejected,
    signals.worker_process_shutdown,
    signals.worker_ready,
    signals.worker_shutdown,
)


@pytest.fixture(autouse=True)
def _apps_of_our_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An app made here must not become the one that the product publishes with, and has the
    broker that its settings name, not the one of the test run's environment."""
    monkeypatch.delenv("CELERY_BROKER_URL")
    yield
    project_app.set_current()
    project_app.set_default()


class Settings:
    """A settings object as `config_from_object` takes it."""

    def __init__(self, **columns: Any) -> None:
        self.__dict__.update(columns)


def app_of(namespace: str | None = None, **settings: Any) -> Celery:
    app = Celery(f"app-{uuid.uuid4()}", set_as_current=False)
    app.config_from_object(Settings(**settings), namespace=namespace)
    dispatcher.install(app)
    return app


# What the user set stays --------------------------------------------------------------------------


OURS = ("task_annotations", "beat_schedule", "task_routes")


def test_nothing_is_changed_but_the_gate_the_two_entries_and_their_route() -> None:
    bare = Celery("bare", set_as_current=False)
    bare.config_from_object(Settings(CELERY_BROKER_URL=REDIS), namespace="CELERY")
    conf = app_of("CELERY", CELERY_BROKER_URL=REDIS).conf

    others = set(DEFAULTS) - set(OURS)
    assert {n: conf[n] for n in others} == {n: bare.conf[n] for n in others}
    assert "CELERY_DB_REUSE_MAX" not in conf
    assert set(conf.beat_schedule) == {"dispatcher.tick", "dispatcher.rescue"}
    assert conf.task_routes == {"dispatcher.*": {"queue": "dispatcher"}}
    assert [set(each["*"]) for each in conf.task_annotations] == [{"@before_start"}]


def test_what_is_recommended_is_a_projects_own_settings() -> None:
    settings = {**dispatcher.RECOMMENDED, "CELERY_WORKER_PREFETCH_MULTIPLIER": 4}
    conf = app_of("CELERY", CELERY_BROKER_URL=REDIS, **settings).conf

    assert conf.worker_prefetch_multiplier == 4
    assert conf.worker_disable_prefetch is True
    assert conf.broker_transport_options["socket_timeout"] == 5
    assert symbol_by_name(conf.worker_consumer) is ResilientConsumer


@pytest.mark.parametrize(
    ("namespace", "prefix"),
    [pytest.param("CELERY", "CELERY_", id="django"), pytest.param(None, "", id="plain")],
)
def test_what_the_user_set_stays(namespace: str | None, prefix: str) -> None:
    theirs: dict[str, Any] = {
        "broker_url": REDIS,
        "worker_prefetch_multiplier": 9,
        "task_ignore_result": False,
        "beat_scheduler": "their.own:Scheduler",
        "broker_transport_options": {"socket_timeout": 60},
        "beat_schedule": {"theirs": {"task": "t", "schedule": 5}},
        "task_routes": {"reports.*": {"queue": "reports"}},
    }
    names = {prefix + (name.upper() if prefix else name): name for name in theirs}
    conf = app_of(namespace, **{long: theirs[name] for long, name in names.items()}).conf

    for name in list(theirs)[:5]:
        assert conf[name] == theirs[name], name
    assert set(conf.beat_schedule) == {"theirs", "dispatcher.tick", "dispatcher.rescue"}
    assert conf.task_routes["reports.*"] == {"queue": "reports"}
    assert conf.task_routes["dispatcher.*"] == {"queue": "dispatcher"}


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(None, id="Celery's default"),
        pytest.param("amqp://guest@localhost:1//", id="named"),
        pytest.param("amqp://guest@localhost:1//;amqp://guest@localhost:2//", id="two in a text"),
        pytest.param(["amqp://guest@localhost:1//", "amqp://guest@localhost:2//"], id="a list"),
    ],
)
def test_a_rabbitmq_that_refuses_connections_is_not_tried_again_in_a_save(url: Any) -> None:
    app = app_of(broker_url=url)

    assert pool.connection(app).transport_options == {"max_retries": 0}
    assert app.connection_for_write().transport_options == {}


def test_the_tick_and_the_rescue_have_their_times_and_a_queue_of_their_own() -> None:
    schedule = app_of("CELERY", CELERY_BROKER_URL=REDIS).conf.beat_schedule
    tick, rescue = schedule["dispatcher.tick"], schedule["dispatcher.rescue"]

    assert (tick["task"], rescue["task"]) == ("dispatcher.tick", "dispatcher.rescue")
    assert tick["options"] == {"queue": "dispatcher", "expires": 55}
    assert rescue["options"] == {"queue": "dispatcher", "expires": 18}
    assert tick["schedule"] == crontab()
    assert rescue["schedule"].seconds == 20


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_a_frozen_redis_hangs_nobody(scheme: str) -> None:
    app = app_of(broker_url=f"{scheme}://localhost:1/0")

    options = pool.connection(app).transport_options

    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (5, 2)
    assert options["max_retries"] == 0
    assert app.connection_for_write().transport_options == {}


def test_times_that_the_user_set_are_those_of_our_connections_too() -> None:
    theirs = {"socket_timeout": 60, "global_keyprefix": "theirs", "max_retries": 9}
    app = app_of(broker_url=REDIS, broker_transport_options=theirs)

    options = pool.connection(app).transport_options

    assert (options["socket_timeout"], options["global_keyprefix"]) == (60, "theirs")
    assert not options["retry_on_timeout"]
    assert options["max_retries"] == 0
    assert pool.producers(app) is not app.producer_pool
    assert pool.producers(app) is pool.producers(app)


@pytest.mark.parametrize("name", ["dispatcher.tick", "dispatcher.rescue"])
def test_an_entry_fires_though_its_last_run_is_in_the_future(name: str) -> None:
    schedule = pickle.loads(pickle.dumps(app_of().conf.beat_schedule[name]["schedule"]))
    now = schedule.now()

    wait = schedule.is_due(now + timedelta(days=30)).next

    assert 0 < wait <= 60
    assert schedule.is_due(now - timedelta(minutes=2)).is_due


def test_a_tick_that_is_late_is_worth_nothing_whatever_beat_makes_of_its_entry() -> None:
    for name, entry in app_of().conf.beat_schedule.items():
        assert project_app.tasks[name].expires == entry["options"]["expires"]


def test_it_says_what_it_changed() -> None:
    app = app_of(task_routes={"reports.*": {"queue": "reports"}})
    assert app.conf  # read, and with it changed

    changes = {change.setting: change for change in CHANGED_SETTINGS[app]}

    assert set(changes) == set(OURS)
    assert changes["task_routes"].old == {"reports.*": {"queue": "reports"}}
    assert changes["task_routes"].new == app.conf.task_routes
    assert all(change.why for change in changes.values())


def test_the_users_own_entry_and_route_win_over_ours() -> None:
    entry = {"task": "dispatcher.tick", "schedule": 5}
    conf = app_of(
        beat_schedule={"dispatcher.tick": entry},
        task_routes={"dispatcher.*": {"queue": "theirs"}},
    ).conf

    assert conf.beat_schedule["dispatcher.tick"] == entry
    assert "dispatcher.rescue" in conf.beat_schedule
    assert conf.task_routes == {"dispatcher.*": {"queue": "theirs"}}


def their_router(name: str, *args: Any, **options: Any) -> dict[str, str]:
    return {"queue": "theirs"}


@pytest.mark.parametrize(
    "routes", [their_router, [their_router], (their_router,)], ids=["alone", "list", "tuple"]
)
def test_routers_of_the_users_see_every_task_but_ours(routes: Any) -> None:
    app = app_of(task_routes=routes)
    route = app.amqp.router.route

    assert route({}, "dispatcher.tick")["queue"].name == "dispatcher"
    assert route({}, "reports.send")["queue"].name == "theirs"


# The gate is around every task --------------------------------------------------------------------


class Base(Task):
    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        seen.append("base")


seen: list[str] = []


def do() -> None: ...


def do_bound(self: Task) -> None: ...


def started(task: Any, **headers: Any) -> list[str]:
    """Call `before_start` as a worker does; what was called, the gate included."""
    seen.clear()
    task.push_request(id="1", **headers)
    try:
        task.before_start("1", (), {})
    finally:
        task.pop_request()
    return list(seen)


@pytest.fixture
def noting_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "enter", lambda request: seen.append("gate"))


def test_the_gate_is_around_tasks_of_every_kind(noting_gate: None) -> None:
    app = app_of("CELERY")

    plain = app.task(do, name="plain", shared=False)
    bound = app.task(do_bound, name="bound", bind=True, shared=False)
    based = app.task(do, name="based", base=Base, shared=False)

    assert started(plain, run_id="x") == ["gate"]
    assert started(bound, run_id="x") == ["gate"]
    assert started(based, run_id="x") == ["gate", "base"]
    assert started(based) == ["base"]


@pytest.mark.parametrize("shape", ["dict", "list"])
def test_the_users_own_annotations_stay(noting_gate: None, shape: str) -> None:
    def theirs(before_start: Any) -> Any:
        def noting(self: Any, *args: Any) -> Any:
            seen.append("theirs")
            return before_start(self, *args)

        return noting

    annotations: Any = {"*": {"rate_limit": "3/s", "@before_start": theirs}}
    app = app_of(task_annotations=[annotations] if shape == "list" else annotations)
    task = app.task(do, name="annotated", base=Base, shared=False)

    assert started(task, run_id="x") == ["gate", "theirs", "base"]
    assert task.rate_limit == "3/s"


def test_tasks_bound_before_install_get_the_gate_when_a_worker_starts(noting_gate: None) -> None:
    from dispatcher.worker import installation

    app = Celery("late", set_as_current=False)
    task = app.task(do, name="early", base=Base, shared=False)
    app.finalize()
    assert started(task, run_id="x") == ["base"]

    dispatcher.install(app)
    installation.guard_tasks(app)

    assert started(task, run_id="x") == ["gate", "base"]
    assert task.Request is RunRequest


class TheirRequest(Request):
    pass


@pytest.mark.parametrize(
    "theirs", [TheirRequest, f"{__name__}:TheirRequest"], ids=["class", "path"]
)
def test_a_request_class_of_the_users_is_extended_not_replaced(theirs: Any) -> None:
    from dispatcher.worker import installation

    app = app_of()
    task = app.task(do, name="watched", base=Base, shared=False, Request=theirs)
    app.finalize()
    installation.guard_tasks(app)
    installation.guard_tasks(app)

    assert issubclass(task.Request, SeesEnds)
    assert task.Request.__mro__.count(SeesEnds) == 1
    assert {base.__name__ for base in task.Request.__mro__} >= {"TheirRequest", "Request"}


def test_a_consumer_of_the_users_can_be_made_to_survive() -> None:
    made = resilient("celery.worker.consumer:Consumer")

    assert issubclass(made, Consumer) and issubclass(made, SurvivesRestart)
    assert resilient(made) is made


def test_annotations_for_some_tasks_stay_beside_the_gate(noting_gate: None) -> None:
    annotations: Any = [{"some": {"priority": 3}}, {"*": {"rate_limit": "7/s"}}]
    app = app_of(task_annotations=annotations)
    some = app.task(do, name="some", shared=False)
    other = app.task(do, name="other", shared=False)

    assert (some.priority, some.rate_limit, other.rate_limit) == (3, "7/s", "7/s")
    assert started(some, run_id="x") == started(other, run_id="x") == ["gate"]


def test_a_message_without_a_run_does_not_reach_the_gate(noting_gate: None) -> None:
    task = app_of().task(do, name="plain", shared=False)

    assert started(task) == started(task, run_id=None) == []


def test_the_hook_behind_the_gate_gets_what_celery_gave_and_only_when_it_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def veto(request: Any) -> None:
        raise gate.Vetoed("no")

    class Hooked(Task):
        def before_start(self, task_id: str, args: Any, kwargs: Any) -> str:
            got.append((task_id, args, kwargs))
            return "its answer"

    got: list[Any] = []
    task = app_of().task(do, name="hooked", base=Hooked, shared=False)
    monkeypatch.setattr(gate, "enter", lambda request: None)
    task.push_request(id="1", run_id="x")
    try:
        assert task.before_start("1", (1,), {"a": 2}) == "its answer"
        assert got == [("1", (1,), {"a": 2})]
        monkeypatch.setattr(gate, "enter", veto)
        with pytest.raises(gate.Vetoed):
            task.before_start("1", (1,), {"a": 2})
    finally:
        task.pop_request()
    assert len(got) == 1


def test_a_task_that_has_the_gate_gets_no_second_one(noting_gate: None) -> None:
    from dispatcher.worker import installation

    app = app_of()
    task = app.task(do, name="guarded", base=Base, shared=False)
    app.finalize()
    installation.guard_tasks(app)
    installation.guard_tasks(app)

    assert started(task, run_id="x") == ["gate", "base"]


def test_a_worker_that_starts_has_an_identity_the_listeners_and_the_gate(
    noting_gate: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gate.WORKER_ID, "before")
    monkeypatch.setenv(celery_signals.MAIN_PID, "before")
    app = Celery("starting", set_as_current=False)
    task = app.task(do, name="started", base=Base, shared=False)
    app.finalize()
    for signal in (signals.worker_init, *LISTENED):
        monkeypatch.setattr(signal, "receivers", [])
    dispatcher.install(app)
    controller = type("WorkController", (), {"app": app})()

    signals.worker_init.send(sender=controller)

    assert uuid.UUID(os.environ[gate.WORKER_ID])
    assert os.environ[celery_signals.MAIN_PID] == str(os.getpid())
    assert started(task, run_id="x") == ["gate", "base"]
    assert [len(signal.receivers) for signal in LISTENED] == [1] * len(LISTENED)


# What it costs ------------------------------------------------------------------------------------


def later() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def request_for(run: TaskRun) -> Context:
    return Context(
        id=str(uuid.uuid4()), retries=0, hostname="here", run_id=str(run.pk), attempt=run.attempt
    )


@pytest.mark.django_db(transaction=True)
def test_a_plain_run_costs_two_queries() -> None:
    run = run_task(tasks.ok, [1], at=later())
    request = request_for(run)

    with CaptureQueriesContext(connection) as queries:
        gate.enter(request)
        celery_signals.on_success(SimpleNamespace(request=request), result={"a": 1})
        celery_signals.on_postrun(SimpleNamespace(request=request), state="SUCCESS")

    assert [query["sql"].split()[0] for query in queries] == ["UPDATE", "UPDATE"]
    run.refresh_from_db()
    assert (run.status, run.result) == ("succeeded", {"a": 1})


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("headers", [{}, {"run_id": "abc"}, {"run_id": 7}])
def test_a_message_that_is_not_ours_costs_none(headers: dict[str, Any]) -> None:
    request = Context(id="1", retries=0, hostname="here", **headers)

    with CaptureQueriesContext(connection) as queries:
        gate.enter(request)
        celery_signals.on_success(SimpleNamespace(request=request), result=1)
        celery_signals.on_failure(SimpleNamespace(request=request), exception=ValueError("x"))
        celery_signals.on_retry(request=request, reason="later")
        for state in ("SUCCESS", "IGNORED", "REJECTED", None):
            celery_signals.on_postrun(SimpleNamespace(request=request), state=state)

    assert len(queries) == 0
