"""Route functions of the host: called with what Celery owes them; what they raise is their own."""

import pytest
from celery.app import app_or_default

from dispatcher import run_now, run_task
from dispatcher.models import TaskRun
from dispatcher.tick import tick
from dispatcher.watch.doctor import examine, machinery, needs
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.rows import ADD, OK, job
from tests.dispatcher.test_blame import due

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def route(monkeypatch, sent_messages):
    """Puts a function in front of the routes of the app."""
    router = app_or_default().amqp.router

    def install(function):
        monkeypatch.setattr(router, "routes", [function, *router.routes])

    return install


def by_region(name, args, kwargs, options, task=None, **more):
    if name == ADD:
        return {"queue": f"region-{args[0]}-{kwargs['b']}"}
    return None


def test_it_sees_the_arguments_and_the_task(route):
    seen = []

    def look(name, args, kwargs, options, task=None, **more):
        if name == ADD:
            seen.append((args, kwargs, getattr(task, "name", None)))
        return by_region(name, args, kwargs, options)

    route(look)
    task = job(task=ADD, args=[3], kwargs={"b": 4})
    assert run_now(task).queue == "region-3-4"
    assert run_task(ADD, [5], {"b": 6}).queue == "region-5-6"
    due(task)
    tick()
    planned = TaskRun.objects.filter(trigger="schedule")
    assert set(planned.values_list("queue", flat=True)) == {"region-3-4"}
    assert ([3], {"b": 4}, ADD) in seen


def broken(name, args, kwargs, options, task=None, **more):
    if name == ADD:
        raise KeyError("no such region")


def test_one_that_raises_concerns_its_own_runs_only(route):
    route(broken)
    bad, good = job("bad", task=ADD, args=[1, 2]), job("good")
    due(bad, good)
    assert tick().error == ""
    runs = {run.name: run for run in TaskRun.objects.filter(trigger="schedule")}
    assert runs["good"].status == "published"
    assert (runs["bad"].status, runs["bad"].reason) == ("failed", "not_publishable")
    assert "no such region" in runs["bad"].reason_params["message"]
    assert not ScheduledTask.objects.filter(state_reason="set_aside").exists()
    assert TaskRun.objects.get(pk=run_now(bad).pk).status == "failed"
    assert TaskRun.objects.get(pk=run_now(good).pk).status == "published"


@pytest.mark.parametrize("error", [OSError, ConnectionResetError, TimeoutError])
def test_one_that_cannot_ask_something_delays_its_own_runs_only(route, error):
    """Not taken for a broker that is away."""

    def away(name, args, kwargs, options, task=None, **more):
        if name == ADD:
            raise error("its own server")

    route(away)
    bad, good = job("bad", task=ADD, args=[1, 2]), job("good")
    due(bad, good)
    assert tick().error == ""
    runs = dict(TaskRun.objects.values_list("name", "status"))
    assert runs == {"bad": "planned", "good": "published"}


def test_doctor_names_it_and_goes_on(route):
    route(broken)
    job("bad", task=ADD, args=[1, 2])
    job("good", queue="elsewhere")
    found = {finding.code: finding.sentence for finding in examine()}
    assert ADD in found["route_failed"]
    assert "elsewhere" in found["queue_not_consumed"]
    assert "check_failed" not in found


def test_a_check_that_fails_is_a_finding_and_the_others_go_on(monkeypatch, sent_messages):
    def fails(now):
        yield from ()
        raise LookupError("of its own")

    monkeypatch.setattr("dispatcher.watch.doctor.CHECKS", (fails, machinery.check_ticks))
    codes = [finding.code for finding in examine(database_now())]
    assert codes == ["check_failed", "no_tick"]


def test_its_queues_are_those_of_the_arguments(route):
    route(by_region)
    job(task=ADD, args=[1], kwargs={"b": 2})
    job(task=ADD, args=[2], kwargs={"b": 3})
    job(task=OK)
    assert {"region-1-2", "region-2-3", "celery"} <= needs.used_queues()
