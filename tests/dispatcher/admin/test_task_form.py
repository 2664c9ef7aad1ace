"""The form of a scheduled task: what it takes, refuses and shows."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.html import strip_tags

from scheduling.models import ScheduledTask
from scheduling.registry.masking import MASK
from tests.dispatcher.admin.bad_input import BAD
from tests.dispatcher.admin.pages import (
    ADD,
    ADD_PAGE,
    GOOD,
    OK,
    as_shown,
    cron,
    field_errors,
    interval,
    messages_of,
    page_of,
    submit,
)

pytestmark = pytest.mark.django_db

# Creating -----------------------------------------------------------------------------------------


def test_a_cron_job_is_created_through_the_form(admin_client):
    response = submit(
        admin_client,
        ADD_PAGE,
        name="Nightly",
        task=ADD,
        kwargs='{"a": 1, "b": 2}',
        kind="cron",
        cron_expression="30 3 * * mon-fri",
        timezone="Asia/Shanghai",
    )
    assert field_errors(response) == {}
    row = ScheduledTask.objects.get(name="Nightly")
    assert (row.kind, row.cron_expression, row.timezone) == (
        "cron",
        "30 3 * * mon-fri",
        "Asia/Shanghai",
    )
    assert (row.args, row.kwargs, row.enabled) == ([], {"a": 1, "b": 2}, True)
    assert row.next_run_at is not None


def test_an_interval_is_created_and_empty_arguments_are_none(admin_client):
    response = submit(
        admin_client,
        ADD_PAGE,
        name="Often",
        task=OK,
        args="",
        kwargs="",
        kind="interval",
        interval_seconds="5",
    )
    assert field_errors(response) == {}
    row = ScheduledTask.objects.get(name="Often")
    assert (row.interval_seconds, row.args, row.kwargs) == (5, [], {})


def test_the_rules_of_other_kinds_are_dropped_even_where_they_are_nonsense(admin_client):
    response = submit(
        admin_client,
        ADD_PAGE,
        name="Often",
        task=OK,
        kind="interval",
        interval_seconds="5",
        cron_expression="nonsense",
        run_at_0="31.12.",
        run_at_1="noon",
    )
    assert field_errors(response) == {}
    row = ScheduledTask.objects.get(name="Often")
    assert (row.cron_expression, row.run_at) == ("", None)


def test_the_kind_of_a_job_can_be_changed(admin_client):
    task = cron()
    response = submit(admin_client, page_of(task), kind="interval", interval_seconds="60")
    assert field_errors(response) == {}
    task.refresh_from_db()
    assert (task.kind, task.cron_expression, task.interval_seconds) == ("interval", "", 60)


def test_the_tasks_that_celery_knows_are_suggested(admin_client):
    html = admin_client.get(ADD_PAGE).content.decode()
    assert f'<option value="{ADD}">' in html
    assert 'list="task-suggestions"' in html
    assert '<option value="celery.' not in html


def test_an_unknown_task_is_saved_with_a_warning_that_names_its_neighbours(admin_client):
    wrong = ADD.replace("add", "ad")
    response = submit(
        admin_client,
        ADD_PAGE,
        name="Guess",
        task=wrong,
        kind="interval",
        interval_seconds="60",
    )
    assert ScheduledTask.objects.filter(name="Guess").exists()
    assert any(wrong in text and ADD in text for text in messages_of(response))


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("changes", "field"), BAD.values(), ids=BAD)
def test_bad_input_is_told_once_beside_its_field_and_nothing_is_saved(admin_client, changes, field):
    response = submit(admin_client, ADD_PAGE, **(GOOD | changes))
    assert response.status_code == 200
    errors = field_errors(response)
    assert list(errors) == [field]
    assert len(errors[field]) == 1
    assert not ScheduledTask.objects.exists()


def test_a_name_that_is_taken_in_other_case_is_told_at_the_name(admin_client):
    interval("Nightly")
    response = submit(admin_client, ADD_PAGE, **(GOOD | {"name": "NIGHTLY"}))
    assert list(field_errors(response)) == ["name"]


# Zones --------------------------------------------------------------------------------------------


def one_time_form(zone, date, time):
    return {
        "name": "once",
        "task": OK,
        "kind": "one_time",
        "timezone": zone,
        "run_at_0": date,
        "run_at_1": time,
    }


def test_a_time_is_read_on_the_clock_of_the_job(admin_client):
    submit(admin_client, ADD_PAGE, **one_time_form("Asia/Shanghai", "2099-07-01", "09:30"))
    assert ScheduledTask.objects.get().run_at == datetime(2099, 7, 1, 1, 30, tzinfo=UTC)


def test_a_time_is_shown_on_the_clock_of_the_job_which_is_named(admin_client):
    moment = datetime(2099, 7, 1, 1, 30, tzinfo=UTC)
    task = ScheduledTask.objects.create_one_time("once", OK, moment, timezone="Asia/Shanghai")
    html = admin_client.get(page_of(task)).content.decode()
    assert 'value="2099-07-01"' in html
    assert 'value="09:30:00"' in html
    assert "In the time zone of the job: Asia/Shanghai." in strip_tags(html)


def test_a_time_that_the_clock_skips_is_refused_with_the_nearest_two(admin_client):
    form = one_time_form("Europe/Berlin", "2027-03-28", "02:30")
    errors = field_errors(submit(admin_client, ADD_PAGE, **form))
    assert list(errors) == ["run_at"]
    assert "2027-03-28 01:59" in errors["run_at"][0]
    assert "2027-03-28 03:00" in errors["run_at"][0]


def test_a_time_that_comes_twice_means_its_first_pass(admin_client):
    form = one_time_form("Europe/Berlin", "2027-10-31", "02:30")
    assert field_errors(submit(admin_client, ADD_PAGE, **form)) == {}
    assert ScheduledTask.objects.get().run_at == datetime(2027, 10, 31, 0, 30, tzinfo=UTC)


def test_the_second_pass_survives_an_edit_of_something_else(admin_client):
    second = datetime(2027, 10, 31, 1, 30, tzinfo=UTC)
    task = ScheduledTask.objects.create_one_time("once", OK, second, timezone="Europe/Berlin")
    assert field_errors(submit(admin_client, page_of(task), description="x")) == {}
    task.refresh_from_db()
    assert (task.run_at, task.description, task.revision) == (second, "x", 1)


def test_in_another_zone_the_same_digits_are_another_time(admin_client):
    moment = datetime(2099, 7, 1, 9, 0, tzinfo=UTC)
    task = ScheduledTask.objects.create_one_time("once", OK, moment, timezone="UTC")
    submit(admin_client, page_of(task), timezone="Asia/Shanghai")
    task.refresh_from_db()
    assert task.run_at == moment - timedelta(hours=8)


# Next runs and state ------------------------------------------------------------------------------


@pytest.mark.parametrize("permissions", [["change_scheduledtask"], ["view_scheduledtask"]])
def test_the_page_shows_the_next_ten_runs_on_both_clocks_once(login, permissions):
    task = cron(expression="30 3 * * *", timezone="Asia/Shanghai")
    html = login(*permissions).get(page_of(task)).content.decode()
    slots = task.upcoming(10)
    assert len(slots) == 10
    for slot in slots:
        assert html.count(slot.strftime("%Y-%m-%d 19:30:00")) == 1
        local = slot + timedelta(hours=8)
        assert html.count(local.strftime("%Y-%m-%d 03:30:00 CST")) == 1


def test_the_page_says_who_paused_the_job(admin_client):
    task = interval()
    task.pause(by="ada")
    html = admin_client.get(page_of(task)).content.decode()
    assert "By ada." in html
    assert "mh-paused" in html


def test_who_unticks_enabled_is_noted(admin_client):
    task = interval()
    page = page_of(task)
    data = as_shown(admin_client.get(page))
    del data["enabled"]
    admin_client.post(page, data)
    task.refresh_from_db()
    assert (task.enabled, task.state_reason, task.state_reason_by) == (False, "paused", "admin")


def test_saving_an_untouched_form_changes_nothing(admin_client):
    moment = datetime(2099, 7, 1, 9, 0, 30, 123456, tzinfo=UTC)
    task = interval(starts_at=moment, kwargs={"x": {"password": "hunter2"}})
    before = ScheduledTask.objects.filter(pk=task.pk).values().get()
    assert field_errors(submit(admin_client, page_of(task))) == {}
    after = ScheduledTask.objects.filter(pk=task.pk).values().get()
    assert before.pop("updated_at") <= after.pop("updated_at")
    assert after == before


def test_an_edit_writes_the_changed_columns_only(admin_client):
    """Between the read and the write of a request, the tick may have changed the others."""
    task = interval()
    data = as_shown(admin_client.get(page_of(task))) | {"description": "x"}
    with CaptureQueriesContext(connection) as captured:
        admin_client.post(page_of(task), data)
    written = [q["sql"] for q in captured if q["sql"].startswith("UPDATE") and "desc" in q["sql"]]
    assert len(written) == 1
    assert not any(name in written[0] for name in ("owner", "enabled", "interval_seconds"))


# Secrets ------------------------------------------------------------------------------------------


def test_secrets_are_masked_in_the_form_and_kept_when_it_is_saved(admin_client):
    kwargs = {"region": "eu", "api_key": "hunter2", "nested": [{"password": "swordfish"}]}
    task = interval(task="far.away", kwargs=kwargs)
    html = admin_client.get(page_of(task)).content.decode()
    assert "hunter2" not in html
    assert "swordfish" not in html
    assert MASK in html
    changed = f'{{"region": "us", "api_key": "{MASK}", "nested": [{{"password": "{MASK}"}}]}}'
    assert field_errors(submit(admin_client, page_of(task), kwargs=changed)) == {}
    task.refresh_from_db()
    assert task.kwargs == kwargs | {"region": "us"}


def test_a_mask_without_a_value_behind_it_is_refused(admin_client):
    task = interval(task="far.away")
    response = submit(admin_client, page_of(task), kwargs=f'{{"password": "{MASK}"}}')
    assert list(field_errors(response)) == ["kwargs"]


def test_a_reader_sees_masks_and_the_clock_of_the_job(login):
    starts_at = datetime(2099, 7, 1, 1, 30, tzinfo=UTC)
    task = interval(
        task="far.away",
        kwargs={"token": "hunter2"},
        starts_at=starts_at,
        timezone="Asia/Shanghai",
    )
    html = login("view_scheduledtask").get(page_of(task)).content.decode()
    assert "hunter2" not in html
    assert "2099-07-01 09:30:00 CST" in html
    assert 'name="_save"' not in html
