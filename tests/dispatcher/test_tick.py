"""The minute from end to end, without a worker: rows in, messages out, a record of it."""

import json
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.urls import reverse

from dispatcher import tick as ticking
from dispatcher.models import RunAttempt, TaskRun, Tick, Worker
from dispatcher.tick import ClockError, rescue_pass, tick
from dispatcher.upkeep.prune import prune
from dispatcher.upkeep.rescue import rescue
from scheduling.database import database_now
from scheduling.models import ScheduledTask

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)


def due_row(name="job", **columns):
    start = database_now().replace(microsecond=0)
    defaults = {"starts_at": start, "armed_at": start - S, "interval_seconds": 30}
    task = ScheduledTask(name=name, task=OK, kind="interval", **(defaults | columns))
    return ScheduledTask.objects.bulk_create([task])[0]


def run(**columns):
    now = database_now()
    defaults = {
        "name": "job",
        "task": OK,
        "trigger": "manual",
        "scheduled_for": now,
        "start_at": now,
        "planned_at": now,
        "queue": "celery",
    }
    return TaskRun.objects.create(**(defaults | columns))


@pytest.mark.django_db(transaction=True)
def test_a_tick_plans_publishes_and_says_so(sent_messages):
    due_row()
    done = tick()
    assert TaskRun.objects.count() == done.planned == done.published > 0
    assert set(TaskRun.objects.values_list("status", flat=True)) == {"published"}
    assert len(sent_messages()) == done.planned
    assert done.finished_at >= done.started_at


@pytest.mark.django_db(transaction=True)
def test_a_second_tick_finds_everything_done(sent_messages):
    due_row()
    tick()
    assert tick().planned == 0
    assert len(sent_messages()) == TaskRun.objects.count()


@pytest.mark.django_db(transaction=True)
def test_a_tick_without_a_broker_plans_all_the_same(broken_broker):
    due_row()
    done = tick()
    assert done.planned > 0
    assert done.published == 0
    assert "broker" in done.error


@pytest.mark.django_db(transaction=True)
def test_what_a_dead_dispatcher_left_planned_is_published(sent_messages):
    left = run(publish_at=database_now() - S, start_at=database_now() + 20 * S)
    tick()
    left.refresh_from_db()
    assert left.status == "published"
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(left.pk)]


@pytest.mark.django_db
def test_a_dispatcher_whose_clock_is_wrong_refuses_to_tick(monkeypatch):
    monkeypatch.setattr(ticking.time, "time", lambda: database_now().timestamp() + 31)
    with pytest.raises(ClockError, match=r"\+31 s off"):
        tick()
    assert not Tick.objects.exists()


@pytest.mark.django_db
def test_without_time_zones_it_says_what_to_set_and_not_that_a_clock_is_wrong(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ticking.settings, "USE_TZ", False)
        with pytest.raises(ImproperlyConfigured, match="Set USE_TZ = True"):
            tick()
    assert not Tick.objects.exists()


@pytest.mark.django_db
def test_a_schedule_paused_until_a_time_resumes_in_the_tick_after_it():
    task = ScheduledTask.objects.create_interval("job", OK, 3600)
    task.pause(until=database_now() + timedelta(hours=1))
    tick()
    task.refresh_from_db()
    assert task.enabled is False
    ScheduledTask.objects.filter(pk=task.pk).keep(paused_until=database_now() - S)
    tick()
    task.refresh_from_db()
    assert (task.enabled, task.paused_until) == (True, None)


# Rescue -------------------------------------------------------------------------------------------


def steady_rescue(now):
    """Rescue passes every 20 s for the last two minutes, so that leases may be judged."""
    for seconds in range(20, 130, 20):
        Tick.objects.create(kind="rescue", started_at=now - seconds * S)


@pytest.mark.django_db(transaction=True)
def test_a_published_run_that_nobody_started_is_published_again(sent_messages):
    waiting = run(status="published", publish_at=database_now() - S)
    TaskRun.objects.filter(pk=waiting.pk).update(start_at=database_now() - 40 * S)
    assert rescue().published == 1
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(waiting.pk)]
    waiting.refresh_from_db()
    assert waiting.publish_at > database_now() + 40 * S  # 60 s: twice the 30 s before


@pytest.mark.django_db(transaction=True)
def test_a_backlog_in_the_broker_is_not_published_again(sent_messages):
    now = database_now()
    for _ in range(5):
        run(status="planned", publish_at=now)
    tick()  # five messages that nobody consumes
    TaskRun.objects.update(start_at=now - 60 * S, publish_at=now - S)
    run(status="published", start_at=now - 50 * S, publish_at=now - S)  # its message is lost
    assert rescue().published == 1
    assert len(sent_messages()) == 6


@pytest.mark.django_db
def test_a_run_whose_lease_ran_out_is_lost():
    now = database_now()
    steady_rescue(now)
    gone = run(status="running", attempt=1, lease_until=now - S, token=_token())
    alive = run(status="running", attempt=1, lease_until=now + 20 * S, token=_token())
    assert rescue_pass().lost == 1
    gone.refresh_from_db()
    alive.refresh_from_db()
    assert (gone.status, gone.reason, gone.token is not None) == ("lost", "lease_ran_out", True)
    assert alive.status == "running"


