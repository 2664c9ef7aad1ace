"""The pages of a scheduled task: its runs, and those that ask before something happens."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dispatcher.admin.task import run_plots, runs_page
from dispatcher.models import TaskRun
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.registry.masking import MASK
from tests.dispatcher.rows import ADD, OK, job, run_at

pytestmark = pytest.mark.django_db

TASKS = "/admin/scheduling/scheduledtask/"
NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def url(task, name):
    return f"{TASKS}{task.pk}/{name}/"


def html_of(client, task, name="runs"):
    response = client.get(url(task, name))
    assert response.status_code == 200
    return response.content.decode()


def said(response):
    return [str(message) for message in response.context["messages"]]


# Its runs -----------------------------------------------------------------------------------------


def test_the_page_has_plots_the_newest_runs_and_those_to_come(admin_client):
    task = job()
    for n in range(25):
        status = "failed" if n % 5 == 0 else "succeeded"
        run_at(NOW + n * HOUR, task, status, late=timedelta(seconds=n), exception="<i>no</i>")
    html = html_of(admin_client, task)
    assert "All its 25 runs" in html
    assert "80 % succeeded" in html
    assert html.count('<path class="mh-') == 2 * 25
    assert "median 12 s, 95 % within 23 s, longest 24 s" in html
    assert html.count('/change/"><span class="mh-badge') == runs_page.LISTED
    assert "&lt;i&gt;no&lt;/i&gt;" in html
    assert task.upcoming(10)[9].strftime("%Y-%m-%d %H:%M:%S") in html


def test_a_task_without_runs_has_a_page(admin_client):
    html = html_of(admin_client, job())
    assert "It has no run yet." in html


@pytest.mark.parametrize(
    ("span", "step"),
    [
        (timedelta(0), MINUTE),
        (20 * MINUTE, MINUTE),
        (DAY, HOUR),
        (20 * DAY, DAY),
        (timedelta(days=3000), None),
    ],
)
def test_outcomes_are_in_bars_of_a_width_that_fits(span, step):
    task = job()
    runs = [run_at(NOW, task), run_at(NOW + span / 2, task, "failed"), run_at(NOW + span, task)]
    found = run_plots.outcomes(runs, "Asia/Shanghai")
    assert len(found.bars) <= run_plots.BARS
    assert sum(sum(counts) for _label, counts in found.rows) == 3
    if step == DAY:  # from midnight on the clock of the job
        assert found.first == "2026-11-20"
        assert len(found.bars) == 21


def test_it_is_drawn_from_the_newest_runs_only_and_says_so(admin_client, monkeypatch):
    monkeypatch.setattr(runs_page, "SAMPLE", 3)
    task = job()
    for n in range(5):
        run_at(NOW + n * HOUR, task)
    html = html_of(admin_client, task)
    assert "Its newest 3 runs, since 2026-11-20 11:30:00 UTC." in html


def test_it_takes_as_many_queries_for_50_runs_as_for_5(admin_client):
    task = job()

    def queries():
        with CaptureQueriesContext(connection) as captured:
            html_of(admin_client, task)
        return len(captured)

    for number in (5, 45):
        for n in range(number):
            run_at(NOW + n * HOUR, task, "failed")
        if number == 5:
            queries()
            few = queries()
    assert queries() == few


def test_a_task_that_is_set_aside_has_a_page(admin_client):
    task = job()
    ScheduledTask.objects.filter(pk=task.pk).set_aside("x", "It is broken", NOW)
    ScheduledTask.objects.filter(pk=task.pk).keep(skip_slots=[1, None])
    assert "It is broken" in html_of(admin_client, task)
    html_of(admin_client, task, "run")
    assert admin_client.get(url(task, "skip")).status_code == 302


# Who may ------------------------------------------------------------------------------------------

PERMISSIONS = {
    "run": "run_scheduledtask",
    "skip": "skip_scheduledtask",
    "pause": "pause_scheduledtask",
    "backfill": "backfill_scheduledtask",
    "runs": "view_taskrun",
}


@pytest.mark.parametrize(("page", "permission"), PERMISSIONS.items())
def test_each_page_takes_its_permission_and_is_offered_with_it(login, page, permission):
    task = job()
    with_it = login("view_scheduledtask", permission)
    html = html_of(with_it, task, "change")
    offered = {name for name in PERMISSIONS if url(task, name) in html}
    assert offered == {page}
    assert with_it.get(url(task, page)).status_code == 200
    for others in (["view_scheduledtask"], [permission]):
        assert login(*others).get(url(task, page)).status_code == 403
        assert login(*others).post(url(task, page)).status_code == 403
    task.refresh_from_db()
    assert (task.enabled, task.skip_slots) == (True, [])
    assert not TaskRun.objects.exclude(trigger="schedule").exists()


# Run now ------------------------------------------------------------------------------------------


def test_it_runs_with_other_arguments_once(admin_client):
    task = job(task=ADD, kwargs={"a": 1, "b": 2}, overlap_policy="queue_one")
    html = html_of(admin_client, task, "run")
    assert "While another run of it is running: let one wait." in html
    data = {"args": "[]", "kwargs": '{"a": 5, "b": 6}'}
    admin_client.post(url(task, "run"), data)
    run = TaskRun.objects.get(trigger="manual")
    assert (run.kwargs, run.triggered_by) == ({"a": 5, "b": 6}, "admin")
    task.refresh_from_db()
    assert task.kwargs == {"a": 1, "b": 2}


def test_arguments_that_do_not_fit_start_nothing(admin_client):
    task = job(task=ADD, kwargs={"a": 1, "b": 2})
    response = admin_client.post(url(task, "run"), {"args": "[]", "kwargs": '{"a": 5}'})
    assert "missing a required argument" in response.content.decode()
    assert not TaskRun.objects.filter(trigger="manual").exists()


def test_a_secret_is_neither_shown_nor_lost(admin_client):
    task = job("secret", "shop.unknown", kwargs={"password": "hunter2", "n": 1})
    assert "hunter2" not in html_of(admin_client, task, "run")
    data = {"args": "[]", "kwargs": json.dumps({"password": MASK, "n": 2})}
    admin_client.post(url(task, "run"), data)
    assert TaskRun.objects.get(trigger="manual").kwargs == {"password": "hunter2", "n": 2}


# Skip next and pause ------------------------------------------------------------------------------


def test_the_next_slot_is_skipped_after_a_question(admin_client):
    task = job()
    first, second = task.upcoming(2)
    html = html_of(admin_client, task, "skip")
    assert first.strftime("%H:%M:%S") in html
    assert second.strftime("After that it runs at %Y-%m-%d %H:%M:%S") in html
    response = admin_client.post(url(task, "skip"), follow=True)
    assert f"will not run at {first:%Y-%m-%d %H:%M:%S} UTC." in said(response)[0]
    assert task.upcoming(1) == [first]  # this copy does not know yet
    task.refresh_from_db()
    assert task.upcoming(1) == [second]
    assert f"Skipped by hand: {first:%Y-%m-%d %H:%M:%S}" in " ".join(
        html_of(admin_client, task).split()
    )


def test_a_slot_that_has_passed_since_the_question_skips_no_other(admin_client):
    task = job()
    before = (task.upcoming(1)[0] - HOUR).isoformat()
    html = admin_client.post(url(task, "skip"), {"confirmed": before}).content.decode()
    assert "Yes, skip it" in html
    task.refresh_from_db()
    assert task.skip_slots == []
    admin_client.post(url(task, "skip"), {"confirmed": task.upcoming(1)[0].isoformat()})
    task.refresh_from_db()
    assert len(task.skip_slots) == 1


def test_it_is_paused_until_a_time_on_the_clock_of_the_job(admin_client):
    task = job(timezone="Asia/Shanghai")
    response = admin_client.post(
        url(task, "pause"), {"until_0": "2099-07-01", "until_1": "09:00"}, follow=True
    )
    assert "is paused until 2099-07-01 09:00:00 CST." in said(response)[0]
    task.refresh_from_db()
    assert task.paused_until == datetime(2099, 7, 1, 1, 0, tzinfo=UTC)
    assert (task.enabled, task.state_reason_by) == (False, "admin")


def test_a_time_that_is_past_pauses_nothing(admin_client):
    task = job()
    data = {"until_0": "2020-07-01", "until_1": "09:00"}
    assert "This time is past." in admin_client.post(url(task, "pause"), data).content.decode()
    task.refresh_from_db()
    assert task.enabled


# Backfill -----------------------------------------------------------------------------------------


def range_of(start, end, **more):
    return {
        **{"start_0": start.strftime("%Y-%m-%d"), "start_1": start.strftime("%H:%M:%S")},
        **{"end_0": end.strftime("%Y-%m-%d"), "end_1": end.strftime("%H:%M:%S")},
        **more,
    }


def test_a_backfill_says_how_many_runs_it_makes_before_it_makes_them(admin_client):
    today = database_now().replace(hour=0, minute=0, second=0, microsecond=0)
    task = job(starts_at=today - 2 * DAY)
    data = range_of(today - DAY, today)
    run_at(today - DAY + HOUR, task)  # this slot has succeeded
    asked = admin_client.post(url(task, "backfill"), data).content.decode()
    assert "This makes 23 runs" in asked
    assert "Yes, make 23 runs" in asked
    assert not TaskRun.objects.filter(trigger="backfill").exists()
    wrong = admin_client.post(url(task, "backfill"), data | {"confirmed": "24"})
    assert "This makes 23 runs" in wrong.content.decode()
    done = admin_client.post(url(task, "backfill"), data | {"confirmed": "23"}, follow=True)
    assert said(done) == ["23 runs are made."]
    assert TaskRun.objects.filter(trigger="backfill", triggered_by="admin").count() == 23


@pytest.mark.parametrize(
    ("start", "end", "problem"),
    [
        (-1 * DAY, -2 * DAY, "The end must be after the start."),
        (-1 * DAY, DAY, "choose an end before now"),
        (-200 * DAY, -1 * DAY, "at most 10000 can be made at once"),
    ],
)
def test_a_range_that_cannot_be_is_explained_beside_its_field(admin_client, start, end, problem):
    now = database_now()
    task = job(every=60, starts_at=now - 300 * DAY)
    response = admin_client.post(url(task, "backfill"), range_of(now + start, now + end))
    assert problem in " ".join(response.context["form"].errors["end"])


def test_a_range_without_a_slot_makes_no_run(admin_client):
    now = database_now()
    task = job(starts_at=now + DAY)
    response = admin_client.post(url(task, "backfill"), range_of(now - DAY, now - HOUR))
    assert "This makes no run" in response.content.decode()


def test_a_backfill_is_on_the_clock_of_the_job(admin_client):
    task = ScheduledTask.objects.create_cron("job", OK, "30 3 * * *", timezone="Asia/Shanghai")
    day = datetime(2026, 7, 1)
    asked = admin_client.post(url(task, "backfill"), range_of(day, day + DAY)).content.decode()
    assert "This makes 1 run, for the slot of 2026-07-01 03:30:00 CST." in asked
