"""Runs through the API: listed while others are added, looked at, started, cancelled, repeated."""

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dispatcher.models import RunAttempt, Status, TaskRun
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.registry import masking
from tests.dispatcher.api.conftest import ADD, OK
from tests.dispatcher.rows import run_at


def codes(answer):
    return {(error["field"], error["code"]) for error in answer.json()["errors"]}


def runs(count, **columns):
    now = database_now()
    return [run_at(now - timedelta(minutes=count - i), **columns) for i in range(count)]


def pages(api, path):
    """The results page by page, following `next`."""
    found = []
    while path:
        answer = api.get(path).json()
        found.append(answer["results"])
        path = answer["next"]
    return found


# Lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("query", "newest_first"), [("", True), ("&ordering=id", False)])
def test_pages_by_cursor_hold_every_run_once(api, query, newest_first):
    made = [str(run.pk) for run in runs(7)]

    found = pages(api, f"runs/?page_size=3{query}")

    assert [len(page) for page in found] == [3, 3, 1]
    ids = [run["id"] for page in found for run in page]
    assert ids == (made[::-1] if newest_first else made)


def test_the_way_back_shows_the_same_pages(api):
    runs(7)
    first = api.get("runs/?page_size=3").json()
    second = api.get(first["next"]).json()

    assert first["previous"] is None
    assert api.get(second["previous"]).json()["results"] == first["results"]


@pytest.mark.django_db(transaction=True)
def test_who_follows_next_sees_each_run_once_while_others_are_added(api):
    there = {str(run.pk) for run in runs(40)}
    done = threading.Event()
    added = []

    def add() -> None:
        while not done.is_set() or len(added) < 5:
            added.append(str(run_at(database_now()).pk))
        connection.close()

    writer = threading.Thread(target=add)
    writer.start()
    found = [run["id"] for page in pages(api, "runs/?page_size=4") for run in page]
    done.set()
    writer.join(60)

    assert len(added) >= 5
    assert len(found) == len(set(found))
    assert there <= set(found) <= there | set(added)
    assert found == sorted(found, reverse=True)


def test_a_list_leaves_out_what_may_be_large(api):
    runs(3, result={"x": 1}, log="line", kwargs={"x": 1})

    with CaptureQueriesContext(connection) as queries:
        shown = api.get("runs/").json()["results"][0]

    large = {"args", "kwargs", "result", "exception", "traceback", "log", "attempts"}
    assert large.isdisjoint(shown)
    reads = [each["sql"] for each in queries if 'FROM "dispatcher_taskrun"' in each["sql"]]
    assert all('"traceback"' not in sql for sql in reads)
    assert shown["duration_seconds"] == 2.0
    assert shown["lateness_seconds"] == 0.0


def test_a_list_asks_as_many_queries_for_one_run_as_for_many(api):
    def queries():
        with CaptureQueriesContext(connection) as found:
            assert api.get("runs/").json()["results"]
        return len(found)

    row = ScheduledTask.objects.get(pk=api.create()["id"])
    runs(1, task=row)
    one = queries()
    runs(5, task=row)

    assert queries() == one


# One run --------------------------------------------------------------------------------------


def test_the_detail_tells_everything_and_no_secret(api):
    now = database_now()
    run = run_at(
        now,
        status=Status.FAILED,
        reason="lease_ran_out",
        reason_params={"worker": "w1"},
        attempt=2,
        kwargs={"password": "open sesame", "x": 1},
        result={"token": "abcdefgh"},
        exception="ValueError: no",
        traceback="Traceback",
        log="one line",
    )
    RunAttempt.objects.create(
        run=run, attempt=1, status="failed", reason="exception", finished_at=now, log="earlier"
    )

    shown = api.get(f"runs/{run.pk}/").json()

    assert shown["kwargs"] == {"password": masking.MASK, "x": 1}
    assert shown["result"] == {"token": masking.MASK}
    assert (shown["reason"], shown["reason_params"]) == ("lease_ran_out", {"worker": "w1"})
    assert shown["reason_text"] == "Its worker w1 stopped answering."
    assert (shown["exception"], shown["traceback"]) == ("ValueError: no", "Traceback")
    assert shown["log"] == "one line"
    (earlier,) = shown["attempts"]
    assert (earlier["attempt"], earlier["status"], earlier["log"]) == (1, "failed", "earlier")
    assert earlier["reason_text"] == "The task raised an exception."