@pytest.mark.django_db
def test_after_a_gap_no_lease_is_judged_until_the_workers_could_renew():
    now = database_now()
    Tick.objects.create(kind="rescue", started_at=now - 300 * S)
    Tick.objects.create(kind="rescue", started_at=now - 20 * S)
    gone = run(status="running", attempt=1, lease_until=now - 200 * S, token=_token())
    assert rescue(now).lost == 0
    gone.refresh_from_db()
    assert gone.status == "running"


@pytest.mark.django_db
def test_a_lost_run_is_run_again_three_times_under_rerun():
    now = database_now()
    task = ScheduledTask.objects.create_interval("job", OK, 3600, on_lost="rerun")
    lost = run(scheduled_task=task, status="running", attempt=1, token=_token())
    for attempt in (2, 3, 4):
        steady_rescue(now)
        TaskRun.objects.update(status="running", lease_until=now - S, token=_token())
        assert rescue(now).lost == 1
        lost.refresh_from_db()
        assert (lost.status, lost.attempt, lost.token) == ("retrying", attempt, None)
    TaskRun.objects.update(status="running", lease_until=now - S, token=_token())
    rescue(now)
    lost.refresh_from_db()
    assert (lost.status, RunAttempt.objects.count()) == ("lost", 3)


@pytest.mark.django_db
def test_an_unstarted_run_past_its_expiry_is_missed():
    old = run(status="published", expires_at=database_now() - S)
    assert rescue().expired == 1
    old.refresh_from_db()
    assert (old.status, old.reason) == ("missed", "expired")


def _token():
    from uuid import uuid4

    return uuid4()


# Prune --------------------------------------------------------------------------------------------


def aged(days, status):
    """A run whose id says that it was made `days` ago."""
    from random import randrange
    from uuid import UUID

    at = database_now() - timedelta(days=days)
    pk = UUID(int=(int(at.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | randrange(2**60))
    return run(pk=pk, status=status)


@pytest.mark.django_db
def test_prune_keeps_what_is_young_and_failures_longer():
    kept = [aged(29, "succeeded"), aged(40, "failed"), aged(40, "lost"), aged(400, "running")]
    aged(31, "succeeded")
    old_failure = aged(91, "missed")
    RunAttempt.objects.create(
        run=old_failure, attempt=1, status="failed", finished_at=database_now()
    )
    Tick.objects.create(started_at=database_now() - timedelta(days=8))
    prune(database_now())
    assert set(TaskRun.objects.values_list("pk", flat=True)) == {r.pk for r in kept}
    assert not RunAttempt.objects.exists()
    assert not Tick.objects.exists()


@pytest.mark.django_db
def test_prune_detaches_the_runs_of_a_schedule_that_is_gone():
    orphan = run(scheduled_task_id=987654, status="succeeded")
    prune(database_now())
    orphan.refresh_from_db()
    assert orphan.scheduled_task_id is None


# What operators see -------------------------------------------------------------------------------


@pytest.mark.django_db
def test_healthz_says_that_no_tick_has_run(client):
    response = client.get(reverse("dispatcher:healthz"))
    assert (response.status_code, response.json()["status"]) == (503, "no_tick")


@pytest.mark.django_db
def test_healthz_is_well_after_a_tick_and_late_150_s_later(client):
    now = database_now()
    record = Tick.objects.create(started_at=now, finished_at=now)
    assert client.get("/healthz").json()["status"] == "ok"
    Tick.objects.filter(pk=record.pk).update(finished_at=now - 151 * S)
    response = client.get("/healthz")
    assert (response.status_code, response.json()["status"]) == (503, "late")


@pytest.mark.django_db(transaction=True)
def test_doctor_names_what_is_wrong_and_what_to_do(capsys, sent_messages):
    due_row("garbage")
    ScheduledTask.objects.filter(name="garbage").set_aside("x", "because of y", database_now())
    with pytest.raises(SystemExit) as stopped:
        call_command("doctor")
    text = capsys.readouterr().out
    assert stopped.value.code == 1
    assert "No tick" in text
    assert "garbage" in text
    assert "because of y" in text


@pytest.mark.django_db(transaction=True)
def test_doctor_is_content_with_a_healthy_system(capsys, sent_messages):
    now = database_now()
    Tick.objects.create(started_at=now, finished_at=now)
    Tick.objects.create(kind="rescue", started_at=now, finished_at=now)
    for queue in ("dispatcher", "celery"):
        Worker.objects.create(
            id=_token(),
            hostname=f"{queue}@here",
            pid=1,
            pool="prefork",
            queues=[queue],
            started_at=now,
            seen_at=now,
            lease_until=now + 45 * S,
        )
    call_command("doctor")
    assert "Everything is well" in capsys.readouterr().out


@pytest.mark.django_db
def test_the_upcoming_command_lists_what_will_run(capsys):
    task = ScheduledTask.objects.create_interval("job", OK, 3600)
    call_command("upcoming", "--json")
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["name"] == "job"
    assert rows[0]["slot"] == task.upcoming(1)[0].isoformat()


@pytest.mark.django_db
def test_the_prune_command_says_how_much_it_deleted(capsys):
    aged(31, "succeeded")
    call_command("prune_runs")
    assert "1 row" in capsys.readouterr().out


@pytest.mark.django_db(transaction=True)
def test_the_tick_command_does_what_the_task_does(capsys, sent_messages):
    due_row()
    call_command("tick")
    assert "planned" in capsys.readouterr().out
    assert TaskRun.objects.filter(status="published").exists()
