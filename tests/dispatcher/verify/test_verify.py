"""`verify_slots` finds every slot that is not accounted for, and nothing where all are."""

import json
from datetime import datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connection

from dispatcher.management.commands.verify_slots import Command
from dispatcher.models import Status, TaskRun, Tick
from dispatcher.verify.findings import LISTED
from scheduling.models import ScheduledTask
from scheduling.stop import Stop
from tests.dispatcher.verify.clock import (
    HOUR,
    MINUTE,
    OK,
    S,
    counts,
    cron,
    interval,
    only,
    runs,
)

pytestmark = pytest.mark.django_db


# All is well --------------------------------------------------------------------------------------


def test_it_finds_nothing_where_every_slot_has_its_run(clock):
    interval(every=20)
    cron("other", "*/2 * * * *")
    clock.pass_(10 * MINUTE)
    report = clock.verify()
    assert report.is_clean and not any(report.listed.values()) and not report.notes
    assert (report.schedules, report.slots) == (2, 24 + 4)
    assert report.until == clock.now - 2 * MINUTE


def test_a_row_of_missed_slots_accounts_for_all_of_them(clock):
    task = interval(every=1)
    clock.pass_(5 * MINUTE)
    clock.now += HOUR
    clock.pass_(5 * MINUTE)
    span = runs(task).get(status=Status.MISSED)
    assert span.slot_count > 3000
    report = clock.verify()
    assert report.is_clean
    assert report.slots == 3600 + 2 * 300 - 120


def test_a_window_that_begins_inside_a_row_of_missed_slots_is_clean(clock):
    task = interval(every=1)
    clock.pass_(2 * MINUTE)
    clock.now += HOUR
    clock.pass_(5 * MINUTE)
    span = runs(task).get(status=Status.MISSED)
    report = clock.verify(since=span.slot + MINUTE, until=span.slot + 10 * MINUTE)
    assert report.is_clean
    assert clock.verify(since=span.slot + MINUTE).slots < 600


def test_edits_pauses_and_deletions_are_understood(clock):
    task = interval(every=30)
    clock.pass_(5 * MINUTE)
    task.interval_seconds = 45
    task.save()
    clock.pass_(5 * MINUTE)
    task.pause()
    clock.pass_(10 * MINUTE)
    task.resume()
    clock.pass_(5 * MINUTE)
    ScheduledTask.objects.update(kind="cron", interval_seconds=None, cron_expression="* * * * *")
    clock.pass_(5 * MINUTE)
    ScheduledTask.objects.update(name="renamed")
    clock.pass_(5 * MINUTE)
    ScheduledTask.objects.get().delete()
    clock.pass_(5 * MINUTE)
    assert TaskRun.objects.exclude(scheduled_task=None).count() == 0
    report = clock.verify()
    assert report.is_clean
    assert report.slots == 10 + 7 + 7 + 10


def test_a_finished_schedule_owes_nothing_more(clock):
    interval("a few", every=30, max_runs=3)
    interval("until", every=30, starts_at=clock.now, ends_at=clock.now + 2 * MINUTE)
    ScheduledTask.objects.create_one_time("once", OK, clock.now + MINUTE, queue="verify")
    clock.pass_(10 * MINUTE)
    assert not ScheduledTask.objects.exclude(state_reason="finished").exists()
    assert clock.verify().is_clean


def test_max_runs_counts_over_edits_and_missed_slots(clock):
    task = interval(every=30, max_runs=10)
    clock.pass_(2 * MINUTE)
    clock.now += 2 * MINUTE
    ScheduledTask.objects.update(interval_seconds=20)  # slots that nobody planned are missed
    assert runs(task).filter(reason="edited").exists()
    clock.pass_(10 * MINUTE)
    task.refresh_from_db()
    assert (task.state_reason, task.slots_used) == ("finished", 10)
    report = clock.verify()
    assert report.is_clean
    assert report.slots == 10


