"""No page of the admin has English left for somebody who chose Chinese."""

import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import URLPattern, resolve, reverse

from dispatcher.api.models import ApiToken
from dispatcher.models import RunAttempt, TaskRun, Tick, Worker
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import Stop
from tests.project.words import has_chinese, visible

pytestmark = pytest.mark.django_db

ADD = "tests.integration.tasks_app.tasks.add"
TASKS = "/admin/scheduling/scheduledtask/"
RUNS = "/admin/dispatcher/taskrun/"

#: A word of English; a path, an address or a name with a dot in it is none.
WORD = re.compile(r"(?<![\w./:-])[a-z][a-z'’]{2,}(?![\w./:-]*[\w/])", re.ASCII | re.IGNORECASE)
#: Words that are not ours to translate: names, what people wrote, and what Django does not mark.
SAME = {"English", "Minutehand", "Celery", "Worker", "Quartz", "JSON", "CSV", "UTC", "Cron", "cron"}
SAME |= {"API", "read", "prefork", "pid", "SoftTimeLimitExceeded", "region", "ada", "admin"}
SAME |= {"Search", "celery"}
SIGNATURE = re.compile(r"add\(.*\) -> int|dispatcher:")


@pytest.fixture
def pages(db: None) -> dict[str, str]:
    """Rows in every state that a page can show, and the addresses of the pages."""
    now = database_now()
    plan = ScheduledTask.objects
    well = plan.create_cron("任务一", ADD, "*/5 9-17 * * MON-FRI", args=[1, 2], jitter_seconds=5)
    plan.create_interval("任务二", ADD, 90, args=[1, 2], pause_after_failures=2).pause(by="ada")
    once = plan.create_one_time("任务三", ADD, now + timedelta(days=1), args=[1, 2])
    plan.filter(pk=once.pk).set_aside("x", "糟了", now)
    ScheduledTask.objects.filter(pk=well.pk).update(description="说明", owner="ada")
    well.skip_next(by="ada")
    common = {
        "scheduled_task": well,
        "name": well.name,
        "task": ADD,
        "revision": well.revision,
        "planned_at": now,
    }
    for n, (status, reason) in enumerate(STATES):
        at = now - timedelta(minutes=n + 3)
        begun = None if status in ("planned", "missed", "skipped") else at
        run = TaskRun.objects.create(
            **common,
            status=status,
            reason=reason,
            scheduled_for=at,
            start_at=at,
            started_at=begun,
            claimed_at=begun,
            finished_at=None if status in ("planned", "running", "retrying") else now,
            attempt=2 if begun else 0,
            triggered_via=("schedule", "admin", "api", "code")[n % 4],
            queue="celery",
            worker="w1" if begun else "",
        )
        if begun:
            RunAttempt.objects.create(run=run, attempt=1, status="failed", finished_at=at)
    Stop.objects.create(paused_at=now, resumed_at=now, in_force=None, paused_via="command")
    Tick.objects.create(kind="tick", started_at=now, finished_at=now)
    Worker.objects.create(
        id=uuid.uuid4(), hostname="w1", pid=1, started_at=now, seen_at=now, pool="prefork"
    )
    ada = get_user_model().objects.create_user("ada")
    ApiToken(name="任务一", user=ada, scopes=["read"]).issue(now, by=ada)
    return addresses(well, now)


STATES = [
    ("succeeded", ""),
    ("failed", "time_limit"),
    ("lost", "lease_ran_out"),
    ("cancelled", "by_person"),
    ("missed", "misfire"),
    ("skipped", "overlap"),
    ("running", ""),
    ("retrying", "exception"),
    ("planned", ""),
]


