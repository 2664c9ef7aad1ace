"""The list of scheduled tasks: its columns, its filters, and that both stay quick."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dispatcher.admin.kit import list_filters
from dispatcher.admin.kit.found_rows import FoundPaginator
from dispatcher.models import TaskRun
from dispatcher.watch import recent_runs
from scheduling.models import ScheduledTask
from scheduling.words.wording import until_text
from tests.dispatcher.rows import job, run_at

pytestmark = pytest.mark.django_db

LIST = "/admin/scheduling/scheduledtask/"
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def url_of(run):
    return reverse("admin:dispatcher_taskrun_change", args=[run.pk])


def names(client, query=""):
    return [task.name for task in client.get(LIST + query).context["cl"].result_list]


def runs(task, statuses, step=MINUTE):
    return [run_at(NOW + n * step, task, status) for n, status in enumerate(statuses)]


# The newest runs ----------------------------------------------------------------------------------


def test_the_newest_20_runs_are_ticks_oldest_first_each_with_what_became_of_it(admin_client):
    task = job("ticked", timezone="Asia/Shanghai")
    TaskRun.objects.all().delete()
    made = runs(task, ["succeeded"] * 5 + ["failed"] * 19 + ["skipped"])
    html = admin_client.get(LIST).content.decode()
    found = [html.find(f'href="{url_of(run)}"') for run in made]
    assert found[:5] == [-1] * 5
    assert sorted(found[5:]) == found[5:] and found[5] > 0
    assert html.count('class="mh-tick mh-') == 20
    said = "failed · 2026-11-20 17:05 · 2 s"
    assert f'title="{said}" aria-label="{said}"' in html
    assert 'title="skipped · 2026-11-20 17:24" aria-label' in html
    assert 'aria-label="20 newest runs: 19 failed, 1 skipped"' in html


def test_of_a_strip_one_tick_is_reached_by_the_tabulator_key(admin_client):
    task = job()
    TaskRun.objects.all().delete()
    newest_run = runs(task, ["succeeded"] * 4)[-1]
    html = admin_client.get(LIST).content.decode()
    assert html.count('tabindex="0"></a>') == 1
    assert f'href="{url_of(newest_run)}"' in html[: html.index('tabindex="0"></a>')]
    assert html.count('tabindex="-1"></a>') == 3


def test_the_rate_and_the_median_are_of_the_runs_that_ended_by_their_work():
    task = job()
    TaskRun.objects.all().delete()
    runs(task, ["failed"] * 10 + ["succeeded"] * 45 + ["skipped"] * 4 + ["running"])
    recent = recent_runs.recent_runs_of([task.pk])[task.pk]
    assert len(recent.runs) == 50  # the oldest ten are not looked at
    assert (recent.worked, recent.succeeded) == (45, 45)
    assert recent.median == timedelta(seconds=2)


def test_the_median_of_an_even_number_lies_between_the_two():
    task = job()
    TaskRun.objects.all().delete()
    for seconds in (1, 2, 4, 100):
        at = NOW + seconds * MINUTE
        run_at(at, task, started_at=at, finished_at=at + timedelta(seconds=seconds))
    assert recent_runs.recent_runs_of([task.pk])[task.pk].median == timedelta(seconds=3)


def test_a_rate_is_never_rounded_up_to_a_hundred(admin_client):
    task = job()
    TaskRun.objects.all().delete()
    runs(task, ["failed"] + ["succeeded"] * 49)
    html = admin_client.get(LIST).content.decode()
    assert "98 %</span>" in html
    assert "Of its newest 50 runs, 50 ended by their own work; 49 succeeded." in html


def test_records_of_tasks_do_not_mix_and_one_without_runs_has_none():
    first, second, third = job(), job(), job()
    TaskRun.objects.all().delete()
    mine, other = runs(first, ["failed"]), runs(second, ["succeeded", "lost"])
    found = recent_runs.recent_runs_of([first.pk, second.pk, third.pk])
    assert [[run.pk for run in found[task.pk].runs] for task in (first, second, third)] == [
        [run.pk for run in mine],
        [run.pk for run in other],
        [],
    ]
    assert found[third.pk].median is None
    assert recent_runs.recent_runs_of([]) == {}


def test_who_may_not_see_runs_sees_no_ticks():
    task = job()
    run_at(NOW, task)
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_scheduledtask"))
    client = Client()
    client.force_login(user)
    html = client.get(LIST).content.decode()
    assert task.name in html
    assert "mh-tick" not in html


# The other columns --------------------------------------------------------------------------------


def test_a_paused_task_says_by_whom_and_why(admin_client):
    task = job("paused")
    task.pause(by="ada", params={"message": "deploy <today>"})
    html = admin_client.get(LIST).content.decode()
    assert ">by ada: deploy &lt;today&gt;</div>" in html
    assert "Since " in html and "By ada." in html


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "in 0 s"),
        (42, "in 42 s"),
        (299, "in 4 min"),
        (5400, "in 1 h 30 min"),
        (86_400 * 2 + 3 * 3600 + 59, "in 2 d 3 h"),
        (-5, "in 0 s"),
    ],
)
def test_the_time_until_then_is_no_finer_than_one_plans_by(seconds, said):
    assert until_text(timedelta(seconds=seconds)) == said


def test_the_next_run_is_relative_and_exact_in_both_zones_on_hover(admin_client):
    task = job(every=86_400, timezone="Asia/Shanghai")
    html = admin_client.get(LIST).content.decode()
    slot = task.upcoming(1)[0]
    local = (slot + timedelta(hours=8)).strftime("%Y-%m-%d %H:%M:%S CST")
    assert f'title="{local} · {slot:%Y-%m-%d %H:%M:%S UTC}">in 23 h' in html


# Queries ------------------------------------------------------------------------------------------


def test_the_list_takes_as_many_queries_for_100_rows_as_for_1(admin_client):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert admin_client.get(LIST).status_code == 200
        return len(captured)

    def fill(numbers):
        rows = [
            ScheduledTask(name=f"job {n}", kind="interval", interval_seconds=60, task=f"shop.t{n}")
            for n in numbers
        ]
        ScheduledTask.objects.bulk_create(rows)
        for task in ScheduledTask.objects.filter(name__in=[row.name for row in rows]):
            runs(task, ["failed", "succeeded", "planned"])

    fill(range(1))
    queries()  # what is cached once
    few = queries()
    fill(range(1, 100))
    assert queries() == few
    assert len(names(admin_client)) == 100


# Filters ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rare", [0, 10_000], ids=["by task", "by run"])
def test_the_filter_by_last_outcome_looks_at_the_newest_that_has_begun(
    admin_client, monkeypatch, rare
):
    monkeypatch.setattr(recent_runs, "RARE", rare)
    tasks = {name: job(name) for name in ("bad", "good", "recovered", "relapsed", "new")}
    TaskRun.objects.all().delete()
    runs(tasks["bad"], ["failed", "planned"])
    runs(tasks["good"], ["succeeded"])
    runs(tasks["recovered"], ["failed", "succeeded"])
    runs(tasks["relapsed"], ["succeeded", "failed", "failed"])
    run_at(NOW, None, "failed")
    assert names(admin_client, "?last_status=failed") == ["bad", "relapsed"]
    assert names(admin_client, "?last_status=succeeded") == ["good", "recovered"]
    assert names(admin_client, "?last_status=lost") == []


def test_lists_are_filtered_by_their_values_and_by_none(admin_client):
    job("a", owner="ada", group="billing", queue="slow", task="shop.one")
    job("b", owner="bob", group="billing", task="shop.two")
    job("c", task="shop.two")
    for query, found in {
        "?owner=ada": ["a"],
        "?owner=-": ["c"],
        "?group=billing": ["a", "b"],
        "?queue=slow": ["a"],
        "?task=shop.two": ["b", "c"],
        "?task=shop.*": ["a", "b", "c"],
        "?owner=nobody": [],
    }.items():
        assert names(admin_client, query) == found, query


def test_a_filter_with_too_many_values_is_typed_and_keeps_the_others(admin_client, monkeypatch):
    monkeypatch.setattr(list_filters, "LISTED", 2)
    for n in range(4):
        job(f"job {n}", group=f"group {n}", owner="ada" if n else "bob")
    html = admin_client.get(f"{LIST}?owner=ada").content.decode()
    assert '<input type="text" name="group"' in html
    assert '<input type="hidden" name="owner" value="ada">' in html
    assert "group=group+3" not in html and "group=group%203" not in html
    assert '<input type="text" name="owner"' not in html
    assert names(admin_client, "?owner=ada&group=group+2") == ["job 2"]


def test_distinct_values_come_in_order_and_no_more_than_asked():
    for group in ("b", "a", "c", "a", ""):
        job(group=group)
    assert list_filters.distinct_values("group", 10) == ["", "a", "b", "c"]
    assert list_filters.distinct_values("group", 2) == ["", "a"]
    ScheduledTask.objects.all().delete()
    assert list_filters.distinct_values("group", 10) == []


def test_a_search_counts_and_finds_at_once_and_stops_at_a_limit(admin_client, monkeypatch):
    for n in range(4):
        job(f"match {n}")
    job("other")
    assert names(admin_client, "?q=match") == [f"match {n}" for n in range(4)]
    monkeypatch.setattr(FoundPaginator, "LIMIT", 2)
    response = admin_client.get(f"{LIST}?q=match")
    assert response.context["cl"].result_count == 2
    assert "Only the first 2 are listed." in response.content.decode()
    assert admin_client.get(LIST).context["cl"].result_count == 5
