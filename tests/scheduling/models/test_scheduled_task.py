"""Bad input names its field and says what to do; good input becomes a row that knows its slots."""

import threading
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction

from scheduling.database import database_now
from scheduling.models import ScheduledTask

pytestmark = pytest.mark.django_db

ADD = "tests.integration.tasks_app.tasks.add"
OK = "tests.integration.tasks_app.tasks.ok"

LATER = datetime(2099, 1, 1, 12, tzinfo=UTC)
PAST = datetime(2020, 1, 1, tzinfo=UTC)


def cron(expression="*/5 * * * *", task=OK, name="job", **options):
    return ScheduledTask.objects.create_cron(name, task, expression, **options)


def interval(every=60, task=OK, name="job", **options):
    return ScheduledTask.objects.create_interval(name, task, every, **options)


def one_time(run_at=LATER, task=OK, name="job", **options):
    return ScheduledTask.objects.create_one_time(name, task, run_at, **options)


BAD = {
    "minute out of range": (lambda: cron("61 * * * *"), "cron_expression"),
    "unknown task and bad cron": (lambda: cron("61 * * * *", task="no.such"), "cron_expression"),
    "empty cron": (lambda: cron(""), "cron_expression"),
    "cron that is None": (lambda: cron(None), "cron_expression"),
    "four fields": (lambda: cron("* * * *"), "cron_expression"),
    "a year field": (lambda: cron("0 0 0 1 1 * 2030"), "cron_expression"),
    "a date that never comes": (lambda: cron("0 0 31 2 *"), "cron_expression"),
    "a reversed range": (lambda: cron("0 22-2 * * *"), "cron_expression"),
    "@reboot": (lambda: cron("@reboot"), "cron_expression"),
    "cron of 300 characters": (lambda: cron("0," * 150 + "0 * * * *"), "cron_expression"),
    "unknown zone": (lambda: cron(timezone="Mars/Olympus"), "timezone"),
    "localtime as zone": (lambda: cron(timezone="localtime"), "timezone"),
    "unknown zone of an interval": (lambda: interval(timezone="nowhere"), "timezone"),
    "interval of 0": (lambda: interval(0), "interval_seconds"),
    "negative interval": (lambda: interval(-5), "interval_seconds"),
    "interval of half a second": (
        lambda: interval(timedelta(milliseconds=500)),
        "interval_seconds",
    ),
    "interval of 11 years": (lambda: interval(11 * 366 * 86400), "interval_seconds"),
    "interval as text": (lambda: interval("soon"), "interval_seconds"),
    "interval that is not a number": (lambda: interval(float("nan")), "interval_seconds"),
    "interval that is True": (lambda: interval(True), "interval_seconds"),
    "time in the past": (lambda: one_time(PAST), "run_at"),
    "naive time": (lambda: one_time(datetime(2099, 1, 1)), "run_at"),
    "time that is None": (lambda: one_time(None), "run_at"),
    "time as garbage text": (lambda: one_time("tomorrow"), "run_at"),
    "empty name": (lambda: cron(name=""), "name"),
    "blank name": (lambda: cron(name="   "), "name"),
    "name of 201 characters": (lambda: cron(name="x" * 201), "name"),
    "name with NUL": (lambda: cron(name="a\x00b"), "name"),
    "empty task": (lambda: cron(task=""), "task"),
    "a built-in of Celery": (lambda: cron(task="celery.backend_cleanup"), "task"),
    "the dispatcher's own task": (lambda: cron(task="dispatcher.tick"), "task"),
    "args that do not fit": (lambda: cron(task=ADD, args=[1]), "args"),
    "kwargs that do not fit": (lambda: cron(task=ADD, kwargs={"c": 1}), "kwargs"),
    "args that are an object": (lambda: cron(args={"a": 1}), "args"),
    "kwargs that are a list": (lambda: cron(kwargs=[1]), "kwargs"),
    "args that are not JSON": (lambda: cron(args=[object()]), "args"),
    "args with NaN": (lambda: cron(args=[float("nan")]), "args"),
    "kwargs with NUL": (lambda: cron(kwargs={"x": "a\x00b"}), "kwargs"),
    "kwargs with a lone surrogate": (lambda: cron(kwargs={"x": "\ud800"}), "kwargs"),
    "it ends before it starts": (
        lambda: cron(starts_at=LATER, ends_at=LATER - timedelta(days=1)),
        "ends_at",
    ),
    "it has ended": (lambda: cron(ends_at=PAST), "ends_at"),
    "naive start": (lambda: cron(starts_at=datetime(2099, 1, 1)), "starts_at"),
    "priority 10": (lambda: cron(priority=10), "priority"),
    "negative priority": (lambda: cron(priority=-1), "priority"),
    "max_runs 0": (lambda: cron(max_runs=0), "max_runs"),
    "unknown misfire policy": (lambda: cron(misfire_policy="retry"), "misfire_policy"),
    "unknown overlap policy": (lambda: cron(overlap_policy="maybe"), "overlap_policy"),
    "unknown on_lost": (lambda: cron(on_lost="shrug"), "on_lost"),
    "negative jitter": (lambda: cron(jitter_seconds=-1), "jitter_seconds"),
    "time limit 0": (lambda: cron(time_limit=0), "time_limit"),
    "soft limit above the hard one": (
        lambda: cron(time_limit=10, soft_time_limit=20),
        "soft_time_limit",
    ),
    "retries as text": (lambda: cron(max_retries="many"), "max_retries"),
    "the dispatcher's queue": (lambda: cron(queue="dispatcher"), "queue"),
    "expiry of 0 s": (lambda: cron(expires_seconds=0), "expires_seconds"),
    "cron beside an interval": (lambda: interval(cron_expression="* * * * *"), "cron_expression"),
    "interval beside a cron": (lambda: cron(interval_seconds=5), "interval_seconds"),
}