def addresses(task: ScheduledTask, now: Any) -> dict[str, str]:
    own = f"{TASKS}{task.pk}/"
    found = {
        "index": "/admin/",
        "overview": reverse("admin:dispatcher_overview"),
        "tasks": TASKS,
        "add": f"{TASKS}add/",
        "stop": reverse("admin:scheduling_stop_pause"),
        "stops": "/admin/scheduling/stop/",
        "a stop": reverse("admin:scheduling_stop_change", args=[Stop.objects.get().pk]),
        "runs": RUNS,
        "workers": "/admin/dispatcher/worker/",
        "ticks": "/admin/dispatcher/tick/",
        "worker": reverse("admin:dispatcher_worker_change", args=[Worker.objects.get().pk]),
        "tick": reverse("admin:dispatcher_tick_change", args=[Tick.objects.get().pk]),
        "import": f"{TASKS}import/",
        "export": f"{TASKS}export/",
        "unskip": f"{own}unskip/?slot={quote(task.skip_slots[0])}",
    }
    token = reverse("admin:scheduling_api_apitoken_changelist")
    found |= {"tokens": token, "add token": f"{token}add/"}
    pk = ApiToken.objects.get().pk
    found |= {f"token {page}": f"{token}{pk}/{page}/" for page in ("change", "history", "revoke")}
    pages = ("change", "delete", "history", "run", "skip", "pause", "backfill", "duplicate", "runs")
    for page in pages:
        found[page if page != "runs" else "its runs"] = f"{own}{page}/"
    for run in TaskRun.objects.filter(scheduled_task=task):
        found[f"run {run.status}"] = f"{RUNS}{run.pk}/change/"
        if run.status in ("running", "failed"):
            page = "cancel" if run.status == "running" else "rerun"
            found[f"run {page}"] = f"{RUNS}{run.pk}/{page}/"
    return found


@pytest.fixture
def chinese(admin_client: Client) -> Client:
    admin_client.cookies["django_language"] = "zh-hans"
    return admin_client


def english_of(html: str) -> list[str]:
    texts = (SIGNATURE.sub("", text) for text in visible(html))
    return [text for text in texts if {*WORD.findall(text)} - SAME]


def test_no_page_of_the_admin_has_english_left(pages: dict[str, str], chinese: Client) -> None:
    left = {}
    for name, address in pages.items():
        answer = chinese.get(address)
        assert answer.status_code == 200, (name, address)
        html = answer.content.decode()
        assert '<html lang="zh-hans"' in html
        left[name] = english_of(html)

    assert len(pages) > 25
    assert {name: found for name, found in left.items() if found} == {}


def test_nor_have_the_pages_that_only_sometimes_come(
    pages: dict[str, str], chinese: Client
) -> None:
    """The banner while everything is paused, the question before many are deleted, the way out."""
    chosen = [*ScheduledTask.objects.values_list("pk", flat=True)]
    data = {"action": "delete_selected", "_selected_action": chosen}
    asked = chinese.post(TASKS, data).content.decode()
    chinese.post(pages["stop"])
    stopped = chinese.get(pages["change"]).content.decode()
    left = chinese.post("/admin/logout/").content.decode()
    login = chinese.get("/admin/login/").content.decode()

    assert "已全部暂停" in stopped
    assert "以往的运行以原名称保留" in asked
    assert [english_of(html) for html in (asked, stopped, left, login)] == [[]] * 4


def names_of(patterns: list[Any]) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLPattern):
            yield pattern.name or ""
        else:
            yield from names_of(pattern.url_patterns)


def test_no_page_was_forgotten(pages: dict[str, str]) -> None:
    """A new page of ours has to be among those that are looked at here."""
    ours = {name for name in names_of(admin.site.get_urls()) if name.startswith(APPS)}
    seen = {resolve(address.partition("?")[0]).url_name for address in pages.values()}

    assert len(seen & ours) > 15
    assert sorted(ours - seen - ELSEWHERE) == []


