"""Runs that people ask for, and cancel."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError

import dispatcher
from dispatcher.models import Status, TaskRun
from scheduling.database import database_now
from scheduling.models import ScheduledTask

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
ADD = "tests.integration.tasks_app.tasks.add"


@pytest.fixture
def task():
    return ScheduledTask.objects.create_interval("job", ADD, 3600, kwargs={"a": 1, "b": 2})


def test_run_now_makes_a_manual_run_with_the_definition_of_the_job(task):
    run = dispatcher.run_now(task, by="ada")
    assert (run.trigger, run.slot, run.triggered_by, run.triggered_via) == (
        "manual",
        None,
        "ada",
        "code",
    )
    assert (run.task, run.kwargs, run.scheduled_task) == (ADD, {"a": 1, "b": 2}, task)


def test_run_now_works_while_paused(task):
    task.pause()
    assert dispatcher.run_now(task).status == "planned"


def test_other_kwargs_replace_those_of_the_job_for_this_run_only(task):
    assert dispatcher.run_now(task, kwargs={"a": 5, "b": 6}).kwargs == {"a": 5, "b": 6}
    task.refresh_from_db()
    assert task.kwargs == {"a": 1, "b": 2}


def test_kwargs_that_do_not_fit_are_refused(task):
    with pytest.raises(ValidationError) as caught:
        dispatcher.run_now(task, kwargs={"c": 1})
    assert list(caught.value.message_dict) == ["kwargs"]
    assert not TaskRun.objects.filter(trigger="manual").exists()


def test_run_task_needs_no_definition():
    run = dispatcher.run_task(OK, [7], by="ada")
    assert (run.scheduled_task, run.name, run.args) == (None, OK, [7])


def test_run_task_at_a_time_waits_for_the_horizon():
    at = database_now() + timedelta(days=1)
    run = dispatcher.run_task(OK, at=at)
    assert (run.start_at, run.publish_at) == (at, at - timedelta(seconds=90))


@pytest.mark.parametrize(
    "call, field",
    [
        (lambda: dispatcher.run_task(OK, at=datetime(2099, 1, 1)), "at"),
        (lambda: dispatcher.run_task("celery.backend_cleanup"), "task"),
        (lambda: dispatcher.run_task(ADD, [1]), "args"),
        (lambda: dispatcher.run_task(OK, [object()]), "args"),
        (lambda: dispatcher.run_task(OK, kwargs=[1]), "kwargs"),
    ],
)
def test_run_task_refuses_bad_input_and_names_it(call, field):
    with pytest.raises(ValidationError) as caught:
        call()
    assert list(caught.value.message_dict) == [field]
    assert not TaskRun.objects.exists()


def test_an_unstarted_run_is_cancelled_once(task):
    run = dispatcher.run_now(task)
    assert dispatcher.cancel(run, by="ada") is True
    assert dispatcher.cancel(run) is False
    run.refresh_from_db()
    assert (run.status, run.reason, run.reason_params) == ("cancelled", "by_person", {"by": "ada"})


def test_an_ended_run_can_be_run_again_as_it_was(task):
    run = dispatcher.run_now(task, kwargs={"a": 5, "b": 6})
    TaskRun.objects.filter(pk=run.pk).close(Status.FAILED, "exception")
    run.refresh_from_db()
    again = dispatcher.rerun(run, by="ada")
    assert (again.trigger, again.rerun_of, again.kwargs) == ("rerun", run, {"a": 5, "b": 6})


def test_the_lateness_of_a_run_is_that_of_its_first_start_and_unknown_after_a_retry(task):
    run = dispatcher.run_now(task)
    start = run.start_at
    assert run.lateness is None
    run.status, run.attempt, run.started_at = Status.RUNNING, 1, start + timedelta(seconds=3)
    assert run.lateness == timedelta(seconds=3)
    run.start_at = start + timedelta(minutes=1)
    for columns in ({"status": Status.RETRYING}, {"attempt": 2}, {"retries": 1}):
        retried = TaskRun(**{"attempt": 1, "status": Status.SUCCEEDED} | columns)
        retried.start_at, retried.started_at = run.start_at, run.started_at
        assert retried.lateness is None


def test_a_run_that_has_not_ended_is_not_run_again(task):
    with pytest.raises(ValidationError):
        dispatcher.rerun(dispatcher.run_now(task))


def test_backfill_makes_the_slots_of_the_range_that_did_not_succeed():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    task = ScheduledTask.objects.create_cron("daily", OK, "0 6 * * *")
    done = start + timedelta(days=1, hours=6)
    TaskRun.objects.create(
        scheduled_task=task,
        name="daily",
        task=OK,
        scheduled_for=done,
        slot=done,
        start_at=done,
        planned_at=done,
        status="succeeded",
    )
    runs = dispatcher.backfill(task, start, start + timedelta(days=3))
    assert [run.scheduled_for for run in runs] == [
        start + timedelta(hours=6),
        start + timedelta(days=2, hours=6),
    ]
    assert {(run.trigger, run.slot) for run in runs} == {("backfill", None)}


def test_a_backfill_range_includes_its_start_and_not_its_end():
    task = ScheduledTask.objects.create_cron("hourly", OK, "0 * * * *")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    runs = dispatcher.backfill(task, start, start + timedelta(hours=2))
    assert [run.scheduled_for.hour for run in runs] == [0, 1]


@pytest.mark.parametrize("hours", [0, -1])
def test_an_empty_backfill_range_is_refused(hours):
    task = ScheduledTask.objects.create_cron("hourly", OK, "0 * * * *")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(ValidationError):
        dispatcher.backfill(task, start, start + timedelta(hours=hours))


def test_a_backfill_of_too_many_slots_is_refused_with_their_number():
    task = ScheduledTask.objects.create_interval(
        "second", OK, 1, starts_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    start = datetime(2026, 1, 2, tzinfo=UTC)
    with pytest.raises(ValidationError, match="86400"):
        dispatcher.backfill(task, start, start + timedelta(days=1))