@pytest.mark.parametrize("make, field", BAD.values(), ids=BAD.keys())
def test_bad_input_names_its_field_only_and_stores_nothing(make, field):
    with pytest.raises(ValidationError) as caught:
        make()
    assert list(caught.value.message_dict) == [field]
    assert all(0 < len(m) <= 700 for m in caught.value.message_dict[field])
    assert not ScheduledTask.objects.exists()


def test_an_unknown_task_is_accepted_because_another_process_may_know_it():
    assert cron(task="elsewhere.tasks.report").task == "elsewhere.tasks.report"


@pytest.mark.parametrize("second", ["Report", "REPORT", "report"])
def test_a_name_is_unique_whatever_its_case(second):
    cron(name="Report")
    with pytest.raises(ValidationError) as caught:
        cron(name=second)
    assert list(caught.value.message_dict) == ["name"]


def test_the_database_itself_refuses_a_second_name_in_another_case():
    cron(name="Report")
    with pytest.raises(IntegrityError), transaction.atomic():
        ScheduledTask.objects.bulk_create(
            [ScheduledTask(name="rEPORT", task=OK, kind="cron", cron_expression="* * * * *")]
        )


BROKEN_ROWS = {
    "cron without expression": {"kind": "cron"},
    "one time without time": {"kind": "one_time"},
    "interval without seconds": {"kind": "interval"},
    "two kinds at once": {"kind": "cron", "cron_expression": "* * * * *", "interval_seconds": 5},
    "unknown kind": {"kind": "sometimes"},
    "priority 12": {"kind": "cron", "cron_expression": "* * * * *", "priority": 12},
    "end before start": {
        "kind": "cron",
        "cron_expression": "* * * * *",
        "starts_at": LATER,
        "ends_at": PAST,
    },
}