APPS = ("scheduling_", "dispatcher_")
READ_ONLY = ("dispatcher_taskrun", "dispatcher_tick", "dispatcher_worker", "scheduling_stop")
#: These take a POST only, show nothing, or refuse: nobody adds or deletes a run.
ELSEWHERE = {
    "scheduling_scheduledtask_preview",
    "scheduling_scheduledtask_preview_new",
    "scheduling_scheduledtask_resume",
    "scheduling_stop_resume",
    "scheduling_api_apitoken_delete",
    *(
        f"{model}_{page}"
        for model in (
            "dispatcher_taskrun",
            "dispatcher_tick",
            "dispatcher_worker",
            "scheduling_stop",
        )
        for page in ("add", "delete", "history")
    ),
}


@pytest.mark.sampled(2)
def test_english_would_be_found_on_a_page(pages: dict[str, str], admin_client: Client) -> None:
    """The same pages in English, so that the test above can fail on each."""
    blind = [
        name
        for name, address in pages.items()
        if not english_of(admin_client.get(address).content.decode())
    ]
    assert [name for name in blind if name not in ("workers", "ticks", "tick", "worker")] == []


@pytest.mark.parametrize("page", ["add", "run", "pause", "backfill"])
def test_what_a_form_complains_about_is_in_chinese(
    page: str, pages: dict[str, str], chinese: Client
) -> None:
    answer = chinese.post(pages[page], WRONG)
    html = answer.content.decode()

    assert answer.status_code == 200
    assert html.count("errorlist") > 0
    assert english_of(html) == []


#: Nothing of it can be saved: an unknown task and zone, arguments that are no JSON, times of noon
#: that never come.
WRONG = {
    "name": "",
    "task": "celery.ping",
    "kind": "cron",
    "cron_expression": "61 9 * * *",
    "timezone": "火星",
    "args": "[1,",
    "kwargs": "{'a': 1}",
    "max_retries": "-1",
    "until_0": "2000-01-01",
    "until_1": "12:00",
    "start_0": "2999-01-01",
    "start_1": "12:00",
    "end_0": "2999-01-02",
    "end_1": "12:00",
}


def test_the_check_while_typing_answers_in_chinese(pages: dict[str, str], chinese: Client) -> None:
    typed = WRONG | {"cron_expression": "0 0 9 ? * 2", "timezone": "Europe/Berlin"}
    answer = chinese.post(pages["add"].replace("add/", "preview/"), typed).json()
    said = [text for texts in answer["errors"].values() for text in texts]
    said += [text for panel in answer["panels"].values() for text in visible(panel)]

    assert len(said) > 8
    assert [
        text for text in said if {*WORD.findall(text)} - SAME - {"MON", "SUN", "TUE", "AWS", "CET"}
    ] == []


@pytest.mark.parametrize("cell", ["60", "60.5"], ids=["what it would do", "why it cannot"])
def test_an_import_is_told_in_chinese(chinese: Client, cell: str) -> None:
    content = f"name,task,kind,interval_seconds\n新任务,{ADD},interval,{cell}\n"
    file = SimpleUploadedFile("a.csv", content.encode())
    html = chinese.post(f"{TASKS}import/", {"file": file}).content.decode()

    assert "新任务" in html
    assert english_of(html) == []


def test_what_a_button_did_is_told_in_chinese(pages: dict[str, str], chinese: Client) -> None:
    told = []
    for page in ("run", "backfill", "skip", "pause"):
        answer = chinese.post(pages[page], {}, follow=True)
        told += [str(message) for message in answer.context["messages"]]
    for action in ("pause", "resume", "run_now", "skip_next", "duplicate"):
        data = {
            "action": action,
            "_selected_action": [row.pk for row in ScheduledTask.objects.all()],
        }
        asked = chinese.post(TASKS, data).content.decode()
        assert english_of(asked) == []
        answer = chinese.post(TASKS, data | {"confirmed": "1"}, follow=True)
        told += [str(message) for message in answer.context["messages"]]

    assert len(told) > 8
    assert [text for text in told for words in visible(text) if not has_chinese(words)] == []
