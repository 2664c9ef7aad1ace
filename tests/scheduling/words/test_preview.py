"""What is said of a rule before it is saved."""

from datetime import UTC, datetime, timedelta

import pytest

from scheduling.models import ScheduledTask
from scheduling.words import coming_runs, cron_warnings, preview_of

OK = "tests.integration.tasks_app.tasks.ok"
NOW = datetime(2026, 7, 1, 7, 30, 5, tzinfo=UTC)
NINE = datetime(2026, 7, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)


def typed(**columns):
    cron = {"kind": "cron", "cron_expression": "0 9 * * *", "timezone": "UTC"}
    return ScheduledTask(**{"name": "Typed", "task": OK} | cron | columns)


def slots(runs):
    return [run.slot for run in runs]


def test_a_rule_that_is_typed_is_told_in_words_with_its_next_runs():
    preview = preview_of(typed(), 2, NOW)
    assert preview.words == "every day at 09:00 (UTC)"
    assert slots(preview.runs) == [NINE, NINE + DAY]
    assert (preview.problem, preview.warnings) == ("", [])


@pytest.mark.parametrize("wrong", ["cron_expression", "starts_at", "jitter_seconds", ""])
def test_while_what_decides_the_slots_is_wrong_there_are_no_runs(wrong):
    preview = preview_of(typed(), 2, NOW, wrong={wrong})
    assert (preview.words, preview.runs, preview.problem) == ("", [], "")


def test_what_decides_no_slot_may_be_wrong():
    assert preview_of(typed(), 2, NOW, wrong={"name", "args"}).runs


def test_a_paused_rule_is_told_as_it_would_run():
    row = typed(enabled=False, state_reason="paused")
    assert slots(preview_of(row, 1, NOW).runs) == [NINE]
    assert not row.enabled
    assert coming_runs(row, 1, NOW, everything_paused=False)[0] == []


def test_jitter_is_not_known_before_the_schedule_is_saved():
    assert preview_of(typed(), 1, NOW).runs[0].start == NINE
    assert preview_of(typed(jitter_seconds=60), 1, NOW).runs[0].start is None


@pytest.mark.django_db
def test_once_saved_the_starts_are_those_of_the_runs():
    row = ScheduledTask.objects.create_cron("Saved", OK, "0 9 * * *", jitter_seconds=60)
    runs = preview_of(row, 5, NOW).runs
    assert [run.start for run in runs] == [row.start_of(run.slot) for run in runs]
    assert any(run.start > run.slot for run in runs)


def test_what_a_clock_change_does_is_told_beside_its_slot():
    before = datetime(2026, 3, 28, 12, tzinfo=UTC)
    row = typed(cron_expression="30 2 * * *", timezone="Europe/Berlin")
    night, next_night = preview_of(row, 2, before).runs
    assert night.note == "The clock skips 02:30 that night: it runs at 03:00 instead."
    assert next_night.note == ""


def test_nothing_is_to_come_while_everything_is_paused():
    row = typed(created_at=NOW)
    assert coming_runs(row, 2, NOW, everything_paused=True) == ([], "Everything is paused.")


def test_only_what_is_accepted_is_warned_about():
    assert len(cron_warnings("*/90 * * * *")) == 1
    assert cron_warnings("61 * * * *") == []


def test_only_a_cron_has_warnings():
    assert len(preview_of(typed(cron_expression="*/90 * * * *"), 1, NOW).warnings) == 1
    every = typed(kind="interval", interval_seconds=60, cron_expression="*/90 * * * *")
    assert preview_of(every, 1, NOW).warnings == []
