"""Actions of the list: each asks first, says what will happen, and tells afterwards."""

import json
from datetime import timedelta

import pytest

from dispatcher.admin.task import list_actions
from dispatcher.models import TaskRun
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.rows import job, run_at

pytestmark = pytest.mark.django_db

LIST = "/admin/scheduling/scheduledtask/"


def choose(client, action, *tasks, **answers):
    chosen = [task.pk for task in tasks]
    return client.post(LIST, {"action": action, "_selected_action": chosen, **answers}, follow=True)


def confirm(client, question):
    """Press the button of the page that asks, with all that its form brings along."""
    data = {"csrfmiddlewaretoken": "x"}
    for name, value in question.context["hidden"]:
        data.setdefault(name, []).append(value)
    return client.post(LIST, data, follow=True)


def said(response):
    return [str(message) for message in response.context["messages"]]


def html_of(response):
    return " ".join(response.content.decode().split())


@pytest.mark.parametrize("action", ["run_now", "pause", "resume", "skip_next", "duplicate"])
def test_nothing_happens_before_somebody_has_said_yes(admin_client, action):
    tasks = [job("a"), job("b")]
    tasks[1].pause(by="ada")
    before = list(ScheduledTask.objects.order_by("pk").values())
    runs = set(TaskRun.objects.values_list("pk", flat=True))
    html = html_of(choose(admin_client, action, *tasks))
    assert "2 scheduled tasks" in html and "<li>a" in html and "<li>b" in html
    assert list(ScheduledTask.objects.order_by("pk").values()) == before
    assert set(TaskRun.objects.values_list("pk", flat=True)) == runs


def test_a_pause_says_how_many_runs_it_cancels_and_why_it_was(admin_client):
    first, second = job("a"), job("b")
    second.pause(by="ada")
    TaskRun.objects.all().delete()
    now = database_now()
    for status in ("planned", "published", "retrying", "running", "succeeded"):
        run_at(now - timedelta(minutes=1), first, status)
    question = choose(admin_client, "pause", first, second)
    html = html_of(question)
    assert "Pause 2 scheduled tasks?" in html
    assert "3 runs that are due and have not started will be cancelled." in html
    assert "1 is not active and stays as it is." in html
    told = said(choose(admin_client, "pause", first, second, confirmed="1", why="deploy"))
    assert told == ["1 scheduled task paused.", "1 was paused already."]
    assert TaskRun.objects.filter(status="cancelled").count() == 3
    first.refresh_from_db()
    assert (first.state_reason_by, first.state_reason_params) == ("admin", {"message": "deploy"})


def test_runs_start_once_for_each_also_for_paused_ones(admin_client):
    tasks = [job("a", overlap_policy="skip"), job("b")]
    tasks[1].pause()
    question = choose(admin_client, "run_now", *tasks)
    assert "1 is paused, and stays so; this run starts all the same." in html_of(question)
    assert "1 has a rule for runs that overlap" in html_of(question)
    assert said(confirm(admin_client, question)) == ["2 runs started."]
    assert TaskRun.objects.filter(trigger="manual").count() == 2


def test_other_arguments_are_asked_for_exactly_one(admin_client):
    one, other = job("a"), job("b")
    alone = admin_client.post(LIST, {"action": "run_with", "_selected_action": [one.pk]})
    assert (alone.status_code, alone.url) == (302, f"{LIST}{one.pk}/run/")
    both = choose(admin_client, "run_with", one, other)
    assert said(both) == ["Select exactly one: other arguments are given for one task."]
    assert not TaskRun.objects.filter(trigger="manual").exists()


def test_a_skip_names_the_slots_and_skips_those(admin_client):
    first, second = job("a"), job("b")
    second.pause()
    slot, following = first.upcoming(2)
    question = choose(admin_client, "skip_next", first, second)
    assert f"{slot:%Y-%m-%d %H:%M:%S} UTC" in html_of(question)
    assert "has no next run" in html_of(question)
    told = said(confirm(admin_client, question))
    assert told == ["1 slot is skipped.", "1 has no run to come that could be skipped."]
    first.refresh_from_db()
    assert first.upcoming(1) == [following]


def test_a_slot_that_nobody_was_told_of_is_not_skipped(admin_client):
    task = job("a")
    old = {str(task.pk): (task.upcoming(1)[0] - timedelta(hours=1)).isoformat()}
    for slots in (json.dumps(old), "{}", "nonsense", "[]"):
        told = said(choose(admin_client, "skip_next", task, confirmed="1", slots=slots))
        assert told == ["“a”: Its next run is another one by now."]
    task.refresh_from_db()
    assert task.skip_slots == []


