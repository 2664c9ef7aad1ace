"""Without a broker: runs under `task_always_eager`, and under Django's test runner."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery.app import app_or_default
from celery.exceptions import Ignore
from django.db import connection, transaction

from dispatcher import run_now, run_task
from dispatcher.models import TaskRun
from dispatcher.tick import tick
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.integration.tasks_app import tasks


@pytest.fixture
def eager(settings: Any) -> None:
    settings.CELERY_TASK_ALWAYS_EAGER = True


def made(**options: Any) -> ScheduledTask:
    return ScheduledTask.objects.create_interval("job", tasks.add, 3600, args=[2, 3], **options)


def ended(run: TaskRun) -> tuple[str, Any]:
    run.refresh_from_db()
    return run.status, run.result


@pytest.mark.django_db(transaction=True)
def test_a_run_is_executed_here_when_it_is_committed(eager: None, sent_messages: Any) -> None:
    with transaction.atomic():
        run = run_now(made())
        assert ended(run)[0] == "planned"

    assert ended(run) == ("succeeded", 5)
    assert run.attempt == 1
    assert sent_messages() == []


@pytest.mark.django_db
def test_in_a_test_that_rolls_back_it_runs_on_commit_in_the_tests_own_transaction(
    eager: None, django_capture_on_commit_callbacks: Any
) -> None:
    assert connection.in_atomic_block
    with django_capture_on_commit_callbacks(execute=True):
        run = run_now(made())

    assert ended(run) == ("succeeded", 5)


@pytest.mark.django_db(transaction=True)
def test_what_the_task_raises_is_on_the_row_and_reaches_nobody_else(
    eager: None, settings: Any
) -> None:
    settings.CELERY_TASK_EAGER_PROPAGATES = True

    run = run_task(tasks.fail)

    assert ended(run)[0] == "failed"
    assert run.reason == "exception"


@pytest.mark.django_db(transaction=True)
def test_a_run_of_a_later_time_waits_for_the_tick_of_that_time(eager: None) -> None:
    run = run_task(tasks.add, [1, 1], at=database_now() + timedelta(seconds=40))
    assert ended(run)[0] == "planned"

    TaskRun.objects.update(start_at=database_now(), publish_at=database_now())
    tick()

    assert ended(run) == ("succeeded", 2)


@pytest.mark.django_db(transaction=True)
def test_a_second_one_of_a_schedule_that_holds_is_skipped_in_the_same_transaction(
    eager: None, django_capture_on_commit_callbacks: Any
) -> None:
    task = made(overlap_policy="skip")
    with transaction.atomic(), django_capture_on_commit_callbacks(execute=True):
        TaskRun.objects.bulk_create([])
        first = run_now(task)
    TaskRun.objects.filter(pk=first.pk).update(status="running", holds=task.pk)

    with transaction.atomic():
        with django_capture_on_commit_callbacks(execute=True):
            second = run_now(task)
        assert ended(second)[0] == "skipped"


@pytest.mark.django_db(transaction=True)
def test_apply_with_the_headers_of_a_run_passes_the_gate(settings: Any) -> None:
    settings.SCHEDULER_PUBLISH_IN_TESTS = 0
    run = run_task(tasks.add, [4, 5])
    headers = {"run_id": str(run.pk), "attempt": run.attempt}

    assert tasks.add.apply([4, 5], headers=headers).get() == 9
    assert ended(run) == ("succeeded", 9)

    again = tasks.add.apply([4, 5], headers=headers)
    assert again.state == "IGNORED" or isinstance(again.result, Ignore)
    assert run.attempt == 1


@pytest.mark.parametrize("headers", [None, {}, {"tenant": "x"}, {"run_id": "none of ours"}, ["x"]])
def test_apply_with_other_headers_is_the_projects_own_business(headers: Any) -> None:
    assert tasks.add.apply([4, 5], headers=headers).get() == 9


@pytest.fixture
def quiet(settings: Any) -> Iterator[None]:
    settings.SCHEDULER_PUBLISH_IN_TESTS = 0
    yield


@pytest.mark.django_db(transaction=True)
def test_under_djangos_test_runner_nothing_is_sent_unless_asked_for(
    quiet: None, sent_messages: Any, settings: Any
) -> None:
    run = run_now(made())
    tick()
    assert ended(run)[0] == "planned"
    assert sent_messages() == []

    settings.SCHEDULER_PUBLISH_IN_TESTS = 1
    TaskRun.objects.update(publish_at=database_now())
    tick()

    assert ended(run)[0] == "published"
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(run.pk)]


def test_outside_of_it_everything_is_sent(quiet: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.core import mail

    from dispatcher.publish import in_process

    assert in_process.is_held_back()
    monkeypatch.delattr(mail, "outbox")
    assert not in_process.is_held_back()
    assert app_or_default().conf.task_always_eager is False
