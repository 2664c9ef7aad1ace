"""What the addresses of a scheduled task do to it, and what they say is to come."""

from datetime import datetime, timedelta

import pytest

from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.api.conftest import CRON


def stored(row):
    return ScheduledTask.objects.get(pk=row["id"])


def codes(answer):
    return {(error["field"], error["code"]) for error in answer.json()["errors"]}


# Act ------------------------------------------------------------------------------------------


def test_pause_and_resume(api):
    row = api.create()

    paused = api.post(f"scheduled-tasks/{row['id']}/pause/", {"reason": "The mill is closed."})
    assert (paused.json()["state"], paused.json()["enabled"]) == ("paused", False)
    assert paused.json()["state_text"] == "The mill is closed."
    assert paused.json()["state_reason_by"] == "ann"
    assert paused.json()["next_run_at"] is None

    resumed = api.post(f"scheduled-tasks/{row['id']}/resume/")
    assert (resumed.json()["state"], resumed.json()["state_text"]) == ("active", "")
    assert [entry.via for entry in stored(row).history.all()] == ["api"] * 3


def test_pause_until_a_time(api):
    row = api.create()
    until = database_now().replace(microsecond=0) + timedelta(days=1)

    answer = api.post(f"scheduled-tasks/{row['id']}/pause/", {"until": until.isoformat()})

    assert datetime.fromisoformat(answer.json()["paused_until"]) == until
    assert stored(row).paused_until == until


def test_to_pause_what_is_paused_is_fine_unless_it_would_change_why(api):
    row = api.create(enabled=False)

    assert api.post(f"scheduled-tasks/{row['id']}/pause/").status_code == 200
    answer = api.post(f"scheduled-tasks/{row['id']}/pause/", {"reason": "other"})

    assert (answer.status_code, answer.json()["code"]) == (409, "already_paused")


def test_pause_until_the_past_is_refused(api):
    row = api.create()

    answer = api.post(f"scheduled-tasks/{row['id']}/pause/", {"until": "2020-01-01T00:00:00Z"})

    assert codes(answer) == {("until", "past")}
    assert stored(row).enabled


def test_resume_of_what_has_no_further_slot_is_refused(api):
    row = api.create(enabled=False, ends_at="2020-01-01T00:00:00Z")

    answer = api.post(f"scheduled-tasks/{row['id']}/resume/")

    assert codes(answer) == {("ends_at", "no_further_slot")}


def test_skip_next_names_the_slot_and_the_next_one_follows(api):
    row = api.create()
    first, second = [run["scheduled_for"] for run in upcoming(api, row, 2)]

    answer = api.post(f"scheduled-tasks/{row['id']}/skip-next/")

    assert answer.json() == {"skipped": first}
    assert [run["scheduled_for"] for run in upcoming(api, row, 1)] == [second]


def test_skip_next_under_one_key_skips_one_slot(api):
    row = api.create()
    _first, second = [run["scheduled_for"] for run in upcoming(api, row, 2)]

    path = f"scheduled-tasks/{row['id']}/skip-next/"
    answers = [api.post(path, idempotency_key="k") for _attempt in range(2)]

    assert answers[0].json() == answers[1].json()
    assert [run["scheduled_for"] for run in upcoming(api, row, 1)] == [second]


def test_skip_next_without_a_slot_is_a_conflict(api):
    row = api.create(enabled=False)

    answer = api.post(f"scheduled-tasks/{row['id']}/skip-next/")

    assert (answer.status_code, answer.json()["code"]) == (409, "no_slot_to_skip")


def upcoming(api, row, n):
    return api.get(f"scheduled-tasks/{row['id']}/upcoming/?n={n}").json()["runs"]


# What comes -----------------------------------------------------------------------------------


def test_upcoming_is_what_the_model_says_on_both_clocks(api):
    row = api.create(timezone="Asia/Shanghai", jitter_seconds=600)

    runs = upcoming(api, row, 3)

    task = stored(row)
    slots = task.upcoming(3)
    assert [datetime.fromisoformat(run["scheduled_for"]) for run in runs] == slots
    assert [datetime.fromisoformat(run["start_at"]) for run in runs] == [
        task.start_of(slot) for slot in slots
    ]
    assert all(run["local"].endswith("T03:30:00+08:00") for run in runs)


@pytest.mark.parametrize("n", ["0", "101", "-1", "many", "1e2"])
def test_upcoming_shows_1_to_100(api, n):
    row = api.create()

    answer = api.get(f"scheduled-tasks/{row['id']}/upcoming/?n={n}")

    assert codes(answer) == {("n", "invalid")}


def test_upcoming_of_a_paused_task_is_empty(api):
    row = api.create(enabled=False)

    assert upcoming(api, row, 5) == []


def test_preview_is_what_saving_leads_to_and_saves_nothing(api):
    body = {name: CRON[name] for name in ("kind", "cron_expression")}

    shown = api.post("scheduled-tasks/preview/?n=3", body | {"timezone": "Europe/Berlin"}).json()

    assert not ScheduledTask.objects.exists()
    assert {(error["field"], error["code"]) for error in shown["errors"]} == {
        ("name", "required"),
        ("task", "required"),
    }
    assert shown["schedule_text"] == "every day at 03:30 (Europe/Berlin)"
    row = api.create(timezone="Europe/Berlin")
    assert [run["scheduled_for"] for run in shown["runs"]] == [
        run["scheduled_for"] for run in upcoming(api, row, 3)
    ]


def test_preview_of_a_wrong_schedule_has_no_runs(api):
    shown = api.post("scheduled-tasks/preview/", CRON | {"cron_expression": "99 * * * *"}).json()

    assert shown["runs"] == []
    assert [(error["field"], error["code"]) for error in shown["errors"]] == [
        ("cron_expression", "out_of_range")
    ]


def test_preview_warns_of_what_is_probably_not_meant(api):
    shown = api.post("scheduled-tasks/preview/", CRON | {"cron_expression": "*/90 * * * *"}).json()

    assert len(shown["warnings"]) == 1
    assert len(shown["runs"]) == 10


def test_preview_of_a_change_starts_from_what_is_stored(api):
    row = api.create(timezone="Asia/Shanghai")

    shown = api.post(
        f"scheduled-tasks/{row['id']}/preview/?n=1", {"cron_expression": "0 12 * * *"}
    ).json()

    assert shown["errors"] == []
    assert shown["runs"][0]["local"].endswith("T12:00:00+08:00")
    assert stored(row).cron_expression == "30 3 * * *"


def test_a_preview_needs_an_object(api):
    answer = api.post("scheduled-tasks/preview/", [1])

    assert answer.status_code == 400
    assert codes(answer) == {("", "invalid")}