def test_an_action_takes_no_more_than_a_limit(admin_client, monkeypatch):
    monkeypatch.setattr(list_actions, "MOST", 1)
    told = said(choose(admin_client, "pause", job("a"), job("b"), confirmed="1"))
    assert told == ["Select at most 1 at a time, for example by a filter."]
    assert ScheduledTask.objects.filter(enabled=True).count() == 2


# Duplicate ----------------------------------------------------------------------------------------


def test_copies_are_paused_and_the_trail_says_of_what(admin_client):
    task = job("Report", owner="ada", kwargs={"password": "hunter2"}, task="far.away", max_runs=9)
    task.skip_next()
    question = choose(admin_client, "duplicate", task)
    assert "A copy is paused until somebody has looked at it" in html_of(question)
    (told,) = said(confirm(admin_client, question))
    assert told == "1 copy is made. It is paused: look at it, then resume it."
    copy = ScheduledTask.objects.get(name="Report (copy)")
    assert (copy.enabled, copy.skip_slots, copy.slots_used) == (False, [], 0)
    assert (copy.owner, copy.kwargs, copy.max_runs) == ("ada", {"password": "hunter2"}, 9)
    assert not copy.runs.exists()
    entry = ScheduledTask.history.filter(id=copy.pk).get()
    assert (entry.by, entry.via) == ("admin", "admin")
    history = html_of(admin_client.get(f"{LIST}{copy.pk}/history/"))
    assert "paused (Copy of “Report”.)" in history
    assert "by admin: Copy of “Report”." in html_of(admin_client.get(LIST))


def test_the_button_asks_and_leads_to_the_copy(admin_client):
    task = job("Report")
    assert "This makes a copy" in html_of(admin_client.get(f"{LIST}{task.pk}/duplicate/"))
    assert ScheduledTask.objects.count() == 1
    response = admin_client.post(f"{LIST}{task.pk}/duplicate/")
    copy = ScheduledTask.objects.get(name="Report (copy)")
    assert response.url == f"{LIST}{copy.pk}/change/"


def test_a_copy_resumed_runs_as_the_original(admin_client):
    task = job("Report")
    admin_client.post(f"{LIST}{task.pk}/duplicate/")
    copy = ScheduledTask.objects.get(name="Report (copy)")
    copy.resume(by="ada")
    copy.refresh_from_db()
    assert (copy.enabled, copy.state_reason_params) == (True, {})
    assert len(copy.upcoming(2)) == 2


# Do not skip --------------------------------------------------------------------------------------


def test_a_skip_is_taken_back_and_the_slot_runs(admin_client):
    task = job("a")
    slot = task.skip_next(by="ada")
    page = html_of(admin_client.get(f"{LIST}{task.pk}/change/"))
    assert f"Do not skip {slot:%Y-%m-%d %H:%M}" in page
    assert "Skipped by hand" in page
    url = f"{LIST}{task.pk}/unskip/"
    assert "It will run then." in html_of(admin_client.get(url, {"slot": slot.isoformat()}))
    task.refresh_from_db()
    assert task.skip_slots == [slot.isoformat()]
    response = admin_client.post(f"{url}?slot={slot:%Y-%m-%dT%H:%M:%S}%2B00:00", follow=True)
    assert said(response) == [f"“a” will run at {slot:%Y-%m-%d %H:%M:%S} UTC."]
    task.refresh_from_db()
    assert (task.skip_slots, task.upcoming(1)) == ([], [slot])
    page = html_of(admin_client.get(f"{LIST}{task.pk}/change/"))
    assert "Do not skip" not in page and "Skipped by hand" not in page


def test_what_is_not_skipped_cannot_be_taken_back(admin_client):
    task = job("a")
    for slot in ("", "nonsense", task.upcoming(1)[0].isoformat()):
        response = admin_client.post(f"{LIST}{task.pk}/unskip/?slot={slot}", follow=True)
        assert said(response) == ["This slot is not skipped, or it has passed."]


def test_a_skipped_slot_that_is_planned_already_is_planned_anew():
    """Its run was recorded as skipped ahead of time; taken back, the slot gets a run."""
    task = job("a", every=60)
    slot = task.skip_next(by="ada")
    recorded = TaskRun.objects.filter(scheduled_task=task, slot=slot)
    assert [run.status for run in recorded] == ["skipped"]
    assert task.unskip(slot, by="ada")
    assert not task.unskip(slot, by="ada")
    assert [run.status for run in recorded.all()] in (["planned"], ["published"])
