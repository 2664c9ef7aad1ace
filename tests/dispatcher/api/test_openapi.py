"""The description of the API: complete, valid, and the committed one is that of the code."""

from pathlib import Path

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.core.management import call_command

COMMITTED = Path(__file__).resolve().parents[3] / "docs" / "openapi.yaml"


@pytest.fixture(scope="module")
def description():
    return yaml.safe_load(COMMITTED.read_text())


def operations(description):
    return {
        operation["operationId"]: operation
        for path in description["paths"].values()
        for operation in path.values()
    }


def test_the_committed_description_is_that_of_the_code(tmp_path):
    written = tmp_path / "openapi.yaml"

    call_command(
        "spectacular",
        "--validate",
        "--fail-on-warn",
        "--lang=en",
        "--custom-settings=dispatcher.api.openapi.description.SETTINGS",
        f"--file={written}",
    )

    assert written.read_text() == COMMITTED.read_text(), "run `make openapi` and commit the result"


def test_it_is_served_to_everybody_as_yaml_and_as_json(client, description):
    as_yaml = client.get("/api/schema/")
    as_json = client.get("/api/schema/", headers={"accept": "application/json"})

    assert yaml.safe_load(as_yaml.content) == as_json.json() == description
    assert description["openapi"] == "3.1.0"


def test_every_operation_says_what_it_does_who_may_and_what_can_go_wrong(description):
    found = operations(description)

    assert len(found) == 23
    for name, operation in found.items():
        assert operation["summary"], name
        assert operation["security"] == [{"token": []}, {"session": []}], name
        statuses = set(operation["responses"])
        assert {"400", "401", "403", "406", "429", "500", "503"} <= statuses, name
        assert statuses & {"200", "201", "204"}, name


def test_every_error_has_an_example_in_its_own_form(description):
    for name, response in description["components"]["responses"].items():
        (content,) = response["content"].items()
        assert content[0] == "application/problem+json", name
        assert {"type", "title", "status", "detail", "code"} <= set(content[1]["example"]), name


def test_what_may_not_be_done_twice_can_be_repeated(description):
    repeatable = {
        name
        for name, operation in operations(description).items()
        if any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", ()))
    }

    assert repeatable == {
        "scheduled_task_create",
        "scheduled_task_skip_next",
        "scheduled_task_run",
        "scheduled_task_backfill",
        "run_create",
        "run_rerun",
    }


def test_the_page_loads_its_files_from_here(client):
    page = client.get("/api/docs/").content.decode()

    files = [part.split('"')[0] for part in page.split('"/static/')[1:]]
    assert len(files) == 4
    assert all(finders.find(name) for name in files)
    assert "://" not in page.replace("http://www.w3.org", "")


def test_put_says_what_it_needs_and_that_all_else_gets_its_default(description):
    put = operations(description)["scheduled_task_update"]
    place = put["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    required = description["components"]["schemas"][place.rpartition("/")[2]]["required"]
    assert {*required} == {"name", "task", "kind", "timezone"}
    for name in (*required, "cron_expression", "interval_seconds", "run_at"):
        assert f"`{name}`" in put["description"]
    assert "default" in put["description"]