def test_a_schedule_that_was_inserted_without_an_edit_is_verified_from_its_arming(clock):
    task = ScheduledTask(
        name="job",
        task=OK,
        kind="interval",
        interval_seconds=30,
        queue="verify",
        armed_at=clock.now,
    )
    task.created_at = clock.now
    ScheduledTask.objects.bulk_create([task])
    clock.pass_(5 * MINUTE)
    assert clock.verify().slots == 6
    ScheduledTask.history.all().delete()  # as if by SQL
    report = clock.verify()
    assert report.is_clean
    assert report.slots == 6


# What is wrong is found ---------------------------------------------------------------------------


def test_a_run_that_is_gone_is_missing(clock):
    task = interval(every=30)
    clock.pass_(10 * MINUTE)
    gone = runs(task)[5]
    gone.delete()
    found = only(clock.verify(), "missing")
    assert (found.why, found.first, found.last, found.count) == ("no_run", gone.slot, gone.slot, 1)
    assert (found.scheduled_task, found.name) == (task.pk, "job")
    assert "job: no run for" in found.sentence


def test_runs_that_are_gone_in_a_row_are_one_finding(clock):
    task = interval(every=30)
    clock.pass_(10 * MINUTE)
    gone = list(runs(task)[3:9])
    runs(task).filter(pk__in=[run.pk for run in gone]).delete()
    found = only(clock.verify(), "missing")
    assert (found.first, found.last, found.count) == (gone[0].slot, gone[-1].slot, 6)


def test_a_run_at_no_slot_is_extra_also_where_another_is_missing(clock):
    task = interval(every=30)
    clock.pass_(10 * MINUTE)
    shifted = runs(task)[5]
    runs(task).filter(pk=shifted.pk).update(slot=shifted.slot + 7 * S)
    report = clock.verify()
    assert counts(report) == {"missing": 1, "extra": 1}
    (extra,) = report.listed["extra"]
    assert (extra.why, extra.first, extra.run) == ("no_slot", shifted.slot + 7 * S, shifted.pk)


def test_runs_of_another_zone_are_found(clock):
    """As if the planner had read the clock of another place."""
    half_past = f"{clock.now.minute} * * * *"  # in Kolkata; here half an hour from now
    task = cron(expression=half_past, timezone="Asia/Kolkata")
    clock.pass_(3 * HOUR)
    assert clock.verify().is_clean
    for run in runs(task):
        runs(task).filter(pk=run.pk).update(slot=run.slot + 30 * MINUTE)
    report = clock.verify()
    assert counts(report) == {"missing": 3, "extra": len(report.listed["extra"])}
    assert counts(report)["extra"] >= 2


def test_a_run_of_a_paused_time_is_extra(clock):
    task = interval(every=30)
    clock.pass_(5 * MINUTE)
    task.pause()
    clock.pass_(5 * MINUTE)
    run = runs(task).last()
    late = clock.now - 3 * MINUTE
    slot = run.slot + (late - run.slot) // (30 * S) * (30 * S)
    runs(task).filter(pk=run.pk).update(slot=slot)
    assert counts(clock.verify()) == {"missing": 1, "extra": 1}


def test_a_slot_beyond_max_runs_is_extra(clock):
    task = interval(every=30, max_runs=3)
    clock.pass_(5 * MINUTE)
    last = runs(task).last()
    TaskRun.objects.create(
        scheduled_task=task,
        name="job",
        task=OK,
        slot=last.slot + 30 * S,
        scheduled_for=last.slot + 30 * S,
        start_at=last.start_at,
        planned_at=last.planned_at,
        status=Status.SUCCEEDED,
    )
    assert only(clock.verify(), "extra").first == last.slot + 30 * S


def test_a_row_of_missed_slots_with_a_wrong_count_is_found(clock):
    task = interval(every=1)
    clock.pass_(2 * MINUTE)
    clock.now += HOUR
    clock.pass_(3 * MINUTE)
    span = runs(task).get(status=Status.MISSED)
    runs(task).filter(pk=span.pk).update(slot_count=span.slot_count - 2)
    found = only(clock.verify(), "missing")
    assert (found.why, found.count, found.run) == ("short_span", 2, span.pk)
    runs(task).filter(pk=span.pk).update(slot_count=span.slot_count + 3)
    found = only(clock.verify(), "extra")
    assert (found.why, found.count) == ("long_span", 3)


