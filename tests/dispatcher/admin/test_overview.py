"""The overview: its page, its fragment, and its part of the admin's start page."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dispatcher.watch import figures
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.rows import OK, fails, job, run_at, tick_at, worker

pytestmark = pytest.mark.django_db

PAGE = "/admin/dispatcher/taskrun/overview/"
FRAGMENT = f"{PAGE}?fragment"
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _a_broker_that_answers(monkeypatch):
    monkeypatch.setattr(figures, "depths", lambda queues: [figures.Depth("celery", 7)])


def html_of(client, path=FRAGMENT):
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def alive(now):
    tick_at(now - timedelta(seconds=20), planned=14)
    worker(now, "celery")


# Alive? -------------------------------------------------------------------------------------------


def test_a_scheduler_that_is_alive_says_so_and_who_keeps_it_going(admin_client):
    alive(database_now())
    html = html_of(admin_client)
    assert "Ticks arrive, the broker answers" in html
    assert "mh-problems" not in html
    for fact in ("worker@web-1", "web-1", "planned 14", "celery: <strong>7</strong>"):
        assert fact in html


def test_what_is_wrong_comes_first_in_sentences(admin_client, monkeypatch):
    monkeypatch.setattr(figures, "depths", lambda queues: None)
    now = database_now()
    tick_at(now - 5 * MINUTE)
    run_at(now - 4 * MINUTE, status="published", queue="mail")
    html = html_of(admin_client)
    assert "No tick has run for 4 min 59 s." in html
    assert "The broker does not answer." in html
    assert "No worker is alive" in html
    assert "1 runs wait in the queue “mail”, the first for 4 min" in html
    assert "no living worker consumes it" in html
    assert html.index("mh-problems") < html.index("mh-facts")


def test_an_empty_database_has_an_overview(admin_client):
    html = html_of(admin_client)
    assert "No tick has ever run." in html
    assert "No schedule is failing, and none is set aside." in html
    assert "None has ended." in html
    assert "No slot within the hour." in html


# What it shows ------------------------------------------------------------------------------------


def test_outcomes_are_bars_and_a_table_that_says_the_same(admin_client):
    now = database_now()
    for _ in range(3):
        run_at(now)
    run_at(now, status="failed")
    html = html_of(admin_client)
    hour = now.strftime("%H:00")
    assert f"<title>{hour}: 3 succeeded</title>" in html
    assert f"<title>{hour}: 1 failed</title>" in html
    assert f'<th scope="row">{hour}</th><td>3</td><td>1</td><td>0</td>' in html
    assert "The highest bar: 4 runs in an hour." in html


def test_coordinates_stay_numbers_where_numbers_are_written_with_commas(admin_client, settings):
    settings.USE_THOUSAND_SEPARATOR = True
    now = database_now()
    for status in ("succeeded", "succeeded", "failed"):
        run_at(now, status=status)
    job(every=1800, starts_at=now + 20 * MINUTE)
    html = html_of(admin_client)
    assert 'height="66.67"' in html
    coordinates = re.findall(r' (?:x|y|width|height)="([^"]*)"', html)
    assert max(map(float, coordinates)) > 1000


def test_failing_and_set_aside_schedules_are_linked_with_their_reason(admin_client):
    now = database_now()
    failing, broken = job("<i>failing</i>"), job("broken")
    run = run_at(now, failing, "failed", exception="ValueError: <b>")
    fails(failing, run, now)
    ScheduledTask.objects.filter(pk=broken.pk).set_aside("x", "No such zone", now)
    html = html_of(admin_client)
    assert f"/admin/scheduling/scheduledtask/{failing.pk}/change/" in html
    assert f"/admin/dispatcher/taskrun/{run.pk}/change/" in html
    assert "&lt;i&gt;failing&lt;/i&gt;" in html
    assert "ValueError: &lt;b&gt;" in html
    assert "No such zone" in html


def test_running_runs_and_the_hour_to_come(admin_client):
    now = database_now()
    long = ScheduledTask.objects.create_one_time("long", OK, now + timedelta(days=1))
    run = run_at(now - 2 * MINUTE, long, "running")
    job("soon", every=1800, starts_at=now.replace(microsecond=0) + 10 * MINUTE)
    html = html_of(admin_client)
    assert f"/admin/dispatcher/taskrun/{run.pk}/change/" in html
    assert "2 min" in html
    assert html.count('class="mh-dot"') == 2


# Where it is --------------------------------------------------------------------------------------


def test_the_start_page_has_it_above_the_apps_and_knows_where_to_ask_for_news(admin_client):
    html = html_of(admin_client, "/admin/")
    assert f'data-live="{PAGE}?fragment"' in html
    assert html.index("The hour to come") < html.index("Recent actions")
    assert f'data-live="{PAGE}?fragment"' in html_of(admin_client, PAGE)
    fragment = html_of(admin_client)
    assert "data-part" in fragment
    assert "<html" not in fragment


@pytest.mark.parametrize(
    ("permission", "seen", "unseen"),
    [
        ("view_taskrun", "Running now", "The hour to come"),
        ("view_scheduledtask", "The hour to come", "Running now"),
    ],
)
def test_one_sees_the_parts_that_one_may_see(login, permission, seen, unseen):
    client = login(permission)
    for path in (FRAGMENT, PAGE, "/admin/"):
        html = html_of(client, path)
        assert seen in html
        assert unseen not in html


def test_others_see_nothing_of_it(login):
    client = login("view_user")
    assert client.get(PAGE).status_code == 403
    assert client.get(FRAGMENT).status_code == 403
    assert "data-live" not in html_of(client, "/admin/")
    assert Client().get(FRAGMENT).status_code == 302
    assert login("view_taskrun").post(PAGE).status_code == 405


def test_it_takes_as_many_queries_for_50_schedules_and_runs_as_for_5(admin_client):
    now = database_now()
    alive(now)

    def fill(number):
        for _ in range(number):
            task = job()
            run_at(now - MINUTE, task, "failed")
            run_at(now, task, "running")

    def queries():
        with CaptureQueriesContext(connection) as captured:
            html_of(admin_client)
        return len(captured)

    fill(5)
    queries()
    few = queries()
    fill(45)
    assert queries() == few
