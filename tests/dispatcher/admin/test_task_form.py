"""The admin of scheduled tasks: its form, its list, and who may do what."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import strip_tags

from scheduling.models import ScheduledTask
from scheduling.registry.masking import MASK

pytestmark = pytest.mark.django_db

ADD = "tests.integration.tasks_app.tasks.add"
OK = "tests.integration.tasks_app.tasks.ok"

LIST = "/admin/scheduling/scheduledtask/"
ADD_PAGE = f"{LIST}add/"


def page_of(task):
    return reverse("admin:scheduling_scheduledtask_change", args=[task.pk])


def interval(name="job", every=3600, task=OK, **options):
    return ScheduledTask.objects.create_interval(name, task, every, **options)


def cron(name="job", expression="0 9 * * *", task=OK, **options):
    return ScheduledTask.objects.create_cron(name, task, expression, **options)


def as_shown(response):
    """What a browser would send back if nobody touched the form of the page."""
    data = {}
    for field in response.context["adminform"].form:
        value = field.value()
        if hasattr(field.field.widget, "decompress"):
            parts = value if isinstance(value, list) else field.field.widget.decompress(value)
            data |= {f"{field.name}_{i}": part or "" for i, part in enumerate(parts)}
        elif value is True:
            data[field.name] = "on"
        elif value is not False:
            data[field.name] = "" if value is None else value
    return data


def submit(client, page, **changes):
    return client.post(page, as_shown(client.get(page)) | changes, follow=True)


def field_errors(response):
    """The fields that complain, after a refused form; empty when it was saved."""
    context = response.context
    if "adminform" not in context or response.redirect_chain:
        return {}
    return {name: list(errors) for name, errors in context["adminform"].form.errors.items()}


def messages_of(response):
    return [str(message) for message in get_messages(response.wsgi_request)] or [
        str(message) for message in response.context["messages"]
    ]


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

GOOD = {"name": "job", "task": OK, "kind": "interval", "interval_seconds": "60"}
DEEP = "[" * 100_000 + "]" * 100_000

BAD = {
    "no name": ({"name": ""}, "name"),
    "no task": ({"task": ""}, "task"),
    "a task of the dispatcher": ({"task": "dispatcher.tick"}, "task"),
    "no kind": ({"kind": ""}, "kind"),
    "a kind that is none": ({"kind": "sometimes"}, "kind"),
    "no interval": ({"interval_seconds": ""}, "interval_seconds"),
    "an interval of text": ({"interval_seconds": "soon"}, "interval_seconds"),
    "an interval of 0": ({"interval_seconds": "0"}, "interval_seconds"),
    "bad cron": ({"kind": "cron", "cron_expression": "61 * * * *"}, "cron_expression"),
    "no cron": ({"kind": "cron", "cron_expression": ""}, "cron_expression"),
    "half a time": ({"kind": "one_time", "run_at_0": "2099-01-01"}, "run_at"),
    "no time": ({"kind": "one_time"}, "run_at"),
    "a past time": (
        {"kind": "one_time", "run_at_0": "2001-01-01", "run_at_1": "00:00"},
        "run_at",
    ),
    "a date that is none": (
        {"kind": "one_time", "run_at_0": "2099-02-30", "run_at_1": "00:00"},
        "run_at",
    ),
    "a zone that is none": ({"timezone": "Mars/Olympus"}, "timezone"),
    "a zone that is none, with a time": (
        {"timezone": "Mars", "starts_at_0": "2099-01-01", "starts_at_1": "00:00"},
        "timezone",
    ),
    "an end before the start": (
        {
            "starts_at_0": "2099-01-02",
            "starts_at_1": "00:00",
            "ends_at_0": "2099-01-01",
            "ends_at_1": "00:00",
        },
        "ends_at",
    ),
    "arguments that are no JSON": ({"kwargs": "{a: 1}"}, "kwargs"),
    "arguments that are no object": ({"kwargs": "[1]"}, "kwargs"),
    "arguments that are no list": ({"args": '{"a": 1}'}, "args"),
    "arguments that do not fit": ({"task": ADD, "kwargs": '{"c": 1}'}, "kwargs"),
    "NaN": ({"args": "[NaN]"}, "args"),
    "NUL": ({"args": '["\\u0000"]'}, "args"),
    "a number of 5,000 digits": ({"args": f"[{'1' * 5000}]"}, "args"),
    "nesting without end": ({"args": DEEP}, "args"),
    "a priority of 10": ({"priority": "10"}, "priority"),
    "the dispatcher's queue": ({"queue": "dispatcher"}, "queue"),
    "a soft limit above the hard one": (
        {"soft_time_limit": "60", "time_limit": "30"},
        "soft_time_limit",
    ),
}


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


# The list -----------------------------------------------------------------------------------------


def test_the_list_says_schedules_in_words(admin_client):
    interval("a", every=5)
    interval("b", every=5400)
    cron("c", "30 3 * * mon-fri", timezone="Asia/Shanghai")
    ScheduledTask.objects.create_one_time("d", OK, datetime(2099, 7, 1, 9, 0, tzinfo=UTC))
    html = admin_client.get(LIST).content.decode()
    for text in (
        "every 5 s",
        "every 1 h 30 min",
        "Monday to Friday at 03:30 (Asia/Shanghai)",
        "30 3 * * mon-fri</div>",
        "once, 2099-07-01 09:00:00 UTC",
    ):
        assert text in html


def test_the_next_run_is_the_first_slot_after_now_planned_or_not(admin_client):
    task = cron(expression="* * * * *")
    html = admin_client.get(LIST).content.decode()
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    slots = [now + timedelta(minutes=n) for n in (0, 1)]  # the minute may have turned meanwhile
    assert any(slot.strftime("%Y-%m-%d %H:%M:00 UTC") in html for slot in slots)
    assert task.next_run_at is not None


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=active", {"active"}),
        ("state=paused", {"paused"}),
        ("state=finished", {"finished"}),
        ("state=set_aside", {"broken"}),
        ("kind__exact=cron", {"paused"}),
        ("group=billing", {"finished"}),
        ("overlap_policy__exact=skip", {"active"}),
        ("q=ada", {"active"}),
        ("q=nothing+like+it", set()),
    ],
)
def test_the_list_can_be_filtered_and_searched(admin_client, query, names):
    interval("active", owner="ada", overlap_policy="skip")
    cron("paused").pause()
    interval("finished", group="billing")
    interval("broken")
    rows = ScheduledTask.objects
    rows.filter(name="finished").keep(enabled=False, state_reason="finished")
    rows.filter(name="broken").set_aside("x", "it broke", datetime.now(UTC))
    response = admin_client.get(f"{LIST}?{query}")
    assert {row.name for row in response.context["cl"].result_list} == names


def test_the_number_of_queries_does_not_grow_with_the_rows(admin_client):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert admin_client.get(LIST).status_code == 200
        return len(captured)

    def fill(numbers):
        for n in numbers:
            cron(f"cron {n}", "*/5 * * * *", group=f"g{n % 3}", timezone="Europe/Berlin")
            interval(f"interval {n}", every=60)

    fill(range(3))
    queries()  # what is cached once
    few = queries()
    fill(range(3, 25))
    assert queries() == few


# Garbage that raw SQL left ------------------------------------------------------------------------


GARBAGE = {
    "no such zone": "timezone = 'Mars/Olympus'",
    "bad cron": "cron_expression = '99 99 * * *'",
    "far too long an interval": (
        "kind = 'interval', cron_expression = '', interval_seconds = 2000000000"
    ),
    "arguments of a wrong shape": "args = '5', kwargs = '\"x\"'",
    "skipped slots of a wrong shape": "skip_slots = '5'",
    "a reason of a wrong shape": "state_reason = 'set_aside', state_reason_params = '[]'",
    "a state that is none": "state_reason = 'dreaming'",
    "a policy that is none": "misfire_policy = 'dream', overlap_policy = 'dream'",
    "no name": "name = ''",
    "the end of the calendar": "starts_at = '9999-12-31 23:59:59', timezone = 'Asia/Tokyo'",
}


@pytest.mark.parametrize("assignment", GARBAGE.values(), ids=GARBAGE)
def test_a_garbage_row_is_shown_with_its_reason_and_harms_no_page(admin_client, login, assignment):
    task = cron("broken")
    interval("healthy")
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE scheduling_scheduledtask SET {assignment} WHERE id = {task.pk}")
    listed = admin_client.get(LIST)
    assert listed.status_code == 200
    assert "healthy" in listed.content.decode()
    assert admin_client.get(page_of(task)).status_code == 200
    assert login("view_scheduledtask").get(page_of(task)).status_code == 200


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("timezone = 'Mars/Olympus'", "is not a known time zone"),
        ("cron_expression = '99 99 * * *'", "is out of range"),
    ],
)
def test_the_reason_is_told_before_a_tick_has_seen_the_row(admin_client, assignment, said):
    task = cron("broken")
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE scheduling_scheduledtask SET {assignment} WHERE id = {task.pk}")
    for page in (LIST, page_of(task)):
        html = admin_client.get(page).content.decode()
        assert said in html
        assert "mh-set_aside" in html


# Actions and buttons ------------------------------------------------------------------------------


def act(client, action, *tasks, **answers):
    """Choose the action, and say yes to its question."""
    chosen = [task.pk for task in tasks]
    data = {"action": action, "_selected_action": chosen, "confirmed": "1", **answers}
    return client.post(LIST, data, follow=True)


def test_jobs_are_paused_and_resumed_from_the_list_by_somebody(admin_client):
    first, second = interval("a"), interval("b")
    second.pause(by="ada")
    response = act(admin_client, "pause", first, second)
    assert "1 scheduled task paused." in messages_of(response)
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.enabled, first.state_reason_by) == (False, "admin")
    assert second.state_reason_by == "ada"
    assert "2 scheduled tasks resumed." in messages_of(act(admin_client, "resume", first, second))
    assert ScheduledTask.objects.filter(enabled=True).count() == 2


def test_an_error_of_one_row_is_told_by_name_and_the_others_go_on(admin_client):
    over = interval("over", ends_at=datetime(2099, 1, 1, tzinfo=UTC))
    good = interval("good")
    over.pause()
    good.pause()
    past = datetime(2001, 1, 1, tzinfo=UTC)
    ScheduledTask.objects.filter(pk=over.pk).keep(starts_at=past, ends_at=past)
    said = messages_of(act(admin_client, "resume", over, good))
    assert any("“over”" in text and "no slot before it ends" in text for text in said)
    assert "1 scheduled task resumed." in said
    good.refresh_from_db()
    assert good.enabled


def test_a_job_is_paused_and_resumed_by_a_button_and_its_history_says_so(admin_client):
    task = interval()
    html = admin_client.get(page_of(task)).content.decode()
    asks = page_of(task).replace("change", "pause")
    assert f'href="{asks}"' in html
    assert "no slot of it runs" in admin_client.get(asks).content.decode()
    response = admin_client.post(asks, follow=True)
    assert "“job” is paused." in messages_of(response)
    task.refresh_from_db()
    assert (task.enabled, task.state_reason_by) == (False, "admin")
    admin_client.post(f"{LIST}{task.pk}/resume/")
    task.refresh_from_db()
    assert task.enabled
    history = admin_client.get(f"{LIST}{task.pk}/history/").content.decode()
    assert [word in history for word in ("paused", "admin")] == [True, True]


def test_a_button_is_no_link(admin_client):
    task = interval()
    assert admin_client.get(f"{LIST}{task.pk}/resume/").status_code == 405
    assert admin_client.post(f"{LIST}999999999/pause/").status_code == 404
    task.refresh_from_db()
    assert task.enabled


def test_a_button_needs_the_csrf_token(admin_user):
    task = interval()
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert client.post(f"{LIST}{task.pk}/pause/").status_code == 403
    task.refresh_from_db()
    assert task.enabled


# Who may do what ----------------------------------------------------------------------------------

VIEW = "view_scheduledtask"
BUTTONS = ("run", "pause", "resume", "skip", "duplicate")


def offered(client):
    form = client.get(LIST).context["action_form"]
    return {name for name, _label in form.fields["action"].choices if name} if form else set()


@pytest.mark.parametrize(
    ("permissions", "actions", "buttons"),
    [
        ([VIEW], set(), set()),
        ([VIEW, "pause_scheduledtask"], {"pause", "resume"}, {"pause"}),
        ([VIEW, "run_scheduledtask"], {"run_now", "run_with"}, {"run"}),
        ([VIEW, "skip_scheduledtask"], {"skip_next"}, {"skip"}),
        ([VIEW, "add_scheduledtask"], {"duplicate"}, {"duplicate"}),
        ([VIEW, "change_scheduledtask"], set(), set()),
        ([VIEW, "delete_scheduledtask"], {"delete_selected"}, set()),
    ],
)
def test_one_is_offered_what_one_may_do(login, permissions, actions, buttons):
    task = interval()
    client = login(*permissions)
    assert offered(client) == {*actions, "export"}
    html = client.get(page_of(task)).content.decode()
    shown = {name for name in BUTTONS if f"/{task.pk}/{name}/" in html}
    assert shown == buttons


@pytest.mark.parametrize("permissions", [[], [VIEW], ["pause_scheduledtask"]])
def test_to_pause_takes_both_permissions(login, permissions):
    task = interval()
    client = login(*permissions)
    assert client.post(f"{LIST}{task.pk}/pause/").status_code == 403
    act(client, "pause", task)
    task.refresh_from_db()
    assert task.enabled


def test_a_reader_can_change_nothing(login):
    task = interval()
    client = login(VIEW)
    assert client.post(page_of(task), {"name": "other"}).status_code == 403
    assert client.get(ADD_PAGE).status_code == 403
    assert client.post(f"{LIST}{task.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.get(page_of(task)).status_code == 200


def test_nobody_gets_in_without_a_login(client):
    task = interval()
    for url in (LIST, page_of(task), f"{LIST}{task.pk}/pause/"):
        assert client.post(url).status_code == 302
    task.refresh_from_db()
    assert task.enabled


# Deleting -----------------------------------------------------------------------------------------


def test_deleting_asks_first_and_says_what_becomes_of_the_runs(admin_client):
    task = interval()
    question = admin_client.get(f"{LIST}{task.pk}/delete/").content.decode()
    assert "Its past runs stay in the list of runs" in question
    response = admin_client.post(f"{LIST}{task.pk}/delete/", {"post": "yes"}, follow=True)
    assert response.status_code == 200
    assert not ScheduledTask.objects.exists()


def test_several_are_deleted_from_the_list(admin_client):
    tasks = [interval("a"), interval("b")]
    chosen = {"action": "delete_selected", "_selected_action": [task.pk for task in tasks]}
    question = admin_client.post(LIST, chosen)
    assert "Its past runs stay in the list of runs" in question.content.decode()
    data = {
        "action": "delete_selected",
        "_selected_action": [task.pk for task in tasks],
        "post": "yes",
    }
    assert "Successfully deleted 2" in messages_of(admin_client.post(LIST, data, follow=True))[0]
    assert not ScheduledTask.objects.exists()
