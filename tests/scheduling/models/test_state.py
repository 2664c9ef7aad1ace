"""The states of a scheduled task: the value, the query and the metric say the same of every row."""

from itertools import product

import pytest
from django.test import Client
from django.utils import translation

from dispatcher.models import TaskRun
from dispatcher.watch.metrics import _schedules
from scheduling.models import ScheduledTask, State
from scheduling.models.state import may_run, of, where, where_may_run
from scheduling.words import state_of

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
#: Every pair that the two columns can hold; raw SQL makes those that we do not write.
EXPECTED = {
    (True, ""): State.ACTIVE,
    (True, "paused"): State.ACTIVE,
    (True, "finished"): State.ACTIVE,
    (True, "set_aside"): State.SET_ASIDE,
    (False, ""): State.PAUSED,
    (False, "paused"): State.PAUSED,
    (False, "set_aside"): State.PAUSED,
    (False, "finished"): State.FINISHED,
}


@pytest.fixture
def rows():
    for enabled, reason in product((True, False), ("", "paused", "finished", "set_aside")):
        task = ScheduledTask.objects.create_interval(f"{enabled} {reason}", OK, 30)
        columns = {"enabled": enabled, "state_reason": reason}
        ScheduledTask.objects.filter(pk=task.pk).keep(**columns)
    return {(row.enabled, row.state_reason): row for row in ScheduledTask.objects.all()}


def pairs(found):
    return {(row.enabled, row.state_reason) for row in found}


def test_the_value_says_it(rows):
    assert {pair: of(row) for pair, row in rows.items()} == EXPECTED
    assert {pair: state_of(row) for pair, row in rows.items()} == EXPECTED


@pytest.mark.parametrize("state", State.values)
def test_the_query_says_what_the_value_says(rows, state):
    expected = {pair for pair, its in EXPECTED.items() if its == state}
    assert pairs(ScheduledTask.objects.in_state(state)) == expected
    runs = TaskRun.objects.filter(where(state, through="scheduled_task__"))
    assert pairs({run.scheduled_task for run in runs}) == expected


def test_metrics_and_lists_say_it_too(rows, admin_client: Client):
    gauge = next(iter(_schedules()))
    counts = {sample.labels["state"]: sample.value for sample in gauge.samples}
    expected = {state: [*EXPECTED.values()].count(state) for state in State}
    assert counts == expected
    for state, count in expected.items():
        page = admin_client.get("/admin/scheduling/scheduledtask/", {"state": state})
        assert page.context["cl"].result_count == count
        answer = admin_client.get("/api/v1/scheduled-tasks/", {"state": state})
        assert answer.json()["count"] == count


def test_planned_runs_of_a_finished_schedule_may_start_and_of_a_paused_one_not(rows):
    expected = {pair for pair, state in EXPECTED.items() if state != State.PAUSED}
    assert {pair for pair in rows if may_run(*pair)} == expected
    assert pairs(ScheduledTask.objects.filter(where_may_run())) == expected


def test_each_state_has_a_word_in_both_languages():
    with translation.override("zh-hans"):
        words = [str(state.label) for state in State]
    assert len({*words, *(str(state.label) for state in State)}) == 8