def test_a_second_row_inside_a_row_of_missed_slots_is_extra(clock):
    task = interval(every=1)
    clock.pass_(2 * MINUTE)
    clock.now += HOUR
    clock.pass_(3 * MINUTE)
    span = runs(task).get(status=Status.MISSED)
    again = TaskRun.objects.get(pk=span.pk)
    again.pk, again.slot, again.last_slot, again.slot_count = None, span.slot + 5 * S, None, 1
    again.pk = TaskRun._meta.pk.get_default()
    again.save(force_insert=True)
    assert only(clock.verify(), "extra").run == again.pk


def test_a_missing_run_of_a_deleted_schedule_is_found(clock):
    task = interval(every=30)
    clock.pass_(5 * MINUTE)
    gone = runs(task)[4]
    gone.delete()
    ScheduledTask.objects.get().delete()
    clock.pass_(5 * MINUTE)
    assert only(clock.verify(), "missing").first == gone.slot


def test_namesakes_that_were_deleted_are_told_apart(clock):
    for _life in range(3):
        interval(every=30)
        clock.pass_(5 * MINUTE)
        ScheduledTask.objects.get().delete()
        clock.pass_(2 * MINUTE)
    report = clock.verify()
    assert report.is_clean
    assert (report.schedules, report.slots) == (3, 30)


# Undecided ----------------------------------------------------------------------------------------


def test_a_run_that_never_started_is_undecided(clock):
    task = interval(every=30)
    clock.pass_(5 * MINUTE)
    waits = runs(task)[3]
    runs(task).filter(pk=waits.pk).update(status=Status.PUBLISHED)
    found = only(clock.verify(), "undecided")
    assert (found.why, found.first, found.run) == ("not_started", waits.slot, waits.pk)


def test_a_run_that_is_running_is_on_its_way_as_long_as_its_worker_answers(clock):
    task = interval(every=30)
    clock.pass_(5 * MINUTE)
    first = runs(task)[0]
    runs(task).filter(pk=first.pk).update(status=Status.RUNNING, lease_until=clock.now + 30 * S)
    report = clock.verify()
    assert report.is_clean
    assert report.running == 1
    runs(task).filter(pk=first.pk).update(lease_until=clock.now - 5 * MINUTE)
    assert only(clock.verify(), "undecided").why == "not_ended"


def test_a_retry_that_does_not_come_is_undecided(clock):
    task = interval(every=30)
    clock.pass_(5 * MINUTE)
    first = runs(task)[0]
    runs(task).filter(pk=first.pk).update(status=Status.RETRYING, start_at=clock.now + MINUTE)
    assert clock.verify().is_clean
    runs(task).filter(pk=first.pk).update(start_at=clock.now - 5 * MINUTE)
    assert only(clock.verify(), "undecided").why == "not_ended"


def test_slots_that_the_scheduler_has_not_come_to_are_undecided(clock):
    interval(every=30)
    clock.pass_(5 * MINUTE)
    clock.now += HOUR
    clock.work()
    found = only(clock.verify(), "undecided")
    assert found.why == "not_planned"
    assert found.count > 100
    clock.pass_(3 * MINUTE)
    assert clock.verify().is_clean


def test_while_everything_is_paused_slots_are_undecided(clock):
    interval(every=30)
    clock.pass_(5 * MINUTE)
    Stop.objects.create(paused_at=clock.now)
    clock.pass_(10 * MINUTE)
    found = only(clock.verify(), "undecided")
    assert found.why == "everything_paused"
    Stop.objects.update(in_force=None, resumed_at=clock.now)
    clock.pass_(3 * MINUTE)
    assert clock.verify().is_clean


