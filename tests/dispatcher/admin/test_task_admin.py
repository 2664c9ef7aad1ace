"""The admin of scheduled tasks: its list and its buttons, their runs, and who may do what."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

import dispatcher
from dispatcher.models import TaskRun
from scheduling.models import ScheduledTask
from tests.dispatcher.admin.pages import (
    ADD_PAGE,
    LIST,
    NOW,
    OK,
    RUNS,
    VIEW,
    act,
    cron,
    interval,
    job,
    make_run,
    messages_of,
    page_of,
)

pytestmark = pytest.mark.django_db

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


# Their runs ---------------------------------------------------------------------------------------


def test_the_page_shows_the_newest_runs_and_links_to_all(admin_client):
    task = job()
    made = [make_run(task, at=NOW + timedelta(hours=n)) for n in range(7)]
    html = admin_client.get(page_of(task)).content.decode()
    listed = [f'{page_of(run)}"><span class="mh-badge' in html for run in made]
    assert listed == [False] * 2 + [True] * 5
    ticks = [f'mh-succeeded" href="{page_of(run)}"' in html for run in made]
    assert ticks == [True] * 7
    every = f"{RUNS}?scheduled_task__id__exact={task.pk}"
    assert every in html
    other = make_run(job("other"))
    listed = admin_client.get(every).context["cl"].result_list
    assert {run.pk for run in listed} >= {run.pk for run in made}
    assert other.pk not in {run.pk for run in listed}


def test_a_new_job_shows_no_runs_section(admin_client):
    assert "newest runs" not in admin_client.get(f"{LIST}add/").content.decode().lower()


# Run now ------------------------------------------------------------------------------------------


def test_jobs_are_run_from_the_list_in_the_name_of_the_user(admin_client):
    tasks = [job("a"), job("b")]
    tasks[1].pause()
    assert "2 runs started." in messages_of(act(admin_client, "run_now", *tasks))
    made = TaskRun.objects.filter(trigger="manual")
    assert {run.name for run in made} == {"a", "b"}
    assert {(run.triggered_by, run.triggered_via) for run in made} == {("admin", "admin")}


def test_a_row_that_cannot_run_is_told_by_name_and_the_others_run(admin_client, monkeypatch):
    real = dispatcher.runs.run_now

    def breaks_for_one(task, **options):
        if task.name == "bad":
            raise RuntimeError("the dog ate it")
        return real(task, **options)

    monkeypatch.setattr("dispatcher.runs.run_now", breaks_for_one)
    said = messages_of(act(admin_client, "run_now", job("bad"), job("good")))
    assert "“bad”: the dog ate it" in said
    assert "1 run started." in said
    assert [run.name for run in TaskRun.objects.filter(trigger="manual")] == ["good"]


def test_the_button_runs_it_links_the_run_and_notes_it_in_the_log(admin_client):
    task = job("<i>job</i>")
    response = admin_client.post(f"{LIST}{task.pk}/run/", follow=True)
    run = TaskRun.objects.get(trigger="manual")
    (said,) = messages_of(response)
    assert page_of(run) in said
    assert "“&lt;i&gt;job&lt;/i&gt;” runs now." in said
    assert LogEntry.objects.get(object_id=str(task.pk)).get_change_message() == "Run now."


@pytest.mark.parametrize("permissions", [[], ["view_scheduledtask"], ["run_scheduledtask"]])
def test_to_run_takes_the_permission_to_see_and_to_run(login, permissions):
    task = job()
    client = login(*permissions)
    assert client.post(f"{LIST}{task.pk}/run/").status_code == 403
    act(client, "run_now", task)
    assert not TaskRun.objects.filter(trigger="manual").exists()


def test_with_both_permissions_it_runs(login):
    task = job()
    client = login("view_scheduledtask", "run_scheduledtask")
    assert client.post(f"{LIST}{task.pk}/run/").status_code == 302
    act(client, "run_now", task)
    assert TaskRun.objects.filter(trigger="manual").count() == 2


# Deleting with runs -------------------------------------------------------------------------------


def test_to_delete_a_job_with_many_runs_lists_none_of_them_and_keeps_them(admin_client):
    task = job("gone")
    runs = [make_run(task) for _ in range(30)]
    with CaptureQueriesContext(connection) as captured:
        question = admin_client.get(f"{LIST}{task.pk}/delete/").content.decode()
    assert not any(str(run.pk) in question for run in runs)
    assert not any(
        "dispatcher_taskrun" in query["sql"] and "LIMIT 1)" not in query["sql"]
        for query in captured
    )
    admin_client.post(f"{LIST}{task.pk}/delete/", {"post": "yes"})
    assert not ScheduledTask.objects.exists()
    assert TaskRun.objects.filter(pk__in=[run.pk for run in runs], name="gone").count() == 30
    html = admin_client.get(page_of(runs[0])).content.decode()
    assert "It is deleted." in html
