"""Each button, page and action of the admin: refused to who has every permission but its own,
and done for who has no other. Refused is: nothing written, nothing sent."""

import json
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client

from dispatcher.models import TaskRun
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import Stop, pause_everything
from tests.dispatcher.admin.pages import as_shown
from tests.dispatcher.rows import OK, job, run_at

pytestmark = pytest.mark.django_db

TASKS = "/admin/scheduling/scheduledtask/"
RUNS = "/admin/dispatcher/taskrun/"
STOP = "/admin/scheduling/stop/"

VIEW, VIEW_RUN = "scheduling.view_scheduledtask", "dispatcher.view_taskrun"
RUN, PAUSE = "scheduling.run_scheduledtask", "scheduling.pause_scheduledtask"
SKIP, BACKFILL = "scheduling.skip_scheduledtask", "scheduling.backfill_scheduledtask"
ADD, CHANGE = "scheduling.add_scheduledtask", "scheduling.change_scheduledtask"
DELETE = "scheduling.delete_scheduledtask"
CANCEL, RERUN = "dispatcher.cancel_taskrun", "dispatcher.rerun_taskrun"


class World:
    """An active schedule with a skipped slot, a paused one, a waiting run and one that failed."""

    def __init__(self):
        now = database_now()
        self.active = job("active", starts_at=now.replace(microsecond=0) - timedelta(days=1))
        self.active.skip_next()
        self.skipped = self.active.skip_slots[0]
        self.paused = job("paused")
        self.paused.pause()
        TaskRun.objects.all().delete()
        self.waiting = run_at(now, self.active, "planned", publish_at=now + timedelta(hours=1))
        self.failed = run_at(now - timedelta(hours=1), self.active, "failed", slot=None)
        self.now = now

    def act(self, client, action, task, **answers):
        data = {"action": action, "_selected_action": [task.pk], "confirmed": "1"} | answers
        return client.post(TASKS, data)

    def url(self, name, task=None):
        return f"{TASKS}{(task or self.active).pk}/{name}/"

    def next_slot(self):
        return self.active.upcoming(1)[0].isoformat()


def backfill(world, client):
    hour = timedelta(hours=1)
    start, end = world.now - 5 * hour, world.now - 2 * hour
    days = {"start_0": start.date(), "end_0": end.date()}
    times = {"start_1": f"{start:%H:%M:%S}", "end_1": f"{end:%H:%M:%S}"}
    client.post(world.url("backfill"), days | times)
    for number in ("3", "4"):
        client.post(world.url("backfill"), {**days, **times, "confirmed": number})


def post(name, **data):
    return lambda world, client: client.post(world.url(name), data)


def form_of(page):
    superuser = Client()
    superuser.force_login(User.objects.create_superuser("root"))
    data = as_shown(superuser.get(page))
    User.objects.filter(username="root").delete()
    return data


def add(world, client):
    rule = {"name": "new", "task": OK, "kind": "cron", "cron_expression": "0 9 * * *"}
    page = f"{TASKS}add/"
    return client.post(page, form_of(page) | rule)


def change(world, client):
    page = world.url("change")
    return client.post(page, form_of(page) | {"name": "another name"})


def choose(action, **answers):
    return lambda world, client: world.act(client, action, world.active, **answers)


#: What is done, the permission that it takes, and the one to see what it is done to.
VERBS = {
    "run": (RUN, VIEW, post("run")),
    "run with other arguments": (RUN, VIEW, post("run", args="[]", kwargs="{}")),
    "run, from the list": (RUN, VIEW, choose("run_now")),
    "pause": (PAUSE, VIEW, post("pause")),
    "pause, from the list": (PAUSE, VIEW, choose("pause", why="")),
    "resume": (PAUSE, VIEW, lambda w, client: client.post(w.url("resume", w.paused))),
    "resume, from the list": (PAUSE, VIEW, lambda w, client: w.act(client, "resume", w.paused)),
    "skip": (SKIP, VIEW, post("skip")),
    "skip, from the list": (
        SKIP,
        VIEW,
        lambda w, client: w.act(
            client, "skip_next", w.active, slots=json.dumps({w.active.pk: w.next_slot()})
        ),
    ),
    "unskip": (
        SKIP,
        VIEW,
        lambda w, client: client.post(w.url("unskip"), query_params={"slot": w.skipped}),
    ),
    "backfill": (BACKFILL, VIEW, backfill),
    "duplicate": (ADD, VIEW, post("duplicate")),
    "duplicate, from the list": (ADD, VIEW, choose("duplicate")),
    "add": (ADD, None, add),
    "change": (CHANGE, None, change),
    "delete": (DELETE, None, post("delete", post="yes")),
    "delete, from the list": (DELETE, VIEW, choose("delete_selected", post="yes")),
    "cancel": (CANCEL, VIEW_RUN, lambda w, client: client.post(f"{RUNS}{w.waiting.pk}/cancel/")),
    "rerun": (RERUN, VIEW_RUN, lambda w, client: client.post(f"{RUNS}{w.failed.pk}/rerun/")),
    "rerun with other arguments": (
        RERUN,
        VIEW_RUN,
        lambda w, client: client.post(
            f"{RUNS}{w.failed.pk}/rerun/?arguments", {"args": "[]", "kwargs": "{}"}
        ),
    ),
    "pause everything": (PAUSE, None, lambda w, client: client.post(f"{STOP}pause/")),
    "resume everything": (PAUSE, None, lambda w, client: client.post(f"{STOP}resume/")),
}


