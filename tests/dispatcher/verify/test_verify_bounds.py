"""What `verify_slots` looks at and leaves alone, to the instant."""

from datetime import timedelta

import pytest

from dispatcher.models import Status, TaskRun
from scheduling.models import ScheduledTask
from scheduling.stop import Stop
from tests.dispatcher.verify.clock import HOUR, MINUTE, counts, interval, only, runs

pytestmark = pytest.mark.django_db

INSTANT = timedelta(milliseconds=1)
MARGIN = 2 * MINUTE


@pytest.fixture
def task(clock):
    """Ten minutes with a slot every 30 seconds, each of which has its run."""
    task = interval(every=30)
    clock.pass_(10 * MINUTE)
    return task


def set_run(task, place, **columns):
    run = runs(task)[place]
    TaskRun.objects.filter(pk=run.pk).update(**columns)
    return run


def test_the_time_that_is_verified_includes_both_its_ends(clock, task):
    gone = runs(task)[5]
    gone.delete()
    assert counts(clock.verify(since=gone.slot)) == {"missing": 1}
    assert counts(clock.verify(since=gone.slot + INSTANT)) == {}
    assert counts(clock.verify(until=gone.slot)) == {"missing": 1}
    assert counts(clock.verify(until=gone.slot - INSTANT)) == {}


def test_both_ends_count_their_slots(clock, task):
    first, last = runs(task)[2].slot, runs(task)[6].slot
    assert clock.verify(since=first, until=last).slots == 5
    assert clock.verify(since=first + INSTANT, until=last - INSTANT).slots == 3


@pytest.mark.parametrize("status", [Status.PLANNED, Status.PUBLISHED, Status.RETRYING])
def test_what_should_have_started_two_minutes_ago_is_on_its_way(clock, task, status):
    set_run(task, 5, status=status, start_at=clock.now - MARGIN)
    assert clock.verify().is_clean
    set_run(task, 5, start_at=clock.now - MARGIN - INSTANT)
    why = "not_ended" if status == Status.RETRYING else "not_started"
    assert only(clock.verify(), "undecided").why == why


def test_a_worker_that_answered_within_two_minutes_holds_its_run(clock, task):
    set_run(task, 5, status=Status.RUNNING, lease_until=clock.now - MARGIN + INSTANT)
    report = clock.verify()
    assert (report.is_clean, report.running) == (True, 1)
    set_run(task, 5, lease_until=clock.now - MARGIN)
    report = clock.verify()
    assert only(report, "undecided").why == "not_ended"
    assert report.running == 0


def test_a_run_without_a_lease_is_believed_to_run(clock, task):
    set_run(task, 5, status=Status.RUNNING, lease_until=None)
    report = clock.verify()
    assert (report.is_clean, report.running) == (True, 1)


def test_a_run_that_waits_while_everything_is_paused_is_told_so(clock, task):
    waits = set_run(task, 5, status=Status.PUBLISHED)
    Stop.objects.create(paused_at=clock.now)
    found = only(clock.verify(), "undecided")
    assert (found.why, found.run, found.count) == ("everything_paused", waits.pk, 1)


def test_a_gap_ends_at_the_next_run(clock, task):
    slots = [run.slot for run in runs(task)]
    runs(task).filter(slot__in=[slots[3], slots[4], slots[6]]).delete()
    report = clock.verify()
    found = [(each.first, each.last, each.count) for each in report.listed["missing"]]
    assert found == [(slots[3], slots[4], 2), (slots[6], slots[6], 1)]
    assert report.counts["missing"] == 3


@pytest.mark.parametrize(("succeeded", "failed"), [(3, 90), (90, 3)])
def test_it_begins_ten_minutes_after_the_oldest_run_that_is_kept(
    clock, settings, succeeded, failed
):
    settings.SCHEDULER_RUN_RETENTION_DAYS = succeeded
    settings.SCHEDULER_FAILURE_RETENTION_DAYS = failed
    kept = clock.now - timedelta(days=3) + 10 * MINUTE
    report = clock.verify()
    assert (report.since, report.until) == (kept, clock.now - MARGIN)
    assert not clock.verify(since=kept).notes
    earlier = clock.verify(since=kept - INSTANT)
    assert earlier.since == kept
    assert "may be deleted" in earlier.notes[0]


def test_it_never_looks_beyond_now(clock):
    assert clock.verify(until=clock.now + HOUR).until == clock.now


def test_an_end_at_the_start_is_nothing_to_verify(clock):
    moment = clock.now - HOUR
    assert clock.verify(since=moment, until=moment + INSTANT).is_clean
    for end in (moment, moment - INSTANT):
        with pytest.raises(ValueError, match="nothing to verify"):
            clock.verify(since=moment, until=end)


def test_what_was_deleted_before_the_time_in_question_is_not_looked_at(clock, task):
    deleted_at = clock.now
    task.delete()
    clock.pass_(5 * MINUTE)
    assert clock.verify(since=deleted_at - MINUTE).schedules == 1
    assert clock.verify(since=deleted_at + MINUTE).schedules == 0
    assert clock.verify(since=deleted_at - MINUTE).is_clean


@pytest.mark.parametrize(("number", "more"), [(10, False), (11, True)])
def test_ten_names_are_told_of_those_that_changed_without_a_trace(clock, number, more):
    for n in range(number):
        interval(f"job {n:02}", every=600)
    ScheduledTask.objects.keep(interval_seconds=900)
    [note] = clock.verify().notes
    assert note.count("job ") == 10
    assert ("job 09, …" in note) is more
