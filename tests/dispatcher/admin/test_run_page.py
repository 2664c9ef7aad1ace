"""The page of a run: its life, its attempts, its log, its neighbours, and what one may do to it."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dispatcher.admin.run import attempts, life, texts
from dispatcher.models import RunAttempt, TaskRun
from scheduling.database import database_now
from scheduling.registry.masking import MASK
from tests.dispatcher.rows import ADD, job, run_at, worker

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
RUNS = "/admin/dispatcher/taskrun/"


def html_of(client, run, verb="change/"):
    response = client.get(f"{RUNS}{run.pk}/{verb}")
    assert response.status_code == 200
    return response.content.decode()


def attempt(run, number, start, end, **columns):
    defaults = {"status": "failed", "reason": "exception"}
    return RunAttempt.objects.create(
        run=run,
        attempt=number,
        started_at=NOW + start * SECOND,
        finished_at=NOW + end * SECOND,
        **defaults | columns,
    )


# Its life -----------------------------------------------------------------------------------------


def life_of(run, now=NOW + timedelta(hours=1)):
    found = life.phases(run, attempts.attempts_of(run), now)
    return [(phase.kind, (phase.end - phase.start) / SECOND) for phase in found]


def test_the_life_of_a_plain_run():
    run = run_at(NOW, job(), planned_at=NOW - 60 * SECOND, late=3 * SECOND)
    assert life_of(run) == [("ahead", 60), ("waiting", 3), ("running", 2)]


@pytest.mark.parametrize(
    ("status", "life"),
    [
        ("published", [("ahead", 60), ("waiting", 10)]),
        ("running", [("ahead", 60), ("running", 10)]),
        ("missed", [("ahead", 60), ("waiting", 2)]),
    ],
)
def test_the_life_of_a_run_that_goes_on_or_never_started(status, life):
    run = run_at(NOW, job(), status, planned_at=NOW - 60 * SECOND)
    assert life_of(run, NOW + 10 * SECOND) == life


def test_each_attempt_and_the_time_between_is_a_phase():
    run = run_at(NOW, job(), attempt=3, start_at=NOW + 70 * SECOND)
    TaskRun.objects.filter(pk=run.pk).update(
        claimed_at=NOW + 70 * SECOND, finished_at=NOW + 75 * SECOND
    )
    attempt(run, 1, 0, 10)
    attempt(run, 2, 20, 25)
    run = TaskRun.objects.get(pk=run.pk)
    kinds = [("running", 10), ("between", 10), ("running", 5), ("between", 45), ("running", 5)]
    assert life_of(run) == kinds


def test_a_run_that_waits_for_its_next_attempt_is_not_running():
    run = run_at(NOW, job(), "retrying", attempt=2, start_at=NOW + 70 * SECOND)
    attempt(run, 1, 0, 10)
    assert life_of(run, NOW + 30 * SECOND) == [("running", 10), ("between", 20)]


def test_short_phases_can_be_seen_and_all_fit_on_the_strip():
    day = timedelta(days=1)
    found = [
        life.Phase("ahead", "a", NOW, NOW + day),
        life.Phase("running", "b", NOW + day, NOW + day + timedelta(milliseconds=1)),
    ]
    places = [(float(x), float(width)) for _phase, x, width in life.strip(found)]
    assert places[0][0] == 0
    assert places[1][1] >= life.LEAST
    assert sum(places[1]) == pytest.approx(life.WIDTH)
    assert life.strip([]) == []


def test_the_steps_are_in_their_order_with_the_time_between(admin_client):
    run = run_at(
        NOW,
        job(),
        planned_at=NOW - 60 * SECOND,
        published_at=NOW - 58 * SECOND,
        late=timedelta(seconds=0.25),
    )
    assert [(step, after, note) for step, _time, after, note in life.steps(run)] == [
        ("planned", "", ""),
        ("published", "+ 2 s", "handed to the broker"),
        ("scheduled for", "+ 58 s", ""),
        ("started", "+ 0.25 s", "late by 0.25 s"),
        ("finished", "+ 2 s", ""),
    ]
    html = html_of(admin_client, run)
    assert "waiting for its time: 1 min" in html
    assert "running: 2 s" in html


# Attempts and log ---------------------------------------------------------------------------------


LOG = (
    "[12 earlier lines were cut]\n"
    "2026-11-20 09:30:00.000Z INFO shop: <b>fine</b>\n"
    "2026-11-20 09:30:01.000Z ERROR shop: it broke\n"
    "Traceback (most recent call last):\n"
    "2026-11-20 09:30:02.000Z INFO shop: goes on\n"
)


def test_the_log_is_shown_escaped_with_its_levels_and_what_was_cut(admin_client):
    html = html_of(admin_client, run_at(NOW, job(), log=LOG))
    assert "… 12 earlier lines were cut" in html
    assert "INFO shop: &lt;b&gt;fine&lt;/b&gt;" in html
    assert '<span class="mh-log-error">Traceback' in html
    assert '<span class="mh-log-info">2026-11-20 09:30:02' in html


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({}, "It logged nothing."),
        ({"status": "running"}, "Its lines are stored when the attempt ends."),
        ({"status": "lost", "reason": "lease_ran_out"}, "it was ended."),
        ({"status": "failed", "reason": "time_limit"}, "it was ended."),
        (
            {"status": "failed", "reason": "time_limit", "reason_params": {"soft": True}},
            "It logged nothing.",
        ),
        ({"status": "cancelled", "reason": "by_person"}, "it was ended."),
    ],
)
def test_where_there_is_no_log_the_page_says_why(admin_client, columns, text):
    assert text in html_of(admin_client, run_at(NOW, job(), **columns))


def test_a_run_that_never_started_has_no_log_section(admin_client):
    assert "What it logged" not in html_of(admin_client, run_at(NOW, job(), "missed"))


def test_each_attempt_has_its_traceback_and_its_log(admin_client):
    run = run_at(NOW, job(), attempt=2, exception="OSError: again")
    TaskRun.objects.filter(pk=run.pk).update(claimed_at=NOW + 70 * SECOND)
    attempt(run, 1, 0, 10, exception="OSError: once", traceback="Trace <1>", log="said <1>")
    html = html_of(admin_client, run)
    assert (
        html.index("OSError: once") < html.index("Trace &lt;1&gt;") < html.index("said &lt;1&gt;")
    )
    assert html.count('class="mh-attempt"') == 2


def test_the_frames_of_libraries_are_set_back():
    block = texts.traceback_block(
        "Traceback (most recent call last):\n"
        '  File "/x/site-packages/celery/trace.py", line 1, in run\n'
        "    return run()\n"
        '  File "/srv/shop/tasks.py", line 2, in work\n'
        "    raise ValueError\n"
        "ValueError\n"
    )
    lines = block.split("\n")
    assert [line.startswith('<span class="mh-foreign">') for line in lines] == [
        *(False, True, True, False, False, False)
    ]


# Neighbours ---------------------------------------------------------------------------------------


def test_the_runs_before_and_after_of_the_same_task_are_linked(admin_client):
    task = job()
    first, middle, last = (run_at(NOW + n * SECOND, task) for n in range(3))
    run_at(NOW + timedelta(milliseconds=500), job())
    html = html_of(admin_client, middle)
    assert f'rel="prev" href="{RUNS}{first.pk}/change/"' in html
    assert f'rel="next" href="{RUNS}{last.pk}/change/"' in html
    assert 'rel="next"' not in html_of(admin_client, last)
    assert "mh-neighbours" not in html_of(admin_client, run_at(NOW, None))


def test_the_page_takes_as_many_queries_whatever_the_history(admin_client):
    task = job()

    def queries():
        run = run_at(NOW, task, attempt=2)
        for _ in range(number):
            attempt(run, 1, 0, 1, log="x")
            run_at(NOW + SECOND, task)
        with CaptureQueriesContext(connection) as captured:
            html_of(admin_client, run)
        return len(captured)

    number = 3
    queries()
    few = queries()
    number = 30
    assert queries() == few


def test_a_run_that_goes_on_asks_for_news_and_one_that_ended_says_so(admin_client):
    assert "data-live=" in html_of(admin_client, run_at(NOW, job(), "running"))
    html = html_of(admin_client, run_at(NOW, job()))
    assert "data-live-done" in html
    assert "data-live=" not in html


# Cancel -------------------------------------------------------------------------------------------


def test_to_cancel_asks_first_and_says_what_will_happen(admin_client):
    now = database_now()
    prefork, solo = worker(now, "celery"), worker(now, "celery", pool="solo")
    said = {
        "It will not start.": run_at(NOW, job(), "published"),
        "Its process is ended at once.": run_at(
            NOW, job(), "running", worker="w", worker_uuid=prefork.pk
        ),
        "goes on to its end.": run_at(NOW, job(), "running", worker="w", worker_uuid=solo.pk),
    }
    for text, run in said.items():
        assert text in html_of(admin_client, run, "cancel/")
        run.refresh_from_db()
        assert run.status != "cancelled"


def test_to_cancel_what_has_ended_leads_back(admin_client):
    run = run_at(NOW, job())
    response = admin_client.get(f"{RUNS}{run.pk}/cancel/", follow=True)
    assert response.redirect_chain == [(f"{RUNS}{run.pk}/change/", 302)]
    assert "The run had ended already." in response.content.decode()


# Run again ----------------------------------------------------------------------------------------


def arguments(run, args, kwargs):
    return f"{RUNS}{run.pk}/rerun/?arguments", {"args": args, "kwargs": kwargs}


def test_to_run_again_asks_first(admin_client):
    task = job(overlap_policy="skip")
    run = run_at(NOW, task, "failed")
    html = html_of(admin_client, run, "rerun/")
    assert "with the arguments of this one" in html
    assert "While another run of it is running: skip the new run." in html
    assert "<textarea" not in html
    assert TaskRun.objects.filter(trigger="rerun").count() == 0


def test_it_runs_again_with_other_arguments_and_a_secret_that_stays_hidden(admin_client):
    run = run_at(NOW, args=[1], kwargs={"x": 1, "token": "hunter2"})
    url, _data = arguments(run, "", "")
    page = admin_client.get(url).content.decode()
    assert "hunter2" not in page
    assert MASK in page
    assert "ok(x: object = None) -&gt; object" in page
    TaskRun.objects.filter(pk=run.pk).update(task="shop.unknown")
    data = {"args": "[2, 3]", "kwargs": json.dumps({"x": 5, "token": MASK})}
    response = admin_client.post(url, data, follow=True)
    again = TaskRun.objects.get(trigger="rerun")
    assert (again.args, again.kwargs) == ([2, 3], {"x": 5, "token": "hunter2"})
    assert (again.rerun_of_id, again.triggered_by) == (run.pk, "admin")
    assert response.redirect_chain[-1][0] == f"{RUNS}{again.pk}/change/"


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ("[1]", "{}", "missing a required argument"),
        ("[1, 2]", '{"c": 3}', "unexpected keyword argument"),
        ("[1, 2]", "[]", "Give a JSON object"),
        ("{}", "{}", "Give a JSON list"),
        ("[1,", "{}", "This is no valid JSON"),
        ("[1, 2]", json.dumps({"password": MASK}), "was hidden. Give it anew."),
    ],
)
def test_arguments_that_do_not_fit_are_told_beside_their_field(admin_client, args, kwargs, problem):
    run = run_at(NOW, job(task=ADD, kwargs={"a": 1, "b": 2}), kwargs={"a": 1, "b": 2})
    url, data = arguments(run, args, kwargs)
    response = admin_client.post(url, data)
    assert response.status_code == 200
    form = response.context["form"]
    assert problem in " ".join(e for errors in form.errors.values() for e in errors)
    assert not form.non_field_errors()
    assert not TaskRun.objects.filter(trigger="rerun").exists()


def test_a_run_that_goes_on_cannot_be_run_again(admin_client):
    run = run_at(NOW, job(), "running")
    response = admin_client.get(f"{RUNS}{run.pk}/rerun/", follow=True)
    assert "This run has not ended." in response.content.decode()


def test_garbage_has_a_page(admin_client):
    run = run_at(NOW, None, "failed", attempt=4, reason="time_limit", log="x")
    TaskRun.objects.filter(pk=run.pk).update(
        reason_params=[1], claimed_at=NOW - timedelta(days=9), rerun_of_id=uuid.uuid4()
    )
    html_of(admin_client, run)
    TaskRun.objects.filter(pk=run.pk).update(log="")
    html_of(admin_client, run)
    html_of(admin_client, run, "rerun/?arguments")
