"""`install(app)`: what it adds to an app, what it leaves as the user set it, and what it costs."""

import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, Task, signals
from celery.app.task import Context
from celery.fixups.django import DjangoWorkerFixup
from celery.schedules import crontab
from django.db import connection
from django.test.utils import CaptureQueriesContext

import dispatcher
from dispatcher import run_task
from dispatcher.models import TaskRun
from dispatcher.worker import celery_signals, gate
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


def test_what_nobody_set_is_filled_in() -> None:
    conf = app_of("CELERY", CELERY_BROKER_URL=REDIS).conf

    assert conf.worker_prefetch_multiplier == 1
    assert conf.task_ignore_result is True
    assert conf.worker_disable_prefetch is True
    assert conf.worker_consumer == "dispatcher.worker.consumer:ResilientConsumer"
    assert conf.broker_connection_max_retries is None
    assert conf.broker_transport_options["socket_timeout"] == 5
    assert set(conf.beat_schedule) == {"dispatcher.tick", "dispatcher.rescue"}


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
        "worker_consumer": "their.own:Consumer",
        "worker_disable_prefetch": False,
        "broker_connection_max_retries": 5,
        "broker_transport_options": {"socket_timeout": 60},
        "beat_schedule": {"theirs": {"task": "t", "schedule": 5}},
        "task_routes": {"reports.*": {"queue": "reports"}},
    }
    names = {prefix + (name.upper() if prefix else name): name for name in theirs}
    conf = app_of(namespace, **{long: theirs[name] for long, name in names.items()}).conf

    for name in list(theirs)[:7]:
        assert conf[name] == theirs[name], name
    assert conf.broker_transport_options["socket_timeout"] == 60
    assert conf.broker_transport_options["visibility_timeout"] == 3600
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
    conf = app_of(broker_url=url).conf

    assert conf.broker_transport_options == {"max_retries": 0}
    assert not conf.worker_disable_prefetch  # a feature of Redis


def test_names_from_before_celery_4_count_as_set() -> None:
    conf = app_of(BROKER_URL=REDIS, CELERYD_PREFETCH_MULTIPLIER=12).conf

    assert conf.worker_prefetch_multiplier == 12


def test_values_set_on_conf_count_before_and_after_install() -> None:
    before = Celery("before", set_as_current=False)
    before.conf.worker_prefetch_multiplier = 7
    dispatcher.install(before)
    after = Celery("after", set_as_current=False)
    dispatcher.install(after)
    after.conf.worker_prefetch_multiplier = 8

    assert before.conf.worker_prefetch_multiplier == 7
    assert after.conf.worker_prefetch_multiplier == 8
    assert before.conf.task_ignore_result is after.conf.task_ignore_result is True


@pytest.mark.parametrize("namespace", ["CELERY", "OTHER", None])
def test_celery_reads_how_often_a_connection_is_reused(namespace: str | None) -> None:
    assert DjangoWorkerFixup(app_of(namespace)).db_reuse_max == 1000


def test_how_often_a_connection_is_reused_can_be_set() -> None:
    assert DjangoWorkerFixup(app_of("CELERY", CELERY_DB_REUSE_MAX=3)).db_reuse_max == 3


def test_the_tick_and_the_rescue_have_their_times_and_a_queue_of_their_own() -> None:
    schedule = app_of("CELERY", CELERY_BROKER_URL=REDIS).conf.beat_schedule
    tick, rescue = schedule["dispatcher.tick"], schedule["dispatcher.rescue"]

    assert (tick["task"], rescue["task"]) == ("dispatcher.tick", "dispatcher.rescue")
    assert tick["options"] == {"queue": "dispatcher", "expires": 55}
    assert rescue["options"] == {"queue": "dispatcher", "expires": 18}
    assert tick["schedule"] == crontab()
    assert rescue["schedule"].seconds == 20


def test_every_default_is_filled_in_and_every_one_can_be_set() -> None:
    from dispatcher.worker.installation import DEFAULTS

    conf = app_of(broker_url=REDIS).conf
    for name, value in DEFAULTS.items():
        theirs = app_of(broker_url=REDIS, **{name: "theirs"}).conf
        assert (conf[name], theirs[name]) == (value, "theirs"), name


@pytest.mark.parametrize("scheme", ["redis", "rediss", "valkey"])
def test_a_frozen_redis_hangs_nobody(scheme: str) -> None:
    options = app_of(broker_url=f"{scheme}://localhost:1/0").conf.broker_transport_options

    assert options["socket_timeout"] == 5
    assert options["socket_connect_timeout"] == 2
    assert options["max_retries"] == 0


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
    assert task.Request == "dispatcher.worker.request:RunRequest"


def test_tasks_bound_before_install_get_the_gate_when_a_worker_starts(noting_gate: None) -> None:
    from dispatcher.worker import installation

    app = Celery("late", set_as_current=False)
    task = app.task(do, name="early", base=Base, shared=False)
    app.finalize()
    assert started(task, run_id="x") == ["base"]

    dispatcher.install(app)
    installation.guard_tasks(app)

    assert started(task, run_id="x") == ["gate", "base"]
    assert task.Request == "dispatcher.worker.request:RunRequest"


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