def test_slots_of_a_set_aside_schedule_are_undecided_until_it_is_tried_again(clock):
    task = interval(every=30)
    clock.pass_(5 * MINUTE)
    ScheduledTask.objects.all().set_aside("x", "it broke", clock.now)
    clock.pass_(10 * MINUTE)
    assert only(clock.verify(), "undecided").why == "set_aside"
    ScheduledTask.objects.keep(state_reason_at=clock.now - timedelta(days=2))
    clock.pass_(3 * MINUTE)
    assert runs(task).filter(status=Status.MISSED).exists()
    assert clock.verify().is_clean


def test_an_edit_of_a_set_aside_schedule_records_what_it_owed(clock):
    task = interval(every=30)
    clock.pass_(5 * MINUTE)
    clock.now += 10 * MINUTE  # nobody plans
    ScheduledTask.objects.all().set_aside("x", "it broke", clock.now)
    clock.pass_(5 * MINUTE)
    ScheduledTask.objects.update(interval_seconds=40)
    span = runs(task).get(reason="edited")
    assert span.slot_count >= 25
    clock.pass_(5 * MINUTE)
    assert clock.verify().is_clean


def test_a_rule_that_sql_has_spoilt_and_mended_is_followed(clock):
    interval(every=30)
    clock.pass_(5 * MINUTE)
    ScheduledTask.objects.keep(interval_seconds=2**31 - 1)
    clock.pass_(5 * MINUTE)
    assert ScheduledTask.objects.get().state_reason == "set_aside"
    assert clock.verify().is_clean  # no rule, no slot
    two_days = timedelta(days=2)
    ScheduledTask.objects.keep(interval_seconds=30, state_reason_at=clock.now - two_days)
    clock.pass_(5 * MINUTE)
    report = clock.verify()
    assert counts(report) == {}
    assert not report.notes


@pytest.mark.skipif(connection.vendor == "mysql", reason="it keeps no time that cannot be read")
def test_a_row_that_cannot_be_read_does_not_stop_the_others(clock):
    spoilt, sound = interval("spoilt", every=30), interval("sound", every=30)
    clock.pass_(5 * MINUTE)
    garbage = "20000-01-01" if connection.vendor == "postgresql" else "2026-02-31 00:00:00"
    with connection.cursor() as cursor:
        statement = "UPDATE scheduling_scheduledtask SET starts_at = %s WHERE id = %s"
        cursor.execute(statement, [garbage, spoilt.pk])
    clock.pass_(5 * MINUTE)
    report = clock.verify()
    assert ScheduledTask.objects.get(pk=spoilt.pk).state_reason == "set_aside"
    assert {finding.why for finding in report.listed["undecided"]} <= {"set_aside"}
    assert (report.schedules, report.counts["missing"], report.counts["extra"]) == (2, 0, 0)
    assert clock.verify(tasks=[sound]).is_clean


def test_a_rule_that_sql_has_changed_is_said(clock):
    interval(every=30)
    clock.pass_(5 * MINUTE)
    ScheduledTask.objects.keep(interval_seconds=45, next_run_at=None)
    clock.pass_(10 * MINUTE)
    report = clock.verify()
    assert report.counts["missing"] and report.counts["extra"]
    assert any("Changed without a trace" in note and "job" in note for note in report.notes)


def test_time_zone_data_that_changed_is_said_beside_findings(clock):
    task = cron()
    clock.pass_(5 * MINUTE)
    Tick.objects.filter(started_at__lt=clock.now - 3 * MINUTE).update(tzdata="1999z")
    assert not clock.verify().notes
    runs(task)[1].delete()
    assert any("1999z" in note for note in clock.verify().notes)


# What is looked at --------------------------------------------------------------------------------