@pytest.mark.parametrize("columns", BROKEN_ROWS.values(), ids=BROKEN_ROWS.keys())
def test_the_database_refuses_a_row_that_no_validation_saw(columns):
    with pytest.raises(IntegrityError), transaction.atomic():
        ScheduledTask.objects.bulk_create([ScheduledTask(name="raw", task=OK, **columns)])


def test_a_row_inserted_by_plain_sql_gets_every_default():
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO scheduling_scheduledtask (name, task, kind, cron_expression)"
            " VALUES ('by hand', 'x.y', 'cron', '* * * * *')"
        )
    row = ScheduledTask.objects.get()
    assert (row.args, row.kwargs, row.skip_slots, row.timezone) == ([], {}, [], "UTC")
    assert (row.enabled, row.revision, row.misfire_policy) == (True, 1, "run_latest")
    assert abs(row.armed_at - database_now()) < timedelta(minutes=5)


def test_a_task_object_may_stand_for_its_name():
    from tests.integration.tasks_app.tasks import add

    assert cron(task=add, args=(1, 2)).task == ADD


def test_upcoming_lists_slots_after_now_in_utc():
    task = cron("0 9 * * *", timezone="Asia/Shanghai")
    now = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
    assert task.upcoming(2, now=now) == [
        datetime(2026, 3, 1, 1, tzinfo=UTC),
        datetime(2026, 3, 2, 1, tzinfo=UTC),
    ]


def test_upcoming_ends_with_the_schedule():
    task = interval(10, max_runs=3)
    assert len(task.upcoming(10)) == 3
    assert one_time(name="other").upcoming(5) == [LATER]


def test_a_paused_schedule_has_nothing_upcoming():
    task = cron()
    assert task.pause(by="ada") is True
    assert task.upcoming(3) == []
    assert (task.enabled, task.state_reason, task.state_reason_by) == (False, "paused", "ada")
    assert task.pause() is False


def test_resuming_starts_from_now_and_owes_nothing():
    task = interval(10)
    task.pause()
    before = database_now()
    assert task.resume(by="ada") is True
    assert task.armed_at >= before
    assert task.state_reason == ""
    assert task.upcoming(1)[0] > before
    assert task.resume() is False


def test_a_starts_at_is_itself_a_slot():
    start = LATER.replace(second=7)
    assert interval(60, starts_at=start).upcoming(2) == [start, start + timedelta(seconds=60)]


@pytest.mark.parametrize("microsecond", [1, 500_000, 999_999])
@pytest.mark.parametrize("every", [1, 60, 86400])
def test_a_start_within_a_second_has_its_first_slot_at_the_end_of_it(microsecond, every):
    start = LATER.replace(second=7)
    task = interval(every, starts_at=start + timedelta(microseconds=microsecond))
    first = start + timedelta(seconds=1)
    assert task.upcoming(2) == [first, first + timedelta(seconds=every)]
    assert task.next_run_at == first


def test_a_start_within_a_second_is_meant_in_utc_across_a_change_of_the_clock():
    start = datetime(2027, 3, 28, 1, 59, 59, 500_000, tzinfo=ZoneInfo("Europe/Berlin"))
    task = interval(60, starts_at=start)
    assert task.upcoming(1) == [datetime(2027, 3, 28, 1, 0, tzinfo=UTC)]


def test_an_ends_at_is_itself_a_slot():
    task = interval(60, starts_at=LATER, ends_at=LATER + timedelta(seconds=60))
    assert task.upcoming(5) == [LATER, LATER + timedelta(seconds=60)]


def test_an_interval_runs_at_whole_seconds():
    assert {slot.microsecond for slot in interval(5).upcoming(5)} == {0}


def test_saving_a_stale_copy_does_not_undo_what_the_scheduler_keeps():
    task = interval(3600)
    stale = ScheduledTask.objects.get(pk=task.pk)
    moved = LATER
    ScheduledTask.objects.keep(next_run_at=moved, slots_used=7, enabled=False)
    stale.description = "a remark"
    stale.save()
    stored = ScheduledTask.objects.get(pk=task.pk)
    assert stored.description == "a remark"
    assert (stored.next_run_at, stored.slots_used, stored.enabled) == (moved, 7, False)


