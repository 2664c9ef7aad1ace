"""The admin tells who changed what, and lets nobody undo unknowingly what another has changed."""

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from scheduling.models import ScheduledTask
from scheduling.registry.masking import MASK
from scheduling.trail import acting
from tests.dispatcher.admin.pages import ADD_PAGE, LIST, as_shown, page_of, submit

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"


def interval(name="job", every=3600, task=OK, **options):
    return ScheduledTask.objects.create_interval(name, task, every, **options)


def history_of(task):
    return f"{LIST}{task.pk}/history/"


def told(client, pk):
    """Each change on the page: (who, from where, kind, {label: (old, new)})."""
    response = client.get(f"{LIST}{pk}/history/")
    assert response.status_code == 200
    return [
        (one.by, one.via, one.kind, {c.label: (c.old, c.new) for c in one.changes})
        for one in response.context["changes"]
    ]


# Every way in the admin ---------------------------------------------------------------------------


def test_each_way_in_the_admin_is_noted_in_the_name_of_its_user(admin_client, admin_user):
    submit(admin_client, ADD_PAGE, name="job", task=OK, kind="interval", interval_seconds="3600")
    task = ScheduledTask.objects.get()
    submit(admin_client, page_of(task), interval_seconds="7200")
    for verb in ("pause", "resume"):
        admin_client.post(f"{LIST}{task.pk}/{verb}/")
    for action in ("pause", "resume"):
        admin_client.post(LIST, {"action": action, "_selected_action": [task.pk], "confirmed": "1"})
    admin_client.post(
        reverse("admin:scheduling_scheduledtask_delete", args=[task.pk]), {"post": "yes"}
    )

    entries = ScheduledTask.history.order_by("history_id")
    assert [entry.history_type for entry in entries] == [*"+~~~~~-"]
    assert {(entry.via, entry.by, entry.history_user) for entry in entries} == {
        ("admin", "admin", admin_user)
    }
    interval("other")
    assert ScheduledTask.history.first().via == "code"


def test_to_delete_several_from_the_list_is_noted_for_each(admin_client):
    first, second = interval("first"), interval("second")
    selected = {"_selected_action": [first.pk, second.pk]}
    admin_client.post(LIST, {"action": "delete_selected", "post": "yes"} | selected)
    deleted = ScheduledTask.history.filter(history_type="-")
    assert {(entry.name, entry.via) for entry in deleted} == {
        ("first", "admin"),
        ("second", "admin"),
    }


# The page "History" -------------------------------------------------------------------------------


def test_the_page_tells_who_changed_what_newest_first(admin_client):
    task = interval(owner="ada")
    with acting("api", "deploy"):
        ScheduledTask.objects.update(interval_seconds=7200, retry_backoff=True)
    task.refresh_from_db()
    task.pause(by="grace")

    paused, edited, created = told(admin_client, task.pk)
    assert paused[:3] == ("grace", "code", "changed")
    assert paused[3] == {"Enabled": ("yes", "no"), "State": ("active", "paused")}
    assert edited[:3] == ("deploy", "API", "changed")
    assert edited[3] == {"Every (seconds)": ("3600", "7200"), "Double the wait": ("no", "yes")}
    assert created[:3] == ("", "code", "created")
    assert created[3]["Owner"] == ("", "ada")
    assert created[3]["Kind"] == ("", "interval")


def test_the_page_is_linked_and_shown_in_the_stock_look(admin_client):
    task = interval("<b>job</b>", description="<script>")
    assert history_of(task) in admin_client.get(page_of(task)).content.decode()
    html = admin_client.get(history_of(task)).content.decode()
    assert "Changes of “&lt;b&gt;job&lt;/b&gt;”" in html
    assert "&lt;script&gt;" in html
    assert "<script>" not in html.partition('id="content-main"')[2].partition("</table>")[0]


def test_secrets_are_masked_and_a_change_of_one_is_told_without_it(admin_client):
    task = interval(task="no.such", kwargs={"token": "old-secret"})
    ScheduledTask.objects.update(kwargs={"token": "new-secret"})
    html = admin_client.get(history_of(task)).content.decode()
    assert "old-secret" not in html and "new-secret" not in html
    edited, _created = told(admin_client, task.pk)
    old, new = edited[3]["Keyword arguments"]
    assert MASK in old
    assert "(a hidden value changed)" in new


def test_a_set_aside_row_tells_why(admin_client):
    task = interval()
    ScheduledTask.objects.filter(pk=task.pk).set_aside("x", "it broke", task.armed_at)
    aside, _created = told(admin_client, task.pk)
    assert aside[:3] == ("", "scheduler", "changed")
    assert aside[3]["State"] == ("active", "set aside (it broke)")


def test_the_history_of_a_deleted_task_stays_readable(admin_client):
    task = interval()
    pk = task.pk
    task.delete()
    deleted, created = told(admin_client, pk)
    assert (deleted[2], created[2]) == ("deleted", "created")
    assert admin_client.get(f"{LIST}{pk + 1}/history/").status_code == 404


