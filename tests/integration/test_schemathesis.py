"""Requests that nobody thought of, made from the API's description, against a real server.

Schemathesis sends them and judges each answer: no 5xx, no status, type, header or form that the
description does not have. It cannot know which bodies are right (a cron expression is a text to
it), so that nothing is asked of those that follow the description and are refused all the same.
"""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from dispatcher.api.models import ApiToken, Scope
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.rows import OK, job, run_at
from tests.integration.harness import ROOT, Stack
from tests.servers import free_port

pytestmark = pytest.mark.integration

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "ignored_auth",
)

PHASES = ("examples", "coverage", "fuzzing", "stateful")

CONFIGURATION = ROOT / "tests" / "integration" / "schemathesis.toml"

#: Rows of each kind that the requests find.
ROWS = 70


def seeded() -> dict[str, list[str]]:
    """Some scheduled tasks and runs, in every state."""
    now = database_now()
    tasks = [job(f"seeded {n}", enabled=n % 4 > 0, group=f"g{n % 3}") for n in range(ROWS)]
    statuses = ("running", "succeeded", "planned", "failed", "published", "lost", "retrying")
    runs = [
        run_at(now - timedelta(minutes=n), task, status=statuses[n % len(statuses)])
        for n, task in enumerate(tasks)
    ]
    ScheduledTask.objects.filter(pk=tasks[0].pk).set_aside("x", "spoilt", now)
    return {
        "scheduled-tasks": [str(task.pk) for task in tasks],
        "runs": [str(run.pk) for run in runs],
        "tasks": [OK],
    }


def secret() -> str:
    ann = get_user_model().objects.create_superuser("ann")
    token = ApiToken(name="schemathesis", user=ann, scopes=[*Scope.values])
    return token.issue(database_now())


def ask(stack: Stack, tmp_path: Path, *, examples: int, seed: int, phases: str) -> dict[str, Any]:
    """Let it ask every operation; AssertionError with what it found."""
    port, token = free_port(), secret()
    unlimited = {"SCHEDULER_API_READS_PER_MINUTE": "0", "SCHEDULER_API_CHANGES_PER_MINUTE": "0"}
    web = {"HOST": "127.0.0.1", "PORT": str(port), "DEBUG": "false", **unlimited}
    stack.start("web", env=web)
    report = tmp_path / "report.json"
    words = [
        *("schemathesis.cli", "--config-file", str(CONFIGURATION), "run"),
        str(ROOT / "docs" / "openapi.yaml"),
        *("--url", f"http://127.0.0.1:{port}", "--header", f"Authorization: Bearer {token}"),
        *("--checks", ",".join(CHECKS), "--phases", phases, "--mode", "all"),
        *("--max-examples", str(examples), "--seed", str(seed)),
        *("--generation-database", "none", "--suppress-health-check", "all", "--no-color"),
        *("--request-timeout", "20", "--continue-on-failure", "--warnings", "off"),
        *("--report", "json", "--report-json-path", str(report)),
    ]
    env = {
        "SEEDED_IDS": json.dumps(seeded()),
        "SCHEMATHESIS_HOOKS": "tests.integration.schemathesis_hooks",
        "PYTHONPATH": str(ROOT),
    }
    done = stack.run("schemathesis", words, env=env)
    code = done.wait(900)
    assert code == 0, done.log[-20_000:]
    return json.loads(report.read_text())


def check_reach(report: dict[str, Any]) -> None:
    """Every operation was asked, and nearly every one did something: refusals alone say little. It
    is by chance whether a run can still be cancelled, or a range of the past has slots."""
    rates = report["valid_rates"]
    refused = [n for n, phases in rates.items() if not any(p["accepted"] for p in phases.values())]

    assert report["operations"]["tested"] == report["operations"]["total"] == len(rates) > 20
    assert len(refused) <= 4, refused


@pytest.mark.sampled(2)
def test_the_api_keeps_to_its_description(stack, tmp_path):
    report = ask(stack, tmp_path, examples=6, seed=1, phases="examples,fuzzing")

    check_reach(report)


@pytest.mark.slow
def test_the_api_keeps_to_its_description_whatever_the_day(stack, tmp_path):
    """Another seed each day; a failure names it. Also every limit of every field, and operations
    one after another on what the one before has made."""
    seed = date.today().toordinal()
    report = ask(stack, tmp_path, examples=60, seed=seed, phases=",".join(PHASES))

    check_reach(report)
