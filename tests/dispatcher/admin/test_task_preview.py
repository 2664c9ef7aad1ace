"""The form while it is filled in: what it says is what saving says, and nothing is saved."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dispatcher.admin.task.panels import SHOWN, runs_panel
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.registry.masking import MASK
from scheduling.words import preview_of
from tests.dispatcher.admin.bad_input import BAD
from tests.dispatcher.admin.pages import (
    ADD,
    ADD_PAGE,
    GOOD,
    LIST,
    VIEW,
    as_shown,
    cron,
    field_errors,
    interval,
    page_of,
)

pytestmark = pytest.mark.django_db

NEW = f"{LIST}preview/"


def address_of(task):
    return f"{LIST}{task.pk}/preview/"


def ask(client, url=NEW, page=ADD_PAGE, **changes):
    response = client.post(url, as_shown(client.get(page)) | changes)
    assert response.status_code == 200
    return response.json()


def runs(said):
    return said["panels"]["mh-runs-panel"]


# The same errors ----------------------------------------------------------------------------------


@pytest.mark.sampled(4)
@pytest.mark.parametrize("changes", [changes for changes, _field in BAD.values()], ids=BAD)
def test_the_errors_are_those_that_saving_gives(admin_client, changes):
    typed = as_shown(admin_client.get(ADD_PAGE)) | GOOD | changes
    said = admin_client.post(NEW, typed).json()["errors"]
    assert said
    assert said == field_errors(admin_client.post(ADD_PAGE, typed, follow=True))


def test_a_good_form_has_no_errors_and_is_not_saved(admin_client):
    said = ask(admin_client, **GOOD)
    assert said["errors"] == {}
    assert not ScheduledTask.objects.exists()


def test_a_stored_task_is_looked_at_and_left_as_it_is(admin_client):
    task = interval(every=60)
    before = ScheduledTask.objects.filter(pk=task.pk).values().get()
    with CaptureQueriesContext(connection) as captured:
        said = ask(
            admin_client,
            address_of(task),
            page_of(task),
            kind="cron",
            cron_expression="0 9 * * *",
            name="other",
        )
    assert said["errors"] == {}
    assert "Every day at 09:00" in runs(said)
    assert ScheduledTask.objects.filter(pk=task.pk).values().get() == before
    harmless = ("SELECT", "SAVEPOINT", "RELEASE")
    assert [q["sql"] for q in captured if not q["sql"].startswith(harmless)] == []


# Who may ask --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("permissions", "new", "stored"),
    [
        ([], 403, 403),
        ([VIEW], 403, 403),
        (["add_scheduledtask"], 200, 403),
        (["change_scheduledtask"], 403, 200),
    ],
)
def test_it_answers_those_who_may_save(login, permissions, new, stored):
    task = interval()
    client = login(*permissions)
    assert client.post(NEW, GOOD).status_code == new
    assert client.post(address_of(task), GOOD).status_code == stored


def test_it_takes_a_login_a_post_and_the_csrf_token(client, admin_client, admin_user):
    task = interval()
    assert client.post(NEW, GOOD).status_code == 302
    assert admin_client.get(NEW).status_code == 405
    assert admin_client.post(f"{LIST}999999999/preview/", GOOD).status_code == 404
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert strict.post(address_of(task), GOOD).status_code == 403


def test_a_reader_is_shown_no_preview(login):
    assert "mh-preview" not in login(VIEW).get(page_of(interval())).content.decode()


def test_it_costs_the_same_queries_whatever_there_is(admin_client):
    def count(**typed):
        data = as_shown(admin_client.get(ADD_PAGE)) | GOOD | typed
        with CaptureQueriesContext(connection) as captured:
            admin_client.post(NEW, data)
        return len([query for query in captured if "SAVEPOINT" not in query["sql"]])

    few = count()
    for n in range(50):
        interval(f"job {n}")
    assert count() == few
    assert count(kind="cron", cron_expression="* * * * * *") == few
    assert few <= 12


# The next runs ------------------------------------------------------------------------------------


def test_the_runs_shown_are_those_that_come_once_it_is_saved(admin_client):
    rule, zone = "0 0 9 ? * MON-FRI", "Asia/Shanghai"
    typed = {"kind": "cron", "cron_expression": rule, "timezone": zone}
    html = runs(ask(admin_client, **GOOD | typed))
    assert "Monday to Friday at 09:00 (Asia/Shanghai)" in html
    task = cron(expression=rule, timezone=zone)
    slots = task.upcoming(10)
    assert html.count("<time ") == 10
    for slot in slots:
        assert slot.strftime("%a %Y-%m-%d 09:00:00 CST") in html
        assert slot.strftime("%a %Y-%m-%d 01:00:00") in html
        assert slot.isoformat() in html


def test_they_show_although_the_rest_of_the_form_is_empty(admin_client):
    said = ask(admin_client, kind="cron", cron_expression="0 9 * * *")
    assert {"name", "task"} <= set(said["errors"])
    assert runs(said).count("<time ") == 10


def test_a_wrong_schedule_has_none(admin_client):
    said = ask(admin_client, **GOOD | {"kind": "cron", "cron_expression": "61 * * * *"})
    assert "<time " not in runs(said)


def test_a_job_that_is_not_enabled_says_so_and_still_tells_its_times(admin_client):
    data = as_shown(admin_client.get(ADD_PAGE)) | GOOD
    del data["enabled"]
    html = runs(admin_client.post(NEW, data).json())
    assert "It is not enabled, so nothing runs." in html
    assert html.count("<time ") == 10


def test_the_end_of_a_schedule_is_told(admin_client):
    html = runs(ask(admin_client, **GOOD, max_runs="3"))
    assert html.count("<time ") == 3
    assert "After that there is no further run." in html


def test_slots_planned_ahead_are_counted_once():
    """The tick has planned one of three slots; to the person it is still a run to come."""
    task = interval(every=3600, max_runs=3)
    now = database_now()
    first = now + timedelta(seconds=30)
    rows = ScheduledTask.objects.filter(pk=task.pk)
    rows.keep(slots_used=1, next_run_at=first + timedelta(hours=1), starts_at=first)
    task = rows.get()
    assert len(task.upcoming(10, now=now)) == 3
    assert runs_panel(preview_of(task, SHOWN, now), task).count("<time ") == 3


def test_nights_of_a_clock_change_are_marked(admin_client):
    typed = {"cron_expression": "30 2 * * *", "timezone": "Europe/Berlin", "kind": "cron"}
    start = {"starts_at_0": "2099-03-27", "starts_at_1": "00:00"}
    html = runs(ask(admin_client, **GOOD | typed | start))
    assert html.count("mh-noted") == 1
    assert "Sun 2099-03-29 03:00:00 CEST" in html
    assert "The clock skips 02:30 that night: it runs at 03:00 instead." in html


def test_what_the_clock_did_before_the_start_is_not_told(admin_client):
    typed = {"cron_expression": "*/20 2 * * *", "timezone": "Europe/Berlin", "kind": "cron"}
    start = {"starts_at_0": "2099-11-05", "starts_at_1": "00:00"}
    assert "mh-noted" not in runs(ask(admin_client, **GOOD | typed | start))


def test_jitter_is_shown(admin_client):
    task = cron(jitter_seconds=600)
    html = runs(ask(admin_client, address_of(task), page_of(task)))
    for slot in task.upcoming(10):
        assert task.start_of(slot).strftime("%H:%M:%S") in html
    fresh = runs(ask(admin_client, **GOOD, jitter_seconds="600"))
    assert "Each starts up to 10 min later (jitter)." in fresh


def test_the_page_itself_shows_the_stored_schedule(admin_client):
    html = admin_client.get(page_of(cron(expression="0 9 * * MON-FRI"))).content.decode()
    assert "Monday to Friday at 09:00 (UTC)" in html


@pytest.mark.parametrize(
    "columns",
    [
        {"timezone": "Mars/Olympus"},
        {"interval_seconds": 10**9},
        {"starts_at": datetime(9999, 12, 31, tzinfo=UTC)},
    ],
)
def test_a_row_that_raw_sql_spoilt_can_be_opened_and_mended(admin_client, columns):
    task = interval()
    ScheduledTask.objects.filter(pk=task.pk).keep(**columns)
    assert admin_client.get(page_of(task)).status_code == 200
    said = ask(admin_client, address_of(task), page_of(task), timezone="UTC")
    assert set(said["errors"]) <= {"interval_seconds", "starts_at"}


# The task and its arguments -----------------------------------------------------------------------


def test_a_known_task_is_told_by_signature_and_docstring(admin_client):
    panel = ask(admin_client, task=ADD)["panels"]["mh-task-panel"]
    assert "add(a: int, b: int) -&gt; int" in panel
    assert "Adds two numbers." in panel


def test_an_unknown_task_is_warned_about_and_allowed(admin_client):
    said = ask(admin_client, **GOOD | {"task": ADD.replace("add", "ad")})
    assert f"Did you mean {ADD}" in said["panels"]["mh-task-panel"]
    assert said["errors"] == {}


def test_what_was_typed_is_escaped(admin_client):
    evil = "<script>alert(1)</script>"
    typed = {"task": evil, "timezone": evil, "kind": "cron", "cron_expression": f"{evil} 1 * * *"}
    said = ask(admin_client, **GOOD | typed)
    assert not any("<script>" in panel for panel in said["panels"].values())
    response = admin_client.post(ADD_PAGE, as_shown(admin_client.get(ADD_PAGE)) | GOOD | typed)
    assert evil not in response.content.decode()


def test_the_arguments_are_completed_and_formatted(admin_client):
    said = ask(admin_client, task=ADD, kwargs='{"a": 12345678901234567890}')
    assert json.loads(said["completed"]["kwargs"]) == {"a": 12345678901234567890, "b": 0}
    assert said["formatted"]["kwargs"] == '{\n  "a": 12345678901234567890\n}'
    assert ask(admin_client, task=ADD, args="[1, 2]")["completed"] is None


def test_wrong_json_is_told_by_line_and_not_held_against_the_task(admin_client):
    said = ask(admin_client, **GOOD | {"task": ADD, "kwargs": '{"a": 1,\n"b" 2}'})
    assert list(said["errors"]) == ["kwargs"]
    assert "line 2, column 5" in said["errors"]["kwargs"][0]
    assert list(said["formatted"]) == ["args"]


def test_secrets_stay_masked(admin_client):
    task = interval(task="far.away", kwargs={"password": "hunter2"})
    typed = f'{{"password": "{MASK}", "x": 1}}'
    response = admin_client.post(
        address_of(task), as_shown(admin_client.get(page_of(task))) | {"kwargs": typed}
    )
    assert response.json()["errors"] == {}
    assert "hunter2" not in response.content.decode()


# The cron expression ------------------------------------------------------------------------------


def test_each_field_is_named_and_the_wrong_one_marked(admin_client):
    typed = {"kind": "cron", "cron_expression": "0 61 9 * * ?"}
    said = ask(admin_client, **GOOD | typed)
    panel = said["panels"]["mh-cron_expression-panel"]
    assert panel.index("second") < panel.index("minute") < panel.index("hour")
    assert '<td class="mh-wrong">61</td>' in panel
    assert "minute: 61 is out of range" in said["errors"]["cron_expression"][0]


def test_weekdays_by_number_in_six_fields_are_warned_about(admin_client):
    typed = {"kind": "cron", "cron_expression": "0 0 9 ? * 2"}
    said = ask(admin_client, **GOOD | typed)
    assert said["errors"] == {}
    panel = said["panels"]["mh-cron_expression-panel"]
    assert "2 is TUE here, but MON in Quartz" in panel
    assert "“0 9 * * TUE” or “0 9 * * MON”" in panel


def test_a_suggestion_is_one_click_away(admin_client):
    said = ask(admin_client, kind="cron", cron_expression="0 9 * * 1, 3", timezone="Asia/Beijing")
    panels = said["panels"]
    assert 'data-put-cron_expression="0 9 * * 1,3"' in panels["mh-cron_expression-panel"]
    assert 'data-put-timezone="Asia/Shanghai"' in panels["mh-timezone-panel"]


def test_a_suggested_year_fills_the_bounds(admin_client):
    said = ask(admin_client, kind="cron", cron_expression="0 9 * * ? 2099", timezone="Asia/Tokyo")
    panel = said["panels"]["mh-cron_expression-panel"]
    assert 'data-put-starts_at="2099-01-01 00:00:00"' in panel
    assert 'data-put-ends_at="2099-12-31 23:59:59"' in panel