def test_only_what_is_asked_for_is_looked_at(clock):
    first, second = interval("First", every=30), interval("second", every=30)
    clock.pass_(10 * MINUTE)
    runs(first)[2].delete()
    early = runs(second)[3].slot
    runs(second)[3].delete()
    assert clock.verify().counts["missing"] == 2
    assert clock.verify(tasks=["first"]).counts["missing"] == 1
    assert clock.verify(tasks=[second], since=early + S).is_clean
    assert clock.verify(tasks=[second], until=early - S).is_clean
    with pytest.raises(ValueError, match="named nobody"):
        clock.verify(tasks=["nobody"])
    with pytest.raises(ValueError, match="nothing to verify"):
        clock.verify(since=clock.now)


def test_runs_older_than_their_retention_are_not_asked_for(clock, settings):
    interval(every=600)
    start = clock.now
    clock.pass_(HOUR, every=10 * MINUTE)
    settings.SCHEDULER_RUN_RETENTION_DAYS = 1
    clock.now += timedelta(days=1)
    TaskRun.objects.all().delete()
    ScheduledTask.objects.keep(next_run_at=clock.now + HOUR)
    report = clock.verify(since=start)
    assert report.since > start
    assert "may be deleted" in report.notes[0]


def test_many_findings_are_counted_and_the_first_are_listed(clock):
    task = interval(every=2)
    clock.pass_(10 * MINUTE)
    odd = [run.pk for number, run in enumerate(runs(task)) if number % 2]
    TaskRun.objects.filter(pk__in=odd).delete()
    report = clock.verify()
    assert report.counts["missing"] > LISTED
    assert len(report.listed["missing"]) == LISTED


def test_it_reads_page_after_page(clock, monkeypatch):
    monkeypatch.setattr("dispatcher.verify.accounting.PAGE", 7)
    monkeypatch.setattr("dispatcher.verify.report.VERIFIED_AT_ONCE", 2)
    for number in range(5):
        interval(f"job {number}", every=20)
    clock.pass_(10 * MINUTE)
    report = clock.verify()
    assert report.is_clean
    assert (report.schedules, report.slots) == (5, 5 * 24)


# The command --------------------------------------------------------------------------------------


def test_the_command_says_that_all_is_well(clock, capsys, monkeypatch):
    monkeypatch.setattr("dispatcher.verify.report.database_now", clock)
    interval(every=30)
    clock.pass_(10 * MINUTE)
    call_command("verify_slots")
    said = capsys.readouterr().out
    assert "1 schedules, 16 slots accounted for" in said
    assert said.endswith("Every slot is accounted for.\n")


def test_the_command_tells_what_is_wrong_and_exits_with_1(clock, capsys, monkeypatch):
    monkeypatch.setattr("dispatcher.verify.report.database_now", clock)
    task = interval(every=30)
    clock.pass_(10 * MINUTE)
    runs(task)[3].delete()
    with pytest.raises(SystemExit) as exit_:
        call_command("verify_slots")
    assert exit_.value.code == 1
    said = capsys.readouterr().out
    assert "1 missing:\n- job: no run for " in said
    assert "Every slot" not in said

    with pytest.raises(SystemExit):
        call_command("verify_slots", "--json", "--task", "JOB")
    told = json.loads(capsys.readouterr().out)
    assert (told["accounted"], told["missing"]["count"], told["extra"]["count"]) == (False, 1, 0)
    (listed,) = told["missing"]["listed"]
    assert (listed["name"], listed["why"], listed["count"]) == ("job", "no_run", 1)
    assert datetime.fromisoformat(listed["first"]).tzinfo is not None


@pytest.mark.parametrize(
    "arguments",
    [
        ["--task", "nobody"],
        ["--since", "2026-01-01"],
        ["--since", "yesterday"],
        ["--since", "2999-01-01T00:00:00Z"],
        ["--until", "2000-01-01T00:00:00Z"],
    ],
)
def test_the_command_refuses_bad_arguments_with_2(arguments, monkeypatch):
    monkeypatch.setattr("django.core.management.base.connections.close_all", lambda: None)
    with pytest.raises(SystemExit) as exit_:
        Command().run_from_argv(["manage.py", "verify_slots", *arguments])
    assert exit_.value.code == 2
