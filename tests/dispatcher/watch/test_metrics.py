"""`/metrics`: what Prometheus reads is what the rows say."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from dispatcher.models import Failing, TaskRun, Tick, Worker
from dispatcher.watch import metrics
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import pause_everything

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)


def scrape(client):
    """Each value by its name and labels."""
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    families = text_string_to_metric_families(response.content.decode())
    return {
        (sample.name.removeprefix("minutehand_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def make_run(status="succeeded", **columns):
    now = database_now()
    defaults = {
        "name": "job",
        "task": OK,
        "trigger": "schedule",
        "queue": "celery",
        "status": status,
        "scheduled_for": now,
        "start_at": now,
        "planned_at": now,
    }
    return TaskRun.objects.create(**defaults | columns)


def worker(*queues, **columns):
    now = database_now()
    defaults = {"hostname": "w", "pid": 1, "started_at": now, "seen_at": now}
    lease = {"lease_until": now + 45 * S}
    Worker.objects.create(id=uuid4(), queues=list(queues), **defaults | lease | columns)


def test_an_empty_system_has_figures_and_no_tick(client):
    values = scrape(client)
    assert values[("everything_paused",)] == 0
    assert values[("running_runs",)] == 0
    assert values[("recent_runs", "failed")] == 0
    assert ("last_tick_age_seconds",) not in values


def test_the_figures_are_those_of_the_rows(client):
    now = database_now()
    Tick.objects.create(started_at=now - 31 * S, finished_at=now - 30 * S)
    worker("celery", "reports")
    worker("celery")
    worker("celery", stopped_at=now)
    bad = ScheduledTask.objects.create_interval("bad", OK, 86_400)
    ScheduledTask.objects.create_interval("paused", OK, 86_400).pause()
    aside = ScheduledTask.objects.create_interval("aside", OK, 86_400)
    ScheduledTask.objects.filter(pk=aside.pk).set_aside("x", "y", now)
    failed = make_run("failed", scheduled_task=bad)
    Failing.objects.create(scheduled_task=bad, run=failed, since=now, noticed_at=now)
    make_run("running"), make_run("running")
    make_run("published", start_at=now - 90 * S)
    make_run("planned", start_at=now - 10 * S, queue="reports")
    make_run("planned", start_at=now + 60 * S)

    values = scrape(client)

    assert 30 <= values[("last_tick_age_seconds",)] < 60
    assert (values[("workers", "celery")], values[("workers", "reports")]) == (2, 1)
    states = ("active", "paused", "finished", "set_aside")
    assert [values[("scheduled_tasks", state)] for state in states] == [1, 1, 0, 1]
    assert values[("failing_scheduled_tasks",)] == 1
    assert values[("running_runs",)] == values[("recent_runs", "running")] == 2
    assert values[("recent_runs", "planned")] == 2
    assert (values[("due_runs", "celery")], values[("due_runs", "reports")]) == (1, 1)
    assert 90 <= values[("oldest_due_run_age_seconds", "celery")] < 120


def test_what_a_pause_of_everything_holds_is_not_due(client):
    make_run("published", start_at=database_now() - 90 * S)
    pause_everything()
    values = scrape(client)
    assert values[("everything_paused",)] == 1
    assert ("due_runs", "celery") not in values


def test_a_scrape_asks_as_much_of_many_rows_as_of_few(client):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            scrape(client)
        return len(captured)

    few = queries()
    for number in range(20):
        make_run()
        worker(f"queue {number}")
    assert queries() == few <= 10


def test_without_a_database_it_says_so(client, monkeypatch):
    def away():
        raise OperationalError("no connection")

    monkeypatch.setattr(metrics, "database_now", away)
    assert client.get("/metrics").status_code == 503