def signed_in(names):
    pairs = {name.split(".")[1] for name in names}
    user = User.objects.create_user("bob", is_staff=True)
    found = Permission.objects.filter(codename__in=pairs)
    assert found.count() == len(pairs)
    user.user_permissions.set(found)
    client = Client()
    client.force_login(user)
    return client


def everything():
    return {
        f"{p.content_type.app_label}.{p.codename}"
        for p in Permission.objects.select_related("content_type")
    }


def state():
    """All that an action could change."""
    return {
        "tasks": list(ScheduledTask.objects.order_by("pk").values()),
        "runs": list(TaskRun.objects.order_by("pk").values()),
        "stops": list(Stop.objects.order_by("pk").values()),
        "trail": ScheduledTask.history.count(),
        "log": LogEntry.objects.count(),
    }


def refuses(case, world, sent_messages, names):
    """One world for all of them: what is refused leaves it as it was."""
    do, client = VERBS[case][2], signed_in(names)
    if case == "resume everything":
        pause_everything()
    before = state()
    do(world, client)
    assert state() == before, case
    assert sent_messages() == [], case
    User.objects.all().delete()


@pytest.mark.django_db(transaction=True)
def test_each_is_refused_without_its_own_permission_whatever_else_one_may(sent_messages):
    world = World()
    for case, (permission, _view, _do) in VERBS.items():
        refuses(case, world, sent_messages, everything() - {permission})


@pytest.mark.django_db(transaction=True)
def test_each_is_refused_to_who_may_not_see_what_it_is_done_to(sent_messages):
    world = World()
    for case, (_permission, view, _do) in VERBS.items():
        if view is not None:  # who may change a thing sees it, too
            unseen = {view, view.replace("view_", "change_")}
            refuses(case, world, sent_messages, everything() - unseen)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", VERBS)
def test_its_own_permission_and_the_one_to_see_are_enough(case):
    permission, view, do = VERBS[case]
    world = World()
    if case == "resume everything":
        pause_everything()
    client = signed_in({permission, *([view] if view else [])})
    before = state()
    do(world, client)
    after = state()
    assert [name for name in ("tasks", "runs", "stops") if after[name] != before[name]]


PAGES = {
    "run": RUN,
    "pause": PAUSE,
    "skip": SKIP,
    "unskip": SKIP,
    "backfill": BACKFILL,
    "duplicate": ADD,
    "runs": VIEW_RUN,
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_that_asks_is_shown_to_who_may_say_yes(page):
    world = World()
    data = {"slot": world.skipped} if page == "unskip" else {}
    everybody_else = signed_in(everything() - {PAGES[page]})
    assert everybody_else.get(world.url(page), data).status_code == 403
    User.objects.all().delete()
    before = state()
    assert signed_in({VIEW, PAGES[page]}).get(world.url(page), data).status_code == 200
    assert state() == before  # to ask changes nothing


@pytest.mark.parametrize(("page", "permission"), [("cancel", CANCEL), ("rerun", RERUN)])
def test_a_page_of_a_run_that_asks_is_shown_to_who_may_say_yes(page, permission):
    world = World()
    run = world.waiting if page == "cancel" else world.failed
    url = f"{RUNS}{run.pk}/{page}/"
    assert signed_in(everything() - {permission}).get(url).status_code == 403
    User.objects.all().delete()
    before = state()
    assert signed_in({VIEW_RUN, permission}).get(url).status_code == 200
    assert state() == before


@pytest.mark.parametrize("model", ["taskrun", "tick", "worker"])
def test_what_only_the_scheduler_writes_nobody_adds_changes_or_deletes(model):
    world = World()
    client = signed_in(everything())
    before = state()
    base = f"/admin/dispatcher/{model}/"
    assert client.post(f"{base}add/", {"name": "x"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [world.failed.pk], "post": "yes"}
    client.post(base, chosen)
    if model == "taskrun":
        assert client.post(f"{base}{world.failed.pk}/delete/", {"post": "yes"}).status_code == 403
        assert client.post(f"{base}{world.failed.pk}/change/", {"name": "x"}).status_code == 403
    assert state() == before


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["stranger", "no staff"])
def test_nobody_but_staff_does_anything(sent_messages, way):
    world = World()
    client = Client()
    if way == "no staff":
        client = signed_in(everything())
        User.objects.update(is_staff=False)
    before = state()
    for _permission, _view, do in VERBS.values():
        do(world, client)
    assert state() == before
    assert sent_messages() == []
