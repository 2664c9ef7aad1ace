"""Remembered UPDATEs: the same text as the queryset's, and other values each time."""

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dispatcher.models import TaskRun, statements
from dispatcher.models.claim import Claim
from dispatcher.models.ends import End
from tests.dispatcher.models.test_verb_conditions import values
from tests.dispatcher.worker.test_gate import make

pytestmark = pytest.mark.django_db


def claim_of(run, attempt=0, retries=0):
    return Claim(run.pk, attempt, retries, uuid.uuid4(), "w", uuid.uuid4(), 7, "m")


def told(action):
    """The one statement of the action, without parentheses: Django puts an expression in some."""
    with CaptureQueriesContext(connection) as queries:
        action()
    [query] = queries.captured_queries
    return query["sql"].replace("(", "").replace(")", "")


@pytest.mark.parametrize("attempt", [0, 1, 2])
def test_a_claim_is_the_queryset_with_its_values(attempt):
    claim = claim_of(make(), attempt)
    rows, columns = TaskRun.objects.all()._claim(claim)
    asked = told(lambda: rows.update(**columns))
    TaskRun.objects.all().delete()
    assert told(lambda: TaskRun.objects.all().claim(claim)) == asked


@pytest.mark.parametrize("held", [{}, {"holds": None}])
@pytest.mark.parametrize("log", ["", "a line\n"])
def test_an_end_is_the_queryset_with_its_values(log, held):
    end = End("failed", "exception", {"a": 1}, {"b": [None]}, "E", "T", log)
    run, token = uuid.uuid4(), uuid.uuid4()
    given = {**end.columns(), "log": log, "id": run, "token": token}
    rows, columns = TaskRun.objects.all()._end(given, bool(log), held)
    asked = told(lambda: rows.update(**columns))
    assert told(lambda: TaskRun.objects.all().end(run, token, end, **held)) == asked


def test_it_is_built_once_and_each_time_with_its_own_values(monkeypatch):
    first, second = make(), make()
    TaskRun.objects.claim(claim_of(first))
    monkeypatch.setattr(statements, "compiled", None)
    mine = claim_of(second)
    assert TaskRun.objects.claim(mine)
    assert values(second)["token"] == mine.token != values(first)["token"]


def test_a_selection_keeps_its_condition():
    run = make(name="one")
    assert not TaskRun.objects.filter(name="other").claim(claim_of(run))
    assert TaskRun.objects.filter(name="one").claim(claim_of(run))
