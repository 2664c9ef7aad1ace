"""Which rows a list shows, in which order, and that a typing error does not show more of them."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dispatcher.api.kernel import counting
from dispatcher.api.kernel.pagination import CappedPages
from dispatcher.models import Status, TaskRun
from dispatcher.watch import recent_runs
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.api.conftest import EVERY, OK

#: A parameter, and the columns of the one row that it finds.
CASES = [
    ("kind=interval", EVERY),
    ("task=other.task", {"task": "other.task"}),
    ("queue=slow", {"queue": "slow"}),
    ("group=night", {"group": "night"}),
    ("owner=bob", {"owner": "bob"}),
    ("enabled=false", {"enabled": False}),
    ("state=paused", {"enabled": False}),
    ("has_queue=true", {"queue": "slow"}),
    ("has_group=true", {"group": "night"}),
    ("has_owner=true", {"owner": "bob"}),
    ("misfire_policy=skip", {"misfire_policy": "skip"}),
    ("overlap_policy=queue_one", {"overlap_policy": "queue_one"}),
    ("search=oTh", {}),
    ("search=Oth&kind=cron", {}),
]


def names(answer):
    assert answer.status_code == 200, answer.content
    return [row["name"] for row in answer.json()["results"]]


@pytest.mark.parametrize(("query", "columns"), CASES)
def test_each_filter_finds_its_row(api, query, columns):
    api.create(name="One")
    other = columns | {"name": "Other"}
    if other.get("kind") == "interval":
        other["cron_expression"] = ""
    api.create(**other)

    answer = api.get(f"scheduled-tasks/?{query}")

    assert names(answer) == ["Other"]
    assert answer.json()["count"] == 1


@pytest.mark.parametrize("column", ["queue", "group", "owner"])
def test_what_has_no_group_can_be_asked_for(api, column):
    api.create(name="One", **{column: "x"})
    api.create(name="Other")

    assert names(api.get(f"scheduled-tasks/?has_{column}=false")) == ["Other"]


@pytest.mark.parametrize("state", ["active", "finished", "set_aside"])
def test_the_filter_of_the_state_agrees_with_what_is_shown(api, state):
    now = database_now()
    api.create(name="active")
    ScheduledTask.objects.filter(pk=api.create(name="set_aside")["id"]).set_aside("x", "y", now)
    finished = ScheduledTask.objects.filter(pk=api.create(name="finished")["id"])
    finished.keep(next_run_at=None)
    finished.finish(now)

    answer = api.get(f"scheduled-tasks/?state={state}")

    assert names(answer) == [state]
    assert answer.json()["results"][0]["state"] == state


@pytest.mark.parametrize("rare", [0, 10_000])
def test_the_filter_of_the_last_status(api, monkeypatch, rare):
    monkeypatch.setattr(recent_runs, "RARE", rare)  # it asks the tasks, or the runs
    for name in ("One", "Other"):
        row = api.create(name=name)
        run = api.post(f"scheduled-tasks/{row['id']}/run/").json()
    api.post(f"runs/{run['id']}/cancel/")

    assert names(api.get("scheduled-tasks/?last_status=cancelled")) == ["Other"]
    assert names(api.get("scheduled-tasks/?last_status=cancelled&search=one")) == []
    assert names(api.get("scheduled-tasks/?last_status=failed")) == []


def test_of_a_frequent_last_status_fewer_are_counted(api, monkeypatch):
    monkeypatch.setattr(recent_runs, "RARE", 0)
    monkeypatch.setattr(counting, "SLOW_LIMIT", 1)
    for name in ("One", "Other", "Third"):
        row = api.create(name=name)
        run = api.post(f"scheduled-tasks/{row['id']}/run/").json()
        api.post(f"runs/{run['id']}/cancel/")

    with CaptureQueriesContext(connection) as found:
        page = api.get("scheduled-tasks/?last_status=cancelled&page_size=2").json()

    assert any("LIMIT 3" in query["sql"] for query in found)  # the page and one, not all of them
    assert (page["count"], page["count_is_exact"]) == (1, False)
    assert [row["name"] for row in page["results"]] == ["One", "Other"]
    assert names(api.get(page["next"])) == ["Third"]


def test_of_a_rare_last_status_all_are_counted_as_they_are_read(api):
    for name in ("Third", "One", "Other"):
        row = api.create(name=name)
        run = api.post(f"scheduled-tasks/{row['id']}/run/").json()
        api.post(f"runs/{run['id']}/cancel/")
    api.create(name="Never run")

    page = api.get("scheduled-tasks/?last_status=cancelled&page_size=2").json()

    assert (page["count"], page["count_is_exact"]) == (3, True)
    assert [row["name"] for row in page["results"]] == ["One", "Other"]
    following = api.get(page["next"])
    assert (names(following), following.json()["next"]) == (["Third"], None)
    beyond = api.get("scheduled-tasks/?last_status=cancelled&page_size=2&page=3")
    assert beyond.status_code == 404


@pytest.mark.parametrize("prefix", ["50%", "a_", "A\\", "Ärg", "ÄRG"])
def test_search_takes_every_character_as_it_is(api, prefix):
    for name in ("50% off", "50 off", "a_b", "axb", "a\\b", "Ärger"):
        api.create(name=name)

    if connection.vendor == "sqlite" and prefix == "ÄRG":
        pytest.skip("SQLite knows the case of ASCII letters only")

    (found,) = names(search(api, prefix))

    assert found.lower().startswith(prefix.lower())


def search(api, prefix):
    return api.client.get("/api/v1/scheduled-tasks/", {"search": prefix})


@pytest.mark.parametrize("ordering", ["", "&ordering=name", "&ordering=-name", "&ordering=-id"])
def test_what_is_found_by_search_can_be_ordered(api, ordering):
    for name in ("Job c", "job a", "Other", "Job B"):
        api.create(name=name)

    found = names(api.get(f"scheduled-tasks/?search=job{ordering}"))

    by_name = ["job a", "Job B", "Job c"]
    by_id = ["Job B", "job a", "Job c"]
    assert found == {"&ordering=-name": by_name[::-1], "&ordering=-id": by_id}.get(
        ordering, by_name
    )


@pytest.mark.skipif("connection.vendor != 'postgresql'")
def test_search_reads_an_index(api):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        plan = ScheduledTask.objects.named_from("Nig").explain()

    assert re.search(r"Index Cond: .*~>=~ 'nig'.*~<~ 'nih'", plan), plan
    assert "Sort" not in plan


@pytest.mark.parametrize(
    ("ordering", "expected"),
    [
        ("name", ["a", "B", "c"]),
        ("-name", ["c", "B", "a"]),
        ("id", ["c", "a", "B"]),
        ("-id", ["B", "a", "c"]),
        ("group", ["c", "a", "B"]),
        ("-owner", ["c", "a", "B"]),
    ],
)
def test_the_order(api, ordering, expected):
    for number, name in enumerate(("c", "a", "B")):
        api.create(name=name, group=f"g{number}", owner=f"o{9 - number}")

    assert names(api.get(f"scheduled-tasks/?ordering={ordering}")) == expected


def test_the_same_value_is_ordered_by_name(api):
    for name in ("c", "a", "B"):
        api.create(name=name, group="night")

    assert names(api.get("scheduled-tasks/?ordering=group")) == ["a", "B", "c"]
    assert names(api.get("scheduled-tasks/?ordering=-group")) == ["c", "B", "a"]


def test_without_an_order_it_is_by_name(api):
    for name in ("c", "a", "B"):
        api.create(name=name)

    assert names(api.get("scheduled-tasks/?search=")) == ["a", "B", "c"]


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("ordering=description", "ordering", "invalid_choice"),
        ("kind=weekly", "kind", "invalid_choice"),
        ("enabled=perhaps", "enabled", "invalid"),
        ("state=asleep", "state", "invalid_choice"),
        ("page_size=101", "page_size", "invalid_page_size"),
        ("page_size=0", "page_size", "invalid_page_size"),
        ("page_size=x", "page_size", "invalid_page_size"),
        ("page=0", "page", "invalid_page"),
        ("format=json", "format", "unknown_parameter"),
        ("kind=", "kind", "empty"),
        ("owner=", "owner", "empty"),
        ("kind=cron&kind=interval", "kind", "repeated"),
        ("page=1&page=2", "page", "repeated"),
        ("owner=%00", "owner", "null_characters_not_allowed"),
    ],
)
def test_a_value_that_means_nothing_is_refused(api, query, field, code):
    answer = api.get(f"scheduled-tasks/?{query}")

    assert answer.status_code == 400
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]


def test_a_typing_error_is_told_with_what_was_probably_meant(api):
    answer = api.get("runs/?stauts=failed")

    assert answer.status_code == 400
    assert answer.json()["errors"] == [
        {
            "code": "unknown_parameter",
            "field": "stauts",
            "detail": "There is no parameter “stauts”. Did you mean “status”?",
        }
    ]


def test_a_parameter_of_a_list_is_none_of_a_single_row(api):
    row = api.create()

    answer = api.get(f"scheduled-tasks/{row['id']}/?kind=cron")

    assert answer.json()["errors"][0]["code"] == "unknown_parameter"


def test_pages_have_numbers_a_count_and_absolute_links(api):
    for number in range(5):
        api.create(name=f"Job {number}")

    second = api.get("scheduled-tasks/?page_size=2&page=2&kind=cron").json()

    assert second["count"] == 5
    assert [row["name"] for row in second["results"]] == ["Job 2", "Job 3"]
    assert second["next"] == (
        "http://testserver/api/v1/scheduled-tasks/?kind=cron&page=3&page_size=2"
    )
    assert names(api.get(second["previous"])) == ["Job 0", "Job 1"]
    assert api.get("scheduled-tasks/?page_size=2&page=4").status_code == 404


@pytest.mark.sampled(4)
@pytest.mark.parametrize("few", [0, 2000])
@pytest.mark.parametrize("deep", [1, 1000])
@pytest.mark.parametrize(
    "query", ["", "&ordering=id", "&search=JOB", "&kind=cron", "&ordering=task"]
)
def test_beyond_the_limit_the_count_says_so_and_every_page_can_be_reached(
    api, monkeypatch, few, deep, query
):
    monkeypatch.setattr(CappedPages, "limit", 3)
    monkeypatch.setattr(CappedPages, "few", few)
    monkeypatch.setattr(counting, "DEEP", deep)
    for number in range(5):
        api.create(name=f"Job {number}")

    pages = [api.get(f"scheduled-tasks/?page_size=2{query}").json()]
    while pages[-1]["next"]:
        pages.append(api.get(pages[-1]["next"]).json())

    assert {(page["count"], page["count_is_exact"]) for page in pages} == {(3, False)}
    shown = [row["name"] for page in pages for row in page["results"]]
    assert shown == [f"Job {number}" for number in range(5)]
    assert [row["name"] for row in api.get(pages[2]["previous"]).json()["results"]] == shown[2:4]
    assert api.get(f"scheduled-tasks/?page_size=2&page=4{query}").status_code == 404
    assert api.get(f"scheduled-tasks/?page={10**17}").status_code == 404


@pytest.mark.parametrize("ordering", ["name", "-name", "id", "-id"])
def test_a_deep_page_is_found_in_the_index(api, monkeypatch, ordering):
    for name in ("b", "A", "c", "D", "e"):
        api.create(name=name)
    expected = names(api.get(f"scheduled-tasks/?ordering={ordering}"))
    monkeypatch.setattr(counting, "DEEP", 2)
    monkeypatch.setattr(CappedPages, "few", 0)

    with CaptureQueriesContext(connection) as found:
        page = api.get(f"scheduled-tasks/?page_size=2&page=2&ordering={ordering}")

    assert names(page) == expected[2:4]
    key = "name_key" if "name" in ordering else "id"
    deep = [query["sql"] for query in found if "OFFSET 2" in query["sql"]]
    assert [sql.split(" FROM ")[0].count(",") for sql in deep] == [0]  # one column, which is
    assert key in deep[0].split(" FROM ")[0]


@pytest.mark.parametrize("rows", [3, 4])
def test_up_to_the_limit_the_count_is_exact(api, monkeypatch, rows):
    monkeypatch.setattr(CappedPages, "limit", 3)
    for number in range(rows):
        api.create(name=f"Job {number}")

    page = api.get("scheduled-tasks/?page_size=2&page=2").json()

    assert (page["count"], page["count_is_exact"]) == (3, rows == 3)
    assert page["next"] is None
    assert len(page["results"]) == rows - 2


def test_an_empty_list_is_a_page(api):
    page = api.get("scheduled-tasks/").json()

    assert page["results"] == []
    assert (page["count"], page["count_is_exact"]) == (0, True)
    assert api.get("scheduled-tasks/?page=2").status_code == 404


def test_a_list_asks_as_many_queries_for_one_row_as_for_many(api):
    def queries():
        with CaptureQueriesContext(
            connection,
        ) as found:
            names(api.get("scheduled-tasks/"))
        return len(found)

    api.create(name="First")
    one = queries()
    for number in range(5):
        api.create(name=f"Job {number}")

    assert queries() == one


# Runs ----------------------------------------------------------------------------------------


def run_of(api, **columns):
    run = TaskRun.objects.get(pk=api.post("runs/", {"task": OK}).json()["id"])
    TaskRun.objects.filter(pk=run.pk).update(**columns)
    return str(run.pk)


RUN_CASES = [
    ("status=failed", {"status": Status.FAILED}),
    ("status=failed&status=lost", {"status": Status.LOST}),
    ("trigger=backfill", {"trigger": "backfill"}),
    ("reason=overlap", {"reason": "overlap"}),
    ("name=Other", {"name": "Other"}),
    ("task=other.task", {"task": "other.task"}),
    ("queue=slow", {"queue": "slow"}),
    ("worker=w2", {"worker": "w2"}),
    ("scheduled_for_before=2021-01-01T00:00:00Z", {"scheduled_for": "2020-06-01T00:00:00Z"}),
    ("scheduled_for_after=2090-01-01T00:00:00%2B08:00", {"scheduled_for": "2090-01-01T00:00:00Z"}),
    ("scheduled_for_after=2090-01-01T00:00:00+08:00", {"scheduled_for": "2090-01-01T00:00:00Z"}),
]


@pytest.mark.parametrize(("query", "columns"), RUN_CASES)
def test_each_filter_finds_its_run(api, query, columns):
    run_of(api)
    other = run_of(api, **columns)

    answer = api.get(f"runs/?{query}")

    assert [run["id"] for run in answer.json()["results"]] == [other]


def test_runs_of_several_statuses_are_found_at_once(api):
    made = {status: run_of(api, status=status) for status in (Status.FAILED, Status.LOST, "missed")}

    answer = api.get("runs/?status=failed&status=lost")

    found = {run["id"] for run in answer.json()["results"]}
    assert found == {made[Status.FAILED], made[Status.LOST]}


def test_the_filter_of_the_scheduled_task_and_its_own_list_agree(api):
    row = api.create()
    run_of(api)
    run = api.post(f"scheduled-tasks/{row['id']}/run/").json()["id"]

    for path in (f"runs/?scheduled_task={row['id']}", f"scheduled-tasks/{row['id']}/runs/"):
        assert [found["id"] for found in api.get(path).json()["results"]] == [run]
    assert api.get(f"scheduled-tasks/{row['id']}/runs/?trigger=rerun").json()["results"] == []


def test_the_time_of_planning_is_read_from_the_id(api):
    before = database_now()
    run = run_of(api)
    after = database_now()

    def found(**limits):
        answer = api.client.get("/api/v1/runs/", {k: v.isoformat() for k, v in limits.items()})
        return [each["id"] for each in answer.json()["results"]]

    assert found(planned_after=before.replace(microsecond=0)) == [run]
    assert found(planned_before=before.replace(microsecond=0)) == []
    assert found(planned_after=after.replace(year=after.year + 1)) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("scheduled_for_after=2026-01-01T00:00:00", "scheduled_for_after"),
        ("planned_before=yesterday", "planned_before"),
        ("status=done", "status"),
        ("scheduled_task=x", "scheduled_task"),
        ("scheduled_task=99999999999999999999", "scheduled_task"),
        ("cursor=x", "cursor"),
        ("ordering=name", "ordering"),
        ("task=a&task=b", "task"),
    ],
)
def test_a_value_that_means_nothing_of_runs_is_refused(api, query, field):
    answer = api.get(f"runs/?{query}")

    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]
