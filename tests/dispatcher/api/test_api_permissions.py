"""Each action of the API: refused to who has every permission and scope but its own, and done for
who has no other. Refused is: nothing written, nothing sent."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from dispatcher.api.models import Scope
from dispatcher.models import TaskRun
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.api.board import OK, bearer, secret_of
from tests.dispatcher.rows import job, run_at

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
EVERY = {"name": "new", "task": OK, "kind": "interval", "interval_seconds": 3600}

#: method, path, scope, permission, body. {task} is active, {paused} is not, {waiting} has not
#: started and {failed} has failed.
CHANGES = {
    "create": ("post", "scheduled-tasks/", "write", "scheduling.add_scheduledtask", EVERY),
    "replace": (
        "put",
        "scheduled-tasks/{task}/",
        "write",
        "scheduling.change_scheduledtask",
        EVERY | {"timezone": "UTC"},
    ),
    "change": (
        "patch",
        "scheduled-tasks/{task}/",
        "write",
        "scheduling.change_scheduledtask",
        {"queue": "other"},
    ),
    "delete": (
        "delete",
        "scheduled-tasks/{task}/",
        "write",
        "scheduling.delete_scheduledtask",
        None,
    ),
    "pause": (
        "post",
        "scheduled-tasks/{task}/pause/",
        "write",
        "scheduling.pause_scheduledtask",
        {},
    ),
    "resume": (
        "post",
        "scheduled-tasks/{paused}/resume/",
        "write",
        "scheduling.pause_scheduledtask",
        {},
    ),
    "skip": (
        "post",
        "scheduled-tasks/{task}/skip-next/",
        "write",
        "scheduling.skip_scheduledtask",
        {},
    ),
    "run": ("post", "scheduled-tasks/{task}/run/", "run", "scheduling.run_scheduledtask", {}),
    "backfill": (
        "post",
        "scheduled-tasks/{task}/backfill/",
        "run",
        "scheduling.backfill_scheduledtask",
        "a range",
    ),
    "run a task": ("post", "runs/", "run", "dispatcher.add_taskrun", {"task": OK}),
    "cancel": ("post", "runs/{waiting}/cancel/", "run", "dispatcher.cancel_taskrun", {}),
    "rerun": ("post", "runs/{failed}/rerun/", "run", "dispatcher.rerun_taskrun", {}),
}
VIEW, VIEW_RUN = "scheduling.view_scheduledtask", "dispatcher.view_taskrun"
READS = {
    "list": ("get", "scheduled-tasks/", "read", VIEW, None),
    "retrieve": ("get", "scheduled-tasks/{task}/", "read", VIEW, None),
    "upcoming": ("get", "scheduled-tasks/{task}/upcoming/", "read", VIEW, None),
    "history": ("get", "scheduled-tasks/{task}/history/", "read", VIEW, None),
    "preview": ("post", "scheduled-tasks/preview/", "read", VIEW, EVERY),
    "preview a change": ("post", "scheduled-tasks/{task}/preview/", "read", VIEW, {"queue": "x"}),
    "its runs": ("get", "scheduled-tasks/{task}/runs/", "read", VIEW_RUN, None),
    "runs": ("get", "runs/", "read", VIEW_RUN, None),
    "a run": ("get", "runs/{failed}/", "read", VIEW_RUN, None),
    "tasks": ("get", "tasks/", "read", VIEW, None),
    "a task": ("get", f"tasks/{OK}/", "read", VIEW, None),
}
ALL = CHANGES | READS


class World:
    def __init__(self):
        now = database_now().replace(microsecond=0)
        active, paused = job("active", starts_at=now - 24 * HOUR), job("paused")
        paused.pause()
        TaskRun.objects.all().delete()
        waiting = run_at(now, active, "planned", publish_at=now + HOUR)
        failed = run_at(now - HOUR, active, "failed", slot=None)
        self.ids = {
            "task": active.pk,
            "paused": paused.pk,
            "waiting": waiting.pk,
            "failed": failed.pk,
        }
        self.range = {
            "start": (now - 5 * HOUR).isoformat(),
            "end": (now - 2 * HOUR).isoformat(),
        }

    def ask(self, case, client, **headers):
        method, path, _scope, _permission, body = ALL[case]
        address = f"/api/v1/{path.format(**self.ids)}"
        sent = {} if body is None else {"data": self.range if body == "a range" else body}
        sent |= {"content_type": "application/json"} if body is not None else {}
        return getattr(client, method)(address, headers=headers, **sent)


def everything():
    return {
        f"{p.content_type.app_label}.{p.codename}"
        for p in Permission.objects.select_related("content_type")
    }


def user_with(names):
    codenames = {name.split(".")[1] for name in names}
    user = User.objects.create_user("bob")
    found = Permission.objects.filter(codename__in=codenames)
    assert found.count() == len(codenames)
    user.user_permissions.set(found)
    return user


def state():
    """All that an action could change."""
    return {
        "tasks": list(ScheduledTask.objects.order_by("pk").values()),
        "runs": list(TaskRun.objects.order_by("pk").values()),
        "trail": ScheduledTask.history.count(),
    }


def code_of(response):
    return response.status_code, response.json().get("code")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["session", "token"])
def test_each_is_refused_without_its_own_permission_whatever_else_one_may(sent_messages, way):
    """One world for all of them: what is refused leaves it as it was."""
    world = World()
    for case, (_method, _path, _scope, permission, _body) in ALL.items():
        user, client = user_with(everything() - {permission}), Client()
        headers = bearer(secret_of(user)) if way == "token" else {}
        if way == "session":
            client.force_login(user)
        before = state()
        assert code_of(world.ask(case, client, **headers)) == (403, "missing_permission"), case
        assert state() == before, case
        assert sent_messages() == [], case
        user.delete()


@pytest.mark.django_db(transaction=True)
def test_each_is_refused_without_its_own_scope_whatever_else_the_token_may(sent_messages):
    world, user = World(), user_with(everything())
    for case, (_method, _path, scope, _permission, _body) in ALL.items():
        others = [other for other in Scope.values if other != scope]
        headers = bearer(secret_of(user, *others, name=case))
        before = state()
        assert code_of(world.ask(case, Client(), **headers)) == (403, "missing_scope"), case
        assert state() == before, case
        assert sent_messages() == [], case


@pytest.mark.parametrize("case", ALL)
def test_its_own_permission_and_scope_are_enough(case):
    _method, _path, scope, permission, _body = ALL[case]
    world = World()
    headers = bearer(secret_of(user_with({permission}), scope))
    before = state()
    assert world.ask(case, Client(), **headers).status_code in (200, 201, 204)
    assert (state() != before) is (case in CHANGES)


@pytest.mark.django_db(transaction=True)
def test_a_stranger_does_and_reads_nothing(sent_messages):
    world = World()
    before = state()
    for case in ALL:
        assert world.ask(case, Client()).status_code == 401, case
    assert state() == before
    assert sent_messages() == []


def test_every_action_of_the_api_is_among_these():
    """A new one has to say here what it takes."""
    from dispatcher.api.urls import router, runs

    declared = {
        (prefix, action, *required)
        for prefix, view, _name in (*router.registry, *runs.registry)
        for action, required in view.requires.items()
    }
    assert len(declared) == len(ALL)
    assert {required[2:] for required in declared} == {
        (scope, permission) for _method, _path, scope, permission, _body in ALL.values()
    }