def test_editing_a_remark_neither_raises_the_revision_nor_rearms():
    task = interval(3600)
    armed, revision = task.armed_at, task.revision
    task.description, task.owner, task.group = "why", "ada", "billing"
    task.save()
    assert (task.armed_at, task.revision) == (armed, revision)


@pytest.mark.parametrize(
    "change", [{"kwargs": {"x": 1}}, {"interval_seconds": 7200}, {"queue": "other"}]
)
def test_editing_what_decides_or_travels_raises_the_revision(change):
    task = interval(3600)
    for name, value in change.items():
        setattr(task, name, value)
    task.save()
    assert task.revision == 2


def test_a_queryset_update_of_a_rule_is_an_edit_of_each_row():
    first, second = interval(3600, name="a"), interval(3600, name="b")
    assert ScheduledTask.objects.update(interval_seconds=60) == 2
    for task in (first, second):
        task.refresh_from_db()
        assert task.revision == 2
        assert task.next_run_at - database_now() <= timedelta(seconds=151)


def test_a_bulk_update_of_a_rule_is_an_edit_of_each_row():
    task = interval(3600)
    task.interval_seconds = 60
    assert ScheduledTask.objects.bulk_update([task], ["interval_seconds"]) == 1
    task.refresh_from_db()
    assert (task.interval_seconds, task.revision) == (60, 2)


def test_garbage_by_update_sets_the_row_aside_and_an_edit_brings_it_back():
    task = cron()
    ScheduledTask.objects.filter(pk=task.pk).update(cron_expression="rubbish")
    task = ScheduledTask.objects.get(pk=task.pk)
    assert task.state_reason == "set_aside"
    assert task.state_reason_params["message"]
    task.cron_expression = "*/5 * * * *"
    task.save()
    assert (task.state_reason, task.enabled) == ("", True)
    assert task.next_run_at is not None


def test_a_new_time_arms_a_finished_schedule_again():
    task = one_time()
    ScheduledTask.objects.keep(enabled=False, state_reason="finished", next_run_at=None)
    task = ScheduledTask.objects.get(pk=task.pk)
    task.run_at = LATER + timedelta(days=1)
    task.save()
    assert (task.enabled, task.state_reason) == (True, "")
    assert task.upcoming(1) == [LATER + timedelta(days=1)]


def test_to_resume_a_schedule_that_is_over_is_refused_with_the_reason():
    task = one_time()
    task.pause()
    ScheduledTask.objects.keep(run_at=PAST)
    with pytest.raises(ValidationError) as caught:
        ScheduledTask.objects.get(pk=task.pk).resume()
    assert list(caught.value.message_dict) == ["run_at"]


def test_a_past_time_may_be_saved_while_disabled():
    assert one_time(PAST, enabled=False).enabled is False


@pytest.mark.django_db(transaction=True)
def test_of_two_people_who_pause_at_once_one_is_told_that_it_did():
    task = interval(3600)
    barrier, answers = threading.Barrier(2), []

    def pause():
        mine = ScheduledTask.objects.get(pk=task.pk)
        barrier.wait()
        answers.append(mine.pause())
        connection.close()

    threads = [threading.Thread(target=pause) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False, True]


@pytest.mark.parametrize("verb", ["pause", "resume", "skip_next", "unskip", "save", "delete"])
def test_a_template_cannot_change_a_schedule(verb):
    assert getattr(ScheduledTask, verb).alters_data is True


@pytest.mark.parametrize("verb", ["update", "bulk_update", "bulk_create", "delete"])
def test_a_template_cannot_change_schedules(verb):
    assert getattr(ScheduledTask.objects.all(), verb).alters_data is True
    assert hasattr(ScheduledTask.objects, verb) == (verb != "delete")  # of all, never by accident
