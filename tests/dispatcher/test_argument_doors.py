"""Arguments that cannot be sent are refused at every door, and never reach a worker."""

import json

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from dispatcher import rerun, run_now, run_task
from dispatcher.models import TaskRun
from dispatcher.tick import tick
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.api.conftest import EVERY, Api
from tests.dispatcher.rows import OK, job, run_at

pytestmark = pytest.mark.django_db(transaction=True)

UNKNOWN = "shop.tasks.anything"


def deep(levels):
    return json.loads("[" * levels + "0" + "]" * levels)


WRAPPED = {"__type__": "datetime", "__value__": "2026-01-01"}
BAD = {
    "65 deep": (deep(65), "too_deep"),
    "482 deep": (deep(482), "too_deep"),
    "900 deep": (deep(900), "too_deep"),
    "65 KiB": ("x" * 65 * 1024, "too_large"),
    "wrapping": ([{"a": WRAPPED}], "not_sendable"),
    "unknown wrapping": ({"__type__": "secret", "__value__": 1}, "not_sendable"),
}
bad = pytest.mark.parametrize(("value", "code"), BAD.values(), ids=BAD)


@pytest.fixture
def client():
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("ann"))
    return client


@pytest.fixture
def api(client):
    return Api(client)


def refusal(function, *args, **options):
    with pytest.raises(ValidationError) as refused:
        function(*args, **options)
    (errors,) = refused.value.error_dict.values()
    return [error.code for error in errors]


@bad
def test_by_the_model_and_by_code(value, code):
    assert refusal(job, task=UNKNOWN, args=[value]) == [code]
    assert refusal(job, task=UNKNOWN, kwargs={"x": value}) == [code]
    assert refusal(run_task, UNKNOWN, [value]) == [code]
    assert refusal(run_task, UNKNOWN, kwargs={"x": value}) == [code]
    task = job(task=UNKNOWN)
    assert refusal(run_now, task, kwargs={"x": value}) == [code]
    task.kwargs = {"x": value}
    assert refusal(task.save) == [code]
    assert not TaskRun.objects.exists()


@bad
def test_by_a_definition_or_a_run_from_before_the_rule(value, code):
    if not fits_the_database(value):
        pytest.skip("this database does not hold it")
    task = job(task=UNKNOWN)
    ScheduledTask.objects.filter(pk=task.pk).keep(args=[value])
    task.refresh_from_db()
    assert refusal(run_now, task) == [code]
    old = run_at(database_now(), task=None, **{"args": [value]})
    assert refusal(rerun, old) == [code]


def fits_the_database(value):
    from django.db import connection

    if connection.vendor == "mysql":
        return len(json.dumps(value)) > 2000 or "__" in json.dumps(value)
    return True


@bad
def test_by_the_api(api, value, code):
    body = EVERY | {"task": UNKNOWN, "kwargs": {"x": value}}
    answers = [
        api.post("scheduled-tasks/", body),
        api.post("runs/", {"task": UNKNOWN, "args": [value]}),
    ]
    task = api.create(**EVERY | {"task": UNKNOWN, "cron_expression": ""})
    answers += [
        api.patch(f"scheduled-tasks/{task['id']}/", {"kwargs": {"x": value}}),
        api.post(f"scheduled-tasks/{task['id']}/run/", {"kwargs": {"x": value}}),
    ]
    for answer in answers:
        assert 400 <= answer.status_code < 500, answer.content[:300]
        problem = answer.json()
        # How deep a body can be read at all depends on what stands on the stack already.
        assert problem["code"] == "parse_error" or code in {e["code"] for e in problem["errors"]}
    assert not TaskRun.objects.exists()


@bad
def test_by_the_form_and_by_a_file(client, value, code):
    from tests.dispatcher.admin.test_exchange import IMPORT, refusals

    form = {"name": "a", "task": UNKNOWN, "kind": "interval", "interval_seconds": 60}
    form |= {"args": json.dumps([value]), "kwargs": "{}", "timezone": "UTC"}
    answer = client.post("/admin/scheduling/scheduledtask/add/", form)
    assert answer.status_code == 200
    assert "args" in answer.context["adminform"].form.errors
    rows = [{"name": "a", "task": UNKNOWN, "kind": "interval", "interval_seconds": 60}]
    rows[0]["args"] = [value]
    file = SimpleUploadedFile("tasks.json", json.dumps(rows).encode())
    page = client.post(IMPORT, {"file": file})
    assert page.status_code == 200
    assert refusals(page)
    assert not ScheduledTask.objects.exists()


@bad
def test_a_run_that_has_them_all_the_same_ends_and_the_others_are_sent(sent_messages, value, code):
    """By raw SQL, or from before the rule."""
    if not fits_the_database(value):
        pytest.skip("this database does not hold it")
    now = database_now()
    options = {"name": "x", "task": OK, "trigger": "manual", "queue": "celery"}
    options |= dict.fromkeys(("scheduled_for", "start_at", "planned_at", "publish_at"), now)
    bad_run = TaskRun.objects.create(**options, args=[value])
    good_run = TaskRun.objects.create(**options)
    assert tick().error == ""
    bad_run.refresh_from_db()
    assert (bad_run.status, bad_run.reason) == ("failed", "not_publishable")
    assert bad_run.reason_params["message"].startswith(("args[0]", "The arguments"))
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(good_run.pk)]
