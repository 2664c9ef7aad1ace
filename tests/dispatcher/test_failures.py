"""A schedule that fails n times in a row is paused, with the reason."""

from uuid import uuid4

import pytest

from dispatcher import failures, record
from dispatcher.models import Status, TaskRun
from dispatcher.models.verbs import End
from dispatcher.tick import rescue_pass
from scheduling.clock import database_now
from scheduling.models import ScheduledTask
from scheduling.wording import state_reason_text

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
    monkeypatch.setattr(failures, "pause_if_failing", lambda task: False)
    for _ in range(3):
        end_one(task, "failed")
    monkeypatch.undo()
    assert task.enabled is True
    rescue_pass()  # finds that it fails
    rescue_pass()
    task.refresh_from_db()
    assert (task.enabled, task.state_reason_by) == (False, "pause_after_failures")