@pytest.mark.parametrize("pk", [uuid.uuid4(), "1", "x"])
def test_an_unknown_run_is_not_found(api, pk):
    for answer in (
        api.get(f"runs/{pk}/"),
        api.post(f"runs/{pk}/cancel/"),
        api.post(f"runs/{pk}/rerun/"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


# Start ----------------------------------------------------------------------------------------


def test_a_run_without_a_definition(api):
    answer = api.post("runs/", {"task": ADD, "args": [1], "kwargs": {"b": 2}})

    run = TaskRun.objects.get()
    assert answer.status_code == 201
    assert answer["Location"] == f"http://testserver/api/v1/runs/{run.pk}/"
    assert (run.task, run.args, run.kwargs) == (ADD, [1], {"b": 2})
    assert (run.scheduled_task_id, run.trigger) == (None, "manual")
    assert (run.triggered_by, run.triggered_via) == ("ann", "api")
    assert answer.json()["scheduled_task"] is None


def test_a_run_at_a_time_with_an_offset(api):
    answer = api.post("runs/", {"task": OK, "at": "2090-01-01T08:00:00+08:00"})

    assert answer.json()["start_at"] == "2090-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ("task", "required")),
        ({"task": "celery.chord"}, ("task", "refused_task")),
        ({"task": ADD}, ("args", "arguments")),
        ({"task": OK, "args": {}}, ("args", "wrong_shape")),
        ({"task": OK, "kwargs": []}, ("kwargs", "wrong_shape")),
        ({"task": OK, "at": "2090-01-01T08:00:00"}, ("at", "naive")),
        ({"task": OK, "when": "now"}, ("when", "unknown_field")),
        ({"task": ""}, ("task", "blank")),
        ({"task": OK, "kwargs": {"x": "\ud800"}}, ("kwargs", "not_json")),
    ],
)
def test_what_is_wrong_starts_nothing(api, body, expected):
    answer = api.post("runs/", body)

    assert answer.status_code == 400
    assert codes(answer) == {expected}
    assert not TaskRun.objects.exists()


# Cancel and repeat ----------------------------------------------------------------------------


def test_cancel_ends_a_run_once(api):
    (run,) = runs(1, status=Status.PUBLISHED)

    first = api.post(f"runs/{run.pk}/cancel/")
    second = api.post(f"runs/{run.pk}/cancel/")

    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert first.json()["reason_text"] == "Cancelled by ann."
    assert (second.status_code, second.json()["code"]) == (409, "already_ended")


def test_rerun_repeats_an_ended_run_with_its_arguments_or_others(api):
    (run,) = runs(1, task=None, kwargs={"x": 1})

    same = api.post(f"runs/{run.pk}/rerun/")
    other = api.post(f"runs/{run.pk}/rerun/", {"kwargs": {"x": 2}})

    assert (same.status_code, other.status_code) == (201, 201)
    assert [each.json()["kwargs"] for each in (same, other)] == [{"x": 1}, {"x": 2}]
    assert {each.json()["rerun_of"] for each in (same, other)} == {str(run.pk)}
    assert same.json()["trigger"] == "rerun"


def test_rerun_of_a_run_that_goes_on_is_a_conflict(api):
    (run,) = runs(1, status=Status.RUNNING)

    answer = api.post(f"runs/{run.pk}/rerun/")

    assert (answer.status_code, answer.json()["code"]) == (409, "not_ended")
    assert TaskRun.objects.count() == 1
