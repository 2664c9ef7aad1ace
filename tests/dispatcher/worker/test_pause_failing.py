"""A schedule that fails n times in a row is paused, with the reason."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import InterfaceError, OperationalError

from dispatcher.models import Failing, Status, TaskRun
from dispatcher.models.ends import End
from dispatcher.tick import rescue_pass
from dispatcher.worker import pause_failing, record
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.words import state_reason_text

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"


def end_one(task, status):
    now = database_now()
    run = TaskRun.objects.create(
        scheduled_task=task,
        name="job",
        task=OK,
        trigger="manual",
        scheduled_for=now,
        start_at=now,
        planned_at=now,
        status=Status.RUNNING,
        attempt=1,
        token=uuid4(),
    )
    if status == Status.SUCCEEDED:
        record.succeed(run.pk, run.token, End(status))
    else:
        record.fail(run.pk, run.token, End(status, "exception"))
    task.refresh_from_db()


@pytest.fixture
def task():
    return ScheduledTask.objects.create_interval("job", OK, 3600, pause_after_failures=3)


def test_the_nth_failed_or_lost_run_in_a_row_pauses_with_the_reason(task):
    for status in (Status.FAILED, Status.LOST):
        end_one(task, status)
        assert task.enabled is True
    end_one(task, Status.FAILED)
    assert (task.enabled, task.state_reason) == (False, "paused")
    assert task.state_reason_params == {"failures": 3}
    assert task.state_reason_by == "pause_after_failures"
    assert state_reason_text(task) == "Paused after 3 failed or lost runs in a row."


def test_a_success_between_them_starts_the_count_anew(task):
    for status in ("failed", "failed", "succeeded", "failed", "failed"):
        end_one(task, status)
    assert task.enabled is True


def test_failures_from_before_a_resume_do_not_count(task):
    for _ in range(3):
        end_one(task, "failed")
    task.resume()
    end_one(task, "failed")
    assert task.enabled is True
    end_one(task, "failed")
    end_one(task, "failed")
    assert task.enabled is False


def test_rescue_pauses_where_a_process_died_between_the_last_failure_and_the_pause(
    task, monkeypatch
):
    monkeypatch.setattr(pause_failing, "pause_if_failing", lambda task: False)
    for _ in range(3):
        end_one(task, "failed")
    monkeypatch.undo()
    assert task.enabled is True
    rescue_pass()  # finds that it fails
    rescue_pass()
    task.refresh_from_db()
    assert (task.enabled, task.state_reason_by) == (False, "pause_after_failures")


# Which runs count ---------------------------------------------------------------------------------


def ended(task, *statuses, **columns):
    """Runs of the schedule that ended so, oldest first; nobody has counted them."""
    now = database_now()
    defaults = {"scheduled_task": task, "name": "job", "task": OK, "trigger": "manual"}
    defaults |= dict.fromkeys(("scheduled_for", "start_at", "planned_at", "finished_at"), now)
    for status in statuses:
        TaskRun.objects.create(status=status, **defaults | columns)


def is_paused(task):
    done = pause_failing.pause_if_failing(ScheduledTask.objects.get(pk=task.pk))
    assert done is not ScheduledTask.objects.get(pk=task.pk).enabled
    return done


@pytest.mark.parametrize(
    ("statuses", "paused"),
    [
        ("failed failed failed", True),
        ("lost lost lost", True),
        ("lost failed lost", True),
        ("failed failed", False),
        ("", False),
        ("failed failed failed succeeded", False),
        ("failed failed succeeded failed", False),
        ("failed succeeded failed failed", False),
        ("succeeded failed failed failed", True),
        ("failed failed failed failed", True),
        # What never ran says nothing: it neither counts nor begins the count anew.
        ("failed cancelled failed missed skipped failed", True),
        ("failed failed cancelled missed skipped", False),
        ("failed failed failed cancelled cancelled cancelled", True),
        ("cancelled missed skipped", False),
        ("running failed published failed retrying failed planned", True),
        ("failed failed running", False),
        ("failed failed retrying", False),
    ],
)
def test_three_in_a_row_are_three_that_failed_or_were_lost_and_none_that_succeeded(
    task, statuses, paused
):
    ended(task, *statuses.split())
    assert is_paused(task) is paused


def test_the_runs_of_other_schedules_and_of_none_do_not_count(task):
    other = ScheduledTask.objects.create_interval("other", OK, 3600, pause_after_failures=3)
    ended(task, "failed", "failed")
    ended(other, "failed", "succeeded")
    ended(None, "failed")
    assert is_paused(task) is False
    ended(other, "succeeded")
    ended(task, "failed")
    assert is_paused(task) is True


def test_what_ended_before_it_was_armed_does_not_count_and_what_ended_at_that_instant_does(task):
    ended(task, "failed", finished_at=task.armed_at - timedelta(microseconds=1))
    ended(task, "failed", "failed", finished_at=task.armed_at)
    assert is_paused(task) is False
    ended(task, "failed", finished_at=task.armed_at)
    assert is_paused(task) is True


@pytest.mark.parametrize("n", [1, 2])
def test_it_counts_as_many_as_it_was_told(n):
    task = ScheduledTask.objects.create_interval("few", OK, 3600, pause_after_failures=n)
    for number in range(1, n + 1):
        ended(task, "failed")
        assert is_paused(task) is (number == n)


def test_without_the_setting_nothing_is_paused():
    task = ScheduledTask.objects.create_interval("patient", OK, 3600)
    ended(task, *["failed"] * 20)
    assert pause_failing.pause_if_failing(task) is False
    assert pause_failing.pause_if_failing(None) is False


@pytest.mark.parametrize("reason", ["paused", "finished", "set_aside"])
def test_what_is_off_already_keeps_its_reason(task, reason):
    ended(task, "failed", "failed", "failed")
    ScheduledTask.objects.filter(pk=task.pk).keep(enabled=False, state_reason=reason)
    task.refresh_from_db()
    assert pause_failing.pause_if_failing(task) is False
    assert pause_failing.pause_failing() == 0
    task.refresh_from_db()
    assert (task.state_reason, task.state_reason_by) == (reason, "")


def test_a_database_that_is_away_is_only_logged(task, monkeypatch, caplog):
    for error in (OperationalError, InterfaceError):

        def away(*args, error=error):
            raise error("away")

        monkeypatch.setattr(pause_failing, "_failed_in_a_row", away)
        assert pause_failing.pause_if_failing(task) is False
    assert caplog.text.count("could not be counted") == 2


def test_only_those_that_still_fail_are_looked_at_again(task):
    other = ScheduledTask.objects.create_interval("other", OK, 3600, pause_after_failures=3)
    patient = ScheduledTask.objects.create_interval("patient", OK, 3600)
    for each in (task, other, patient):
        ended(each, "failed", "failed", "failed")
    now = database_now()
    for each, recovered_at in ((task, None), (other, now), (patient, None)):
        run = each.runs.order_by("pk")[0]
        Failing.objects.create(
            scheduled_task=each, run=run, since=now, noticed_at=now, recovered_at=recovered_at
        )
    assert pause_failing.pause_failing() == 1
    enabled = ScheduledTask.objects.filter(enabled=True)
    assert sorted(enabled.values_list("name", flat=True)) == ["other", "patient"]