def test_to_read_the_history_takes_the_permission_to_see_the_task(admin_user):
    task = interval()
    user = User.objects.create_user("reader", is_staff=True)
    client = Client()
    client.force_login(user)
    assert client.get(history_of(task)).status_code == 403
    user.user_permissions.set(Permission.objects.filter(codename="view_scheduledtask"))
    assert client.get(history_of(task)).status_code == 200


def test_many_changes_come_in_pages_each_with_its_difference(admin_client):
    task = interval()
    for every in range(3601, 3661):
        ScheduledTask.objects.update(interval_seconds=every)
    first = admin_client.get(history_of(task)).context["changes"]
    second = admin_client.get(history_of(task) + "?p=2").context["changes"]
    assert (len(first), len(second)) == (50, 11)
    assert [(c.old, c.new) for c in first[-1].changes] == [("3610", "3611")]
    assert second[-1].kind == "created"


def test_the_number_of_queries_does_not_grow_with_the_changes(admin_client):
    task = interval()

    def queries():
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(history_of(task))
        return len(captured)

    few = queries()
    for every in range(3601, 3630):
        ScheduledTask.objects.update(interval_seconds=every)
    assert queries() == few


# Two people edit the same task --------------------------------------------------------------------


def refused(response):
    """The errors of a form that was shown again; None when it was saved."""
    if response.redirect_chain:
        return None
    return " ".join(response.context["adminform"].form.non_field_errors())


def test_a_page_that_is_out_of_date_is_refused_and_says_who_changed_what(admin_client):
    task = interval(description="one")
    page = as_shown(admin_client.get(page_of(task)))
    with acting("admin", "grace"):
        ScheduledTask.objects.update(interval_seconds=60)

    response = admin_client.post(page_of(task), page | {"description": "two"}, follow=True)
    said = refused(response)
    assert "changed while you had it open" in said
    assert "grace (admin): Every (seconds): “3600” → “60”" in said
    task.refresh_from_db()
    assert (task.interval_seconds, task.description) == (60, "one")

    # What was typed is kept, and where nothing was typed the others' value is shown.
    again = as_shown(response)
    assert (again["description"], again["interval_seconds"]) == ("two", 60)
    assert refused(admin_client.post(page_of(task), again, follow=True)) is None
    task.refresh_from_db()
    assert (task.interval_seconds, task.description) == (60, "two")


def test_who_saves_the_same_field_again_decides_knowingly(admin_client):
    task = interval()
    page = as_shown(admin_client.get(page_of(task)))
    ScheduledTask.objects.update(interval_seconds=60)
    response = admin_client.post(page_of(task), page | {"interval_seconds": "90"}, follow=True)
    assert refused(response)
    again = as_shown(response)
    assert again["interval_seconds"] == "90"
    assert refused(admin_client.post(page_of(task), again, follow=True)) is None
    task.refresh_from_db()
    assert task.interval_seconds == 90


def test_a_pause_by_the_scheduler_is_not_undone_by_a_page_from_before(admin_client):
    task = interval()
    page = as_shown(admin_client.get(page_of(task)))
    with acting("scheduler", "pause_after_failures"):
        task.pause(params={"failures": 3})
    response = admin_client.post(page_of(task), page | {"owner": "ada"}, follow=True)
    assert "Enabled: “yes” → “no”" in refused(response)
    again = as_shown(response)
    assert "enabled" not in again
    assert refused(admin_client.post(page_of(task), again, follow=True)) is None
    task.refresh_from_db()
    assert (task.enabled, task.owner) == (False, "ada")


def test_times_and_secrets_survive_being_shown_again(admin_client):
    kwargs = {"token": "secret", "n": 1}
    task = interval(task="no.such", kwargs=kwargs, timezone="Asia/Shanghai")
    page = as_shown(admin_client.get(page_of(task)))
    ScheduledTask.objects.update(
        starts_at="2026-01-01T00:00:00Z", kwargs={"token": "newer", "n": 2}
    )
    task.refresh_from_db()
    response = admin_client.post(page_of(task), page | {"owner": "ada"}, follow=True)
    said = refused(response)
    assert "Starts at: “” → “2026-01-01 08:00:00 CST”" in said
    assert "newer" not in said and "secret" not in said
    again = as_shown(response)
    assert (str(again["starts_at_0"]), str(again["starts_at_1"])) == ("2026-01-01", "08:00:00")
    assert refused(admin_client.post(page_of(task), again, follow=True)) is None
    before, task = task, ScheduledTask.objects.get()
    assert (task.kwargs, task.owner) == ({"token": "newer", "n": 2}, "ada")
    assert task.starts_at == before.starts_at


def test_what_does_not_touch_the_form_refuses_nothing(admin_client):
    task = interval()
    page = as_shown(admin_client.get(page_of(task)))
    ScheduledTask.objects.filter(pk=task.pk).set_aside("x", "it broke", task.armed_at)
    response = admin_client.post(page_of(task), page | {"owner": "ada"}, follow=True)
    assert refused(response) is None
    task.refresh_from_db()
    assert task.owner == "ada"
