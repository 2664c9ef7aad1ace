"""Every error is problem+json with a code that stays, and none tells what it should not."""

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils.translation import override

from scheduling.models import ScheduledTask
from tests.dispatcher.api.conftest import CRON, Api


def problem(answer, status, code):
    """The body of an error, whose form is checked."""
    body = answer.json()
    assert answer["Content-Type"] == "application/problem+json"
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code), body
    assert body["type"] == f"urn:problem-type:minutehand:{code}"
    assert {"type", "title", "status", "detail", "code"} <= set(body) <= {*body, "errors"}
    assert body["detail"] and body["title"]
    return body


@pytest.mark.parametrize("path", ["", "nothing/", "runs", "scheduled-tasks/x/", "tasks/a/b/c/"])
def test_an_address_with_nothing(api, path):
    problem(api.get(path), 404, "not_found")


def test_a_missing_slash_is_told(api):
    assert "slash" in problem(api.post("runs"), 404, "not_found")["detail"]


def test_a_method_that_there_is_not(api):
    answer = api.put("runs/")

    problem(answer, 405, "method_not_allowed")
    problem(api.put("runs/?colour=red"), 405, "method_not_allowed")
    assert answer["Allow"] == "GET, POST, HEAD, OPTIONS"


def test_nobody(db):
    answer = Client().get("/api/v1/runs/")

    problem(answer, 401, "not_authenticated")
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_a_type_that_is_not_served(api):
    problem(api.get("runs/", accept="text/html"), 406, "not_acceptable")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_body_of_another_type(api, kind):
    answer = api.client.post("/api/v1/runs/", "task=x", content_type=kind)

    problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{'task': 1}", "double quotes"),
        ('{"task": NaN}', "no valid JSON"),
        ('{"task": ', "ends too early"),
        ("\r\n", "ends too early"),
        ("[" * 100_000, ""),
        ("9" * 5000, ""),
        ('{"task": "a", "kwargs": {"x": 1, "x": 1}}', "“x” is in the body twice"),
        ('{"task": "a", "task": "b"}', "“task” is in the body twice"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_a_body_that_is_no_json(api, text, says):
    answer = api.client.post("/api/v1/runs/", text, content_type="application/json")

    assert says in problem(answer, 400, "parse_error")["detail"]


@pytest.mark.parametrize("text", ["[]", '"x"', "1", "null"])
def test_a_body_that_is_no_object(api, text):
    answer = api.client.post("/api/v1/runs/", text, content_type="application/json")

    body = problem(answer, 400, "validation_error")
    assert len(body["errors"]) == 1
    assert body["errors"][0]["field"] == ""


def test_a_body_that_is_too_large(api, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100

    problem(api.post("scheduled-tasks/", CRON | {"description": "x" * 100}), 413, "too_large")


def test_one_mistake_is_told_in_the_detail(api):
    body = problem(api.post("scheduled-tasks/", CRON | {"name": ""}), 400, "validation_error")

    assert body["detail"] == body["errors"][0]["detail"]


def test_several_mistakes_are_told_beside_it(api):
    body = problem(api.post("scheduled-tasks/", {}), 400, "validation_error")

    assert {error["field"] for error in body["errors"]} == {"name", "task", "kind"}


def test_a_mistake_of_ours_is_logged_and_not_told(api, monkeypatch, caplog):
    def fail(self):
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(ScheduledTask, "clean", fail)
    api.client.raise_request_exception = False

    answer = api.post("scheduled-tasks/", CRON)

    problem(answer, 500, "internal_error")
    assert b"secret of the house" not in answer.content
    assert "the secret of the house" in caplog.text
    assert not ScheduledTask.objects.exists()


@pytest.mark.parametrize(
    ("message", "code"),
    [("server closed the connection", "unavailable"), ("database is locked", "busy")],
)
def test_a_database_that_is_away_or_busy(api, monkeypatch, message, code):
    def fail(self):
        raise OperationalError(message)

    monkeypatch.setattr(ScheduledTask, "clean", fail)

    answer = api.post("scheduled-tasks/", CRON)

    problem(answer, 503, code)
    assert int(answer["Retry-After"]) >= 1
    assert message.encode() not in answer.content


def test_sentences_follow_the_language_and_codes_do_not(api):
    wrong = CRON | {"cron_expression": "99 * * * *", "colour": 1}
    wrong.pop("colour")

    english = api.post("scheduled-tasks/", wrong)
    chinese = api.post("scheduled-tasks/", wrong, accept_language="zh-hans")

    one, two = (problem(answer, 400, "validation_error") for answer in (english, chinese))
    assert one["errors"][0]["code"] == two["errors"][0]["code"] == "out_of_range"
    with override("zh-hans"):
        expected = api.post("scheduled-tasks/", wrong, accept_language="zh-hans").json()
    assert two == expected
    assert chinese["Content-Language"] == "zh-hans"


def test_a_stranger_learns_nothing_from_an_id(db):
    answer = Api(Client()).get("scheduled-tasks/1/")

    problem(answer, 401, "not_authenticated")
