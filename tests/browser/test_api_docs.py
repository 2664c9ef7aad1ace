"""The front end's part of docs/api.md, in a browser that is logged in to the admin."""

import re

import pytest
from django.core.signals import request_started

from dispatcher.models import TaskRun
from scheduling.models import ScheduledTask
from tests.integration.harness import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text()
SCRIPT = "\n".join(re.findall(r"```js\n(.*?)```", PAGE, re.DOTALL))
NAMES = re.findall(r"^const (\w+) =", SCRIPT, re.MULTILINE)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def send_report():
    """The example task of the page."""
    from project.demo import tasks  # registers them, as autodiscovery would have

    return tasks.send_report


def test_each_screen_of_a_front_end_is_one_request(admin_page, live_server, send_report):
    sent = []
    admin_page.on("request", lambda request: sent.append(f"{request.method} {request.url}"))

    told = admin_page.evaluate(f"async () => {{\n{SCRIPT}\nreturn {{ {', '.join(NAMES)} }};\n}}")

    assert len(sent) == SCRIPT.count("= await api(") == 10
    assert told["report"]["doc"] == send_report.__doc__
    assert told["fields"] == {
        "name": {"type": "string"},
        "pages": {"type": "integer", "default": 1},
    }
    assert (len(told["preview"]["runs"]), told["preview"]["problem"]) == (5, "")
    assert {error["field"] for error in told["preview"]["errors"]} == {"name", "task"}
    assert [row["name"] for row in told["list"]["results"]] == ["Stock"]
    assert (told["paused"]["state"], told["paused"]["state_text"]) == ("paused", "Stocktaking")
    assert told["active"]["state"] == "active"
    assert len(told["next"]["runs"]) == 5
    assert [row["id"] for row in told["results"]["results"]] == [told["run"]["id"]]
    assert told["detail"]["kwargs"] == {"name": "Eve"}
    assert ScheduledTask.objects.get().kwargs == {"name": "Ada"}
    assert TaskRun.objects.get().triggered_by == "admin"


def test_an_error_reaches_the_front_end_with_its_code(admin_page, live_server):
    helper = SCRIPT.split("\n// ")[0]
    call = (
        "api('tasks/?page=0').catch((error) => [error.status, error.code, error.errors[0].field])"
    )

    told = admin_page.evaluate(f"async () => {{\n{helper}\nreturn await {call};\n}}")

    assert told == [400, "validation_error", "page"]


def test_the_browser_asks_again_by_the_etag_that_it_knows(admin_page, live_server):
    row = ScheduledTask.objects.create_cron("Yearly", "shop.close", "0 0 1 1 *")
    helper = SCRIPT.split("\n// ")[0]
    twice = f"[await api('scheduled-tasks/{row.pk}/'), await api('scheduled-tasks/{row.pk}/')]"
    known = []

    def note(environ, **more):
        known.append(environ.get("HTTP_IF_NONE_MATCH"))

    request_started.connect(note)
    try:
        first, second = admin_page.evaluate(f"async () => {{\n{helper}\nreturn {twice};\n}}")
    finally:
        request_started.disconnect(note)

    assert first == second
    assert len(known) == 2
    assert known[0] is None and known[1].startswith('"1.')
