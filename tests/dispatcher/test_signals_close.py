"""Ends that are told of: each run that ended, once, after the commit, and no other."""

from datetime import timedelta

import pytest
from django.db import transaction

from dispatcher import signals
from dispatcher.models import Status, TaskRun
from dispatcher.models.verbs import TaskRunQuerySet
from dispatcher.signals import run_finished
from scheduling.database import database_now
from tests.dispatcher.rows import OK
from tests.dispatcher.workers import Crew, fresh

pytestmark = pytest.mark.django_db(transaction=True)

S = timedelta(seconds=1)


@pytest.fixture
def told():
    heard = []

    def hear(sender, run, **signal):
        assert sender is TaskRun
        heard.append((run.name, run.status))

    run_finished.connect(hear, sender=TaskRun)
    yield heard
    run_finished.disconnect(hear, sender=TaskRun)


def row(name, **columns):
    now = database_now()
    at = {"scheduled_for": now, "start_at": now, "planned_at": now}
    return TaskRun.objects.create(name=name, task=OK, trigger="manual", **at | columns)


def close(rows):
    return signals.close(rows, Status.CANCELLED, "by_person", by="ada")


def test_of_a_selection_those_that_wait_end_and_are_told_of_in_their_order(told):
    for name, status in (("a", "planned"), ("b", "published"), ("c", "retrying")):
        row(name, status=status)
    row("d", status="running"), row("e", status="succeeded")
    row("not selected")
    rows = TaskRun.objects.exclude(name="not selected")
    assert close(rows) == 3
    assert told == [("a", "cancelled"), ("b", "cancelled"), ("c", "cancelled")]
    assert set(TaskRun.objects.filter(status="cancelled").values_list("reason", flat=True)) == {
        "by_person"
    }
    assert TaskRun.objects.get(name="a").reason_params == {"by": "ada"}
    assert TaskRun.objects.get(name="not selected").status == "planned"
    assert close(rows) == 0
    assert len(told) == 3


def test_without_a_listener_the_same_runs_end():
    row("a"), row("b", status="running"), row("not selected")
    assert close(TaskRun.objects.exclude(name="not selected")) == 1
    assert TaskRun.objects.get(name="a").reason_params == {"by": "ada"}
    assert TaskRun.objects.filter(status="cancelled").count() == 1


@pytest.mark.parametrize("commits", [True, False])
def test_they_are_told_of_by_the_commit_only(told, commits):
    run = row("a")
    try:
        with transaction.atomic():
            assert close(TaskRun.objects.all()) == 1
            assert told == []
            if not commits:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert told == ([("a", "cancelled")] if commits else [])
    assert fresh(run).status == ("cancelled" if commits else "planned")


def test_two_that_close_the_same_runs_at_once_tell_of_each_once(told, crew: Crew):
    for _ in range(10):
        for name in "abcdef":
            row(name)
        counts = crew.at_once(*[lambda: close(TaskRun.objects.all())] * 3)
        assert sum(counts) == 6
        assert sorted(told) == [(name, "cancelled") for name in "abcdef"]
        told.clear()
        TaskRun.objects.all().delete()


def test_many_ends_are_read_in_bites(told, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(signals, "TOLD_AT_ONCE", 2)
    runs = [row(name, status="failed") for name in "abcde"]
    with django_assert_num_queries(3):
        signals.announce_all([run.pk for run in runs])
    assert told == [(name, "failed") for name in "abcde"]
    told.clear()
    signals.announce(runs[1].pk)
    assert told == [("b", "failed")]


def test_a_listener_of_other_senders_costs_nothing(django_assert_num_queries):
    run_finished.connect(listener := lambda **signal: None, sender=Status)
    try:
        run = row("a")
        with django_assert_num_queries(0):
            signals.announce(run.pk)
    finally:
        run_finished.disconnect(listener, sender=Status)


def test_what_a_receiver_raises_is_logged_and_reaches_nobody(told, caplog):
    def fail(**signal):
        raise ValueError("a receiver of the user's")

    run_finished.connect(fail)
    try:
        assert close(TaskRun.objects.filter(pk=row("a").pk)) == 1
    finally:
        run_finished.disconnect(fail)
    assert told == [("a", "cancelled")]
    assert "A receiver of run_finished failed" in caplog.text
    assert "a receiver of the user's" in caplog.text


def test_a_run_that_comes_to_the_selection_meanwhile_does_not_end_untold(told, monkeypatch):
    close_rows = TaskRunQuerySet.close

    def add_one_first(rows, *args, **params):
        row("came meanwhile")
        return close_rows(rows, *args, **params)

    row("a")
    monkeypatch.setattr(TaskRunQuerySet, "close", add_one_first)
    assert close(TaskRun.objects.all()) == 1
    assert told == [("a", "cancelled")]
    assert TaskRun.objects.get(name="came meanwhile").status == "planned"
