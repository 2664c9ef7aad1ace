"""Who may use the routes of the API, all of them, and that a repeated request makes one."""

import pytest
import yaml
from django.contrib.auth import get_user_model
from django.test import Client

from dispatcher.api.models import ApiToken, Scope
from dispatcher.models import TaskRun
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.api.conftest import CRON, OK, Api
from tests.dispatcher.api.test_openapi import COMMITTED

#: Every operation: (method, path with the ids of the fixture `ids`).
OPERATIONS = [
    (method, path)
    for path, operations in yaml.safe_load(COMMITTED.read_text())["paths"].items()
    for method in operations
]

#: What each needs beside the permission to look.
CHANGES = {
    ("post", "/api/v1/scheduled-tasks/"): ("write", "scheduling.add_scheduledtask"),
    ("put", "/api/v1/scheduled-tasks/{id}/"): ("write", "scheduling.change_scheduledtask"),
    ("patch", "/api/v1/scheduled-tasks/{id}/"): ("write", "scheduling.change_scheduledtask"),
    ("delete", "/api/v1/scheduled-tasks/{id}/"): ("write", "scheduling.delete_scheduledtask"),
    ("post", "/api/v1/scheduled-tasks/{id}/pause/"): ("write", "scheduling.pause_scheduledtask"),
    ("post", "/api/v1/scheduled-tasks/{id}/resume/"): ("write", "scheduling.pause_scheduledtask"),
    ("post", "/api/v1/scheduled-tasks/{id}/skip-next/"): ("write", "scheduling.skip_scheduledtask"),
    ("post", "/api/v1/scheduled-tasks/{id}/run/"): ("run", "scheduling.run_scheduledtask"),
    ("post", "/api/v1/scheduled-tasks/{id}/backfill/"): (
        "run",
        "scheduling.backfill_scheduledtask",
    ),
    ("post", "/api/v1/runs/"): ("run", "dispatcher.add_taskrun"),
    ("post", "/api/v1/runs/{id}/cancel/"): ("run", "dispatcher.cancel_taskrun"),
    ("post", "/api/v1/runs/{id}/rerun/"): ("run", "dispatcher.rerun_taskrun"),
}


@pytest.fixture
def send(api):
    """Sends an operation to rows that exist, and tells status and code."""
    row = ScheduledTask.objects.get(pk=api.create()["id"])
    run = api.post("runs/", {"task": OK}).json()["id"]

    def send(client, method, path):
        pk = run if "/runs/{id}" in path else row.pk
        address = path.format(id=pk, name=OK)
        answer = getattr(client, method)(address, {}, content_type="application/json")
        code = answer.json().get("code") if answer.status_code >= 400 else None
        return answer.status_code, code, answer

    return send


def with_token(*scopes, user=None):
    user = user or get_user_model().objects.create_superuser("bob")
    token = ApiToken(name="ci", user=user, scopes=list(scopes))
    return Client(headers={"authorization": f"Bearer {token.issue(database_now(), by='me')}"})


def test_every_operation_that_changes_something_is_in_the_table():
    asks = ("preview",)
    changing = {(m, p) for m, p in OPERATIONS if m != "get" and not any(a in p for a in asks)}
    assert changing == set(CHANGES)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_nobody_and_a_user_without_permissions_may_nothing(send, method, path):
    eve = Client()
    eve.force_login(get_user_model().objects.create_user("eve"))

    assert send(Client(), method, path)[:2] == (401, "not_authenticated")
    assert send(eve, method, path)[:2] == (403, "missing_permission")


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_token_needs_the_scope(send, method, path):
    scope, _permission = CHANGES.get((method, path), ("read", ""))
    others = [each for each in Scope.values if each != scope]

    status, code, answer = send(with_token(*others), method, path)

    assert (status, code) == (403, "missing_scope")
    assert f"“{scope}”" in answer.json()["detail"]


@pytest.mark.parametrize(("method", "path"), list(CHANGES))
def test_a_user_needs_the_permission_and_it_alone(send, method, path):
    _scope, permission = CHANGES[method, path]
    eve = get_user_model().objects.create_user("eve")
    client = with_token(*Scope.values, user=eve)

    status, _code, answer = send(client, method, path)
    assert status == 403
    assert f"“{permission}”" in answer.json()["detail"]

    grant(eve, permission)
    assert send(client, method, path)[0] != 403


def grant(user, name):
    from django.contrib.auth.models import Permission

    app, _dot, codename = name.partition(".")
    found = Permission.objects.get(content_type__app_label=app, codename=codename)
    user.user_permissions.add(found)


def test_the_token_is_named_where_the_change_is_kept(db):
    api = Api(with_token(*Scope.values))

    row = api.create()
    run = api.post(f"scheduled-tasks/{row['id']}/run/").json()

    assert ScheduledTask.objects.get(pk=row["id"]).history.get().by == "bob (token ci)"
    assert (run["triggered_by"], run["triggered_via"]) == ("bob (token ci)", "api")


# Repeated requests ----------------------------------------------------------------------------


def test_a_schedule_that_is_created_twice_under_one_key_is_one(api):
    first = api.post("scheduled-tasks/", CRON, idempotency_key="k")
    again = api.post("scheduled-tasks/", CRON, idempotency_key="k")
    other = api.post("scheduled-tasks/", CRON | {"name": "Other"}, idempotency_key="k")

    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 422)
    assert again.json() == first.json()
    assert (again["Location"], again["ETag"]) == (first["Location"], first["ETag"])
    assert again["Idempotency-Replayed"] == "true"
    assert ScheduledTask.objects.count() == 1


@pytest.mark.parametrize(
    ("path", "body", "made"),
    [
        ("scheduled-tasks/{id}/run/", {}, 1),
        ("runs/", {"task": OK}, 1),
        ("runs/{run}/rerun/", {}, 1),
        (
            "scheduled-tasks/{id}/backfill/",
            {"start": "2026-01-01T00:00:00Z", "end": "2026-01-03T00:00:00Z"},
            2,
        ),
    ],
)
def test_runs_that_are_asked_for_twice_under_one_key_are_made_once(api, path, body, made):
    row = api.create()
    run = api.post("runs/", {"task": OK}).json()["id"]
    api.post(f"runs/{run}/cancel/")
    path = path.format(id=row["id"], run=run)

    answers = [api.post(path, body, idempotency_key="k") for _number in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert TaskRun.objects.exclude(pk=run).count() == made


def test_what_was_refused_may_be_put_right_under_the_same_key(api):
    wrong = api.post("scheduled-tasks/", CRON | {"name": ""}, idempotency_key="k")
    right = api.post("scheduled-tasks/", CRON, idempotency_key="k")

    assert (wrong.status_code, right.status_code) == (400, 201)
