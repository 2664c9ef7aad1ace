"""The admin of runs: its list, its pages, and who may do what to them."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dispatcher.admin.kit.read_only import CappedPaginator
from dispatcher.admin.run import search as run_search
from dispatcher.models import RunAttempt, Status, TaskRun, Tick, Worker
from dispatcher.models.run import run_id_at
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.registry.masking import MASK
from tests.dispatcher.admin.pages import (
    ADD,
    NOW,
    OK,
    RUNS,
    job,
    make_run,
    messages_of,
    page_of,
)

pytestmark = pytest.mark.django_db

TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: <b>no</b>'

# The list of runs ---------------------------------------------------------------------------------


def test_the_list_tells_lateness_duration_and_why(admin_client):
    task = job("Nightly")
    make_run(task, "failed", reason="exception", exception="ValueError: no column <amount>")
    make_run(task, "missed", reason="misfire", slot_count=12)
    html = admin_client.get(RUNS).content.decode()
    assert "0.12 s" in html  # late by
    assert "3.5 s" in html  # duration
    assert "ValueError: no column &lt;amount&gt;" in html
    assert "It was late when the scheduler came to it." in html
    assert "×12" in html


def test_runs_are_listed_newest_first(admin_client):
    made = [make_run() for _ in range(3)]
    listed = admin_client.get(RUNS).context["cl"].result_list
    assert [run.pk for run in listed] == [run.pk for run in reversed(made)]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("status__exact=failed", {"b"}),
        ("trigger__exact=manual", {"c"}),
        ("since=hour", {"c"}),
        ("since=garbage", {"a", "b", "c"}),
        ("q=B", {"b"}),
        (f"task={ADD}", {"a"}),
    ],
)
def test_runs_can_be_filtered_and_searched(admin_client, query, names):
    task = ScheduledTask.objects.create_cron("a", ADD, "0 0 1 1 *", args=[1, 2])
    hours_ago = database_now() - timedelta(hours=2)
    make_run(task, task_name=ADD, id=run_id_at(hours_ago))
    make_run(name="b", status="failed", id=run_id_at(hours_ago - timedelta(days=1)))
    make_run(name="c", trigger="manual", planned_at=database_now())
    response = admin_client.get(f"{RUNS}?{query}")
    assert {run.name for run in response.context["cl"].result_list} == names


def test_a_run_is_found_by_its_id(admin_client):
    run = make_run()
    make_run()
    for text in (str(run.pk), run.pk.hex, f" {run.pk} "):
        listed = admin_client.get(RUNS, {"q": text}).context["cl"].result_list
        assert [found.pk for found in listed] == [run.pk]
    assert not admin_client.get(RUNS, {"q": str(uuid.uuid4())}).context["cl"].result_list


def test_the_list_of_runs_takes_as_many_queries_for_50_rows_as_for_5(admin_client):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert admin_client.get(RUNS).status_code == 200
        return len(captured)

    tasks = [job(f"job {n}") for n in range(5)]
    for task in tasks:
        make_run(task, "failed", reason="exception", exception="ValueError: x", traceback="t")
    queries()
    few = queries()
    for task in tasks * 9:
        make_run(task, "failed", reason="exception", exception="ValueError: x", traceback="t")
    assert queries() == few


def test_the_list_reads_no_large_columns(admin_client):
    make_run(traceback=TRACEBACK)
    with CaptureQueriesContext(connection) as captured:
        admin_client.get(RUNS)
    assert not any("traceback" in query["sql"] for query in captured)


def test_counting_stops_at_a_limit_and_the_page_says_so(admin_client, monkeypatch):
    monkeypatch.setattr(CappedPaginator, "LIMIT", 3)
    for _ in range(5):
        make_run()
    with CaptureQueriesContext(connection) as captured:
        response = admin_client.get(RUNS)
    assert response.context["cl"].result_count == 3
    assert "Only the newest 3 are listed." in response.content.decode()
    counts = [query["sql"] for query in captured if "COUNT(" in query["sql"]]
    assert counts
    assert all("LIMIT 4" in sql for sql in counts)


# The page of a run --------------------------------------------------------------------------------


def test_a_failed_run_shows_its_exception_and_traceback_escaped(admin_client):
    run = make_run(
        job(), "failed", reason="exception", exception="ValueError: no", traceback=TRACEBACK
    )
    html = admin_client.get(page_of(run)).content.decode()
    assert "ValueError: &lt;b&gt;no&lt;/b&gt;</pre>" in html
    assert "<b>no</b>" not in html
    assert "The task raised an exception." in html


def test_the_result_is_shown_as_json_and_secrets_are_masked_everywhere(admin_client):
    run = make_run(
        args=[{"token": "hunter2"}],
        kwargs={"password": "hunter2", "region": "eu"},
        result={"api_key": "hunter2", "sent": 3, "to": "Zoë"},
    )
    html = admin_client.get(page_of(run)).content.decode()
    assert "hunter2" not in html
    assert html.count(MASK) == 3
    assert "&quot;to&quot;: &quot;Zoë&quot;" in html


def test_earlier_attempts_are_shown_with_their_tracebacks(login):
    run = make_run(job(), "succeeded", attempt=2)
    RunAttempt.objects.create(
        run=run,
        attempt=1,
        status="failed",
        reason="exception",
        started_at=NOW,
        finished_at=NOW + timedelta(seconds=2),
        exception="OSError: away",
        traceback=TRACEBACK,
    )
    html = login("view_taskrun").get(page_of(run)).content.decode()
    assert "OSError: away" in html
    assert "ValueError: &lt;b&gt;no&lt;/b&gt;</pre>" in html


@pytest.mark.parametrize("status", Status.values)
def test_a_run_in_any_state_has_a_page(admin_client, status):
    run = make_run(job(), status)
    assert admin_client.get(page_of(run)).status_code == 200
    assert admin_client.get(RUNS).status_code == 200


GARBAGE = {
    "a state that is none": {"status": "dreaming"},
    "a reason that is none": {"status": "failed", "reason": "dog", "reason_params": [1]},
    "arguments of a wrong shape": {"args": 5, "kwargs": "x"},
    "a task that is gone": {"scheduled_task_id": 987_654_321},
    "an original that is gone": {"rerun_of_id": uuid.uuid4()},
    "no times": {"started_at": None, "finished_at": None},
}


@pytest.mark.parametrize("columns", GARBAGE.values(), ids=GARBAGE)
def test_a_garbage_run_harms_no_page(admin_client, columns):
    run = make_run()
    TaskRun.objects.filter(pk=run.pk).update(**columns)
    assert admin_client.get(page_of(run)).status_code == 200
    assert admin_client.get(RUNS).status_code == 200


def test_an_id_that_is_none_leads_back_to_the_index(admin_client):
    assert admin_client.get(f"{RUNS}{uuid.uuid4()}/change/").status_code == 302
    assert admin_client.get(f"{RUNS}nonsense/change/").status_code == 302
    assert admin_client.post(f"{RUNS}{uuid.uuid4()}/cancel/").status_code == 404


# Read-only ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [TaskRun, Tick, Worker])
def test_what_the_scheduler_writes_nobody_edits(admin_client, model):
    row = {
        TaskRun: make_run,
        Tick: lambda: Tick.objects.create(started_at=NOW, finished_at=NOW + timedelta(seconds=1)),
        Worker: lambda: Worker.objects.create(
            id=uuid.uuid4(), hostname="w@h", pid=1, started_at=NOW, seen_at=NOW
        ),
    }[model]()
    every = reverse(f"admin:dispatcher_{model._meta.model_name}_changelist")
    page = page_of(row)
    assert admin_client.get(every).status_code == 200
    html = admin_client.get(page).content.decode()
    assert "<input" not in html.partition('id="content-main"')[2].replace(
        '<input type="hidden"', ""
    )
    assert admin_client.post(page, {}).status_code == 403
    assert admin_client.get(f"{every}add/").status_code == 403
    assert admin_client.post(page.replace("change", "delete"), {"post": "yes"}).status_code == 403
    assert model.objects.filter(pk=row.pk).exists()


# Cancel and rerun ---------------------------------------------------------------------------------


def test_a_waiting_run_is_cancelled_by_its_button(admin_client):
    run = make_run(status="published")
    assert f"{RUNS}{run.pk}/cancel/" in admin_client.get(page_of(run)).content.decode()
    response = admin_client.post(f"{RUNS}{run.pk}/cancel/", follow=True)
    run.refresh_from_db()
    assert (run.status, run.reason, run.reason_params) == (
        "cancelled",
        "by_person",
        {"by": "admin"},
    )
    assert "Cancelled by admin." in response.content.decode()


def test_a_run_that_ended_meanwhile_is_not_cancelled(admin_client):
    run = make_run()
    said = messages_of(admin_client.post(f"{RUNS}{run.pk}/cancel/", follow=True))
    assert said == ["The run had ended already."]
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_an_ended_run_is_run_again_and_the_page_of_the_new_one_links_the_old(admin_client):
    run = make_run(job(), "failed", kwargs={"x": 1})
    response = admin_client.post(f"{RUNS}{run.pk}/rerun/", follow=True)
    again = TaskRun.objects.get(trigger="rerun")
    assert (again.kwargs, again.triggered_by, again.triggered_via) == ({"x": 1}, "admin", "admin")
    assert response.redirect_chain[-1][0] == page_of(again)
    assert f'<a href="{page_of(run)}">' in response.content.decode()


def test_a_running_run_cannot_be_run_again(admin_client):
    run = make_run(status="running")
    response = admin_client.post(f"{RUNS}{run.pk}/rerun/", follow=True)
    assert "This run has not ended." in messages_of(response)[0]
    assert TaskRun.objects.count() == 1


@pytest.mark.parametrize(
    ("permissions", "shown"),
    [
        (["view_taskrun"], set()),
        (["view_taskrun", "cancel_taskrun"], {"cancel"}),
        (["view_taskrun", "rerun_taskrun"], {"rerun"}),
        (["view_taskrun", "cancel_taskrun", "rerun_taskrun"], {"cancel", "rerun"}),
    ],
)
def test_one_is_shown_the_buttons_that_one_may_press(login, permissions, shown):
    client = login(*permissions)
    found = set()
    for run in (make_run(status="published"), make_run(status="failed")):
        html = client.get(page_of(run)).content.decode()
        found |= {verb for verb in ("cancel", "rerun") if f"{run.pk}/{verb}/" in html}
    assert found == shown


@pytest.mark.parametrize("verb", ["cancel", "rerun"])
@pytest.mark.parametrize("has_view", [True, False])
def test_without_both_permissions_the_verbs_are_refused(login, verb, has_view):
    run = make_run(status="published" if verb == "cancel" else "failed")
    client = login("view_taskrun") if has_view else login(f"{verb}_taskrun")
    assert client.post(f"{RUNS}{run.pk}/{verb}/").status_code == 403
    assert client.get(f"{RUNS}{run.pk}/{verb}/").status_code == 403
    before = run.status
    run.refresh_from_db()
    assert run.status == before
    assert TaskRun.objects.count() == 1


@pytest.mark.parametrize("few", [1_000, 2])
def test_a_run_is_found_by_the_name_that_it_had(admin_client, monkeypatch, few):
    monkeypatch.setattr(run_search, "FEW", few)
    tasks = [ScheduledTask.objects.create_interval(f"{n} Sales", OK, 3600) for n in range(3)]
    for task in tasks:
        make_run(task, name=task.name)
    renamed, gone, _stays = tasks
    renamed.name = "Turnover"
    renamed.save()
    gone.delete()
    make_run(renamed, name="Turnover")
    make_run(None, name="sales of a day")

    def found(text: str) -> list[str]:
        rows = admin_client.get(RUNS, {"q": text}).context["cl"].result_list
        return [run.name for run in rows if run.status != "planned"]

    assert found("sales") == ["sales of a day", "2 Sales", "1 Sales", "0 Sales"]
    assert found("sales 0") == ["0 Sales"]
    assert found("turn") == ["Turnover"]
    assert found("nothing of that name") == []


def test_a_search_among_runs_looks_once_and_lists_the_newest_first(admin_client):
    made = [make_run(name=f"match {n}", status="failed", exception="why") for n in range(3)]
    make_run(name="other")
    with CaptureQueriesContext(connection) as captured:
        response = admin_client.get(RUNS, {"q": "MATCH"})
    found = response.context["cl"].result_list
    assert [run.pk for run in found] == [run.pk for run in reversed(made)]
    assert found[0].exception_head == "why"
    looked = [q["sql"].lower() for q in captured if "match" in q["sql"].lower()]
    assert len([sql for sql in looked if "dispatcher_taskrun" in sql]) == 1
