"""Garbage by raw SQL in a schedule: it is set aside with its reason, and harms nobody else."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import Error, connection, transaction
from django.urls import reverse

from dispatcher import run_now
from dispatcher.models import TaskRun, Tick
from dispatcher.plan import planner
from dispatcher.tick import tick
from dispatcher.upkeep.rescue import lose
from dispatcher.watch.doctor import examine
from scheduling.database import database_now
from scheduling.models import ScheduledTask

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)
DAY = timedelta(days=1)

TOO_LONG = "[" + "9" * 5000 + "]"  # valid JSON; Python refuses so long a number
CRON = {"kind": "cron", "interval_seconds": None}

#: What is written, and the code of the reason. Each database refuses some of it.
GARBAGE = {
    "cron text": ({**CRON, "cron_expression": "rubbish"}, "too_few_fields"),
    "cron that never comes": ({**CRON, "cron_expression": "0 0 30 2 *"}, "never_comes"),
    "zone": (
        {**CRON, "cron_expression": "* * * * *", "timezone": "Mars/Olympus"},
        "unknown_timezone",
    ),
    "kind": ({"kind": "weekly"}, "unknown_kind"),
    "misfire policy": ({"misfire_policy": "sometimes"}, "unknown_choice"),
    "overlap policy": ({"overlap_policy": ""}, "unknown_choice"),
    "on_lost": ({"on_lost": "panic"}, "unknown_choice"),
    "args that are an object": ({"args": '{"a": 1}'}, "wrong_shape"),
    "args that are null": ({"args": "null"}, "wrong_shape"),
    "kwargs that are a list": ({"kwargs": "[1]"}, "wrong_shape"),
    "kwargs that are text": ({"kwargs": '"text"'}, "wrong_shape"),
    "skipped slots that are a number": ({"skip_slots": "3"}, "wrong_shape"),
    "args that are no JSON": ({"args": "[1,"}, "unreadable"),
    "args that cannot be read": ({"args": TOO_LONG}, "unreadable"),
    "kwargs that cannot be read": ({"kwargs": '{"a": ' + TOO_LONG + "}"}, "unreadable"),
    "skipped slots that cannot be read": ({"skip_slots": TOO_LONG}, "unreadable"),
    "an interval of 68 years": ({"interval_seconds": 2**31 - 1}, "interval_too_long"),
    "an interval of 0": ({"interval_seconds": 0}, "interval_too_short"),
    "no interval": ({"interval_seconds": None}, "not_a_duration"),
    "an interval that is text": ({"interval_seconds": "often"}, "not_a_duration"),
    "a grace that is text": ({"misfire_grace_seconds": "long"}, "not_a_number"),
    "no task": ({"task": ""}, "no_task"),
    "an infinite start": ({"starts_at": "infinity"}, "unreadable"),
    "a start before all times": ({"starts_at": "-infinity"}, "unreadable"),
    "a start in the year 20000": ({"starts_at": "20000-01-01 00:00:00"}, "unreadable"),
    "a start on no day": ({"starts_at": "2026-02-31 00:00:00"}, "unreadable"),
    "a start that is zero": ({"starts_at": "0000-00-00 00:00:00"}, "unreadable"),
    "a start that is text": ({"starts_at": "some day"}, "unreadable"),
    "an end that is text": ({"ends_at": "never"}, "unreadable"),
    "armed at no time": ({"armed_at": "infinity"}, "unreadable"),
}
#: Garbage that no rule reads: the row goes on.
HARMLESS = {
    "a zone that no rule asks for": {"timezone": "Mars/Olympus"},
    "an end in the last year": {"ends_at": "9999-12-31 23:59:59"},
    "a jitter of 68 years": {"jitter_seconds": 2**31 - 1},
    "an expiry of 68 years": {"expires_seconds": 2**31 - 1},
    "a grace of 68 years": {"misfire_grace_seconds": 2**31 - 1},
    "a state that nobody knows": {"state_reason": "on holiday"},
    "a reason that is a list": {"state_reason_params": "[1]"},
    "a next slot that is none of the rule's": {"next_run_at": "2026-01-01 00:00:07"},
    "no next slot": {"next_run_at": None},
    "a next slot in the last year": {"next_run_at": "9999-12-31 23:59:59.999999"},
    "a next slot at no time": {"next_run_at": "infinity"},
    "a next slot before all times": {"next_run_at": "-infinity"},
    "a next slot that is text": {"next_run_at": "soon"},
}


@pytest.fixture
def now():
    return database_now().replace(microsecond=0)


def row(now, name, **columns):
    columns = {"armed_at": now - S, "created_at": now, "next_run_at": now} | columns
    task = ScheduledTask(name=name, task=OK, kind="interval", interval_seconds=60, **columns)
    return ScheduledTask.objects.bulk_create([task])[0]


def write(task, columns):
    """Raw SQL, as an operator writes it; skips what this database refuses."""
    placed = ", ".join(f"{connection.ops.quote_name(name)} = %s" for name in columns)
    statement = f"UPDATE scheduling_scheduledtask SET {placed} WHERE id = %s"
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "mysql":  # or it would refuse the zero date
                cursor.execute("SET @strict = @@sql_mode, SESSION sql_mode = ''")
            try:
                cursor.execute(statement, [*columns.values(), task.pk])
            finally:
                if connection.vendor == "mysql":
                    cursor.execute("SET SESSION sql_mode = @strict")
    except Error as error:
        pytest.skip(f"{connection.vendor} refuses it: {type(error).__name__}")


def plan(now):
    result = planner.Planned()
    for ids in planner.due_batches(now):
        result.add(planner.plan_batch(ids, now))
    return result


def state(task):
    return ScheduledTask.objects.filter(pk=task.pk).values_list("state_reason", flat=True)[0]


def reason(task):
    return ScheduledTask.objects.values_list("state_reason_params", flat=True).get(pk=task.pk)


@pytest.mark.parametrize("case", GARBAGE)
def test_garbage_is_set_aside_with_its_reason_and_its_neighbours_go_on(now, case):
    reader = (
        connection.Database.__name__ if connection.vendor == "postgresql" else connection.vendor
    )
    if case in ELSEWHERE.get(reader, ()):
        pytest.skip(f"{reader} makes something valid of it")
    columns, code = GARBAGE[case]
    before, bad, after = row(now, "before"), row(now, "bad"), row(now, "after")
    write(bad, columns)
    write_next_run_at_if_untrusted(bad, case)
    result = plan(now)
    assert (state(bad), result.set_aside) == ("set_aside", 1)
    assert reason(bad)["code"] in (code, *ALSO.get(case, ()))
    assert reason(bad)["message"]
    planned = TaskRun.objects.filter(status="planned")
    assert set(planned.values_list("scheduled_task", flat=True)) == {before.pk, after.pk}
    assert plan(now + 60 * S).set_aside == 0  # not every minute


#: What a database makes of some garbage, instead of keeping it.
ALSO = {
    "a start in the year 20000": ("moment_out_of_range",),
    "a start on no day": ("moment_out_of_range",),
    "an infinite start": ("moment_out_of_range",),
    "a start before all times": ("moment_out_of_range",),
    "a start that is text": ("moment_out_of_range",),
    "an interval that is text": ("interval_too_short",),
}


#: What a database, or its driver, turns into a value that makes sense.
ELSEWHERE = {
    "mysql": ("a grace that is text",),
    # the first or the last moment of the calendar
    "psycopg2": ("an infinite start", "a start before all times", "armed at no time"),
    # no time at all
    "sqlite": tuple(case for case in GARBAGE if case.startswith(("an end", "a start", "an inf"))),
}


def write_next_run_at_if_untrusted(task, case):
    if case == "armed at no time":
        write(task, {"next_run_at": None})


@pytest.mark.parametrize("case", HARMLESS)
def test_garbage_that_decides_nothing_stops_nothing(sent_messages, now, case):
    task = row(now, "job")
    write(task, HARMLESS[case])
    done = tick(now)
    assert (done.set_aside, done.planned) == (0, 2)
    assert state(task) == ""
    assert set(task.runs.values_list("slot", flat=True)) == {now, now + 60 * S}


@pytest.mark.parametrize(
    "columns",
    [
        {"starts_at": "9999-12-31 23:59:59"},
        {"kind": "one_time", "interval_seconds": None, "run_at": "9999-12-31 23:59:59"},
    ],
    ids=["starts", "runs"],
)
def test_a_time_in_the_last_year_is_waited_for(admin_client, capsys, now, columns):
    task, other = row(now, "job"), row(now, "other")
    write(task, columns | {"timezone": "Asia/Tokyo"})  # there the year is over already
    plan(now)
    assert set(TaskRun.objects.values_list("scheduled_task", flat=True)) == {other.pk}
    assert state(task) == ""
    page = admin_client.get(reverse("admin:scheduling_scheduledtask_changelist"))
    assert "9999-12-31 23:59:59 UTC" in page.content.decode()
    call_command("upcoming", "--name", "job")
    assert "9999-12-31T23:59:59" in capsys.readouterr().out


def test_what_was_set_aside_is_tried_daily_and_comes_back_when_sql_has_repaired_it(now):
    bad = row(now, "bad")
    write(bad, {"args": TOO_LONG})
    assert plan(now).set_aside == 1
    assert plan(now + DAY - S).set_aside == 0
    assert plan(now + DAY).set_aside == 1  # and the day begins anew
    write(bad, {"args": "[7]"})
    assert plan(now + 2 * DAY - S).planned == 0
    result = plan(now + 2 * DAY)
    assert (result.planned, state(bad), reason(bad)) == (2, "", {})
    runs = TaskRun.objects.order_by("slot")
    assert [run.slot for run in runs.filter(status="planned")] == [
        now + 2 * DAY + k * 60 * S for k in range(2)
    ]


@pytest.mark.parametrize(
    ("garbage", "cure"),
    [
        ({"args": TOO_LONG}, {"args": [7]}),
        ({"kwargs": "[]"}, {"kwargs": {}}),
        ({"misfire_policy": "sometimes"}, {"misfire_policy": "run_all"}),
        ({"overlap_policy": "sometimes"}, {"overlap_policy": "skip"}),
        ({"interval_seconds": 2**31 - 1}, {"interval_seconds": 30}),
        (
            {**CRON, "cron_expression": "rubbish"},
            {"kind": "interval", "interval_seconds": 30, "cron_expression": ""},
        ),
    ],
    ids=lambda columns: " ".join(columns),
)
def test_an_edit_brings_it_back_at_once(now, garbage, cure):
    bad = row(now, "bad")
    write(bad, garbage)
    plan(now)
    assert state(bad) == "set_aside"
    task = ScheduledTask.objects.get(pk=bad.pk)
    for name, value in cure.items():
        setattr(task, name, value)
    task.save()
    assert state(bad) == ""
    assert task.runs.filter(status="planned").count() >= 1


def test_a_remark_brings_back_what_sql_has_repaired(now):
    bad = row(now, "bad")
    write(bad, {"args": "3"})
    plan(now)
    write(bad, {"args": "[3]"})
    task = ScheduledTask.objects.get(pk=bad.pk)
    task.description = "repaired"
    task.save()
    assert state(bad) == ""


def test_an_edit_that_leaves_the_garbage_is_set_aside_again_at_once(now):
    bad = row(now, "bad")
    write(bad, {"overlap_policy": "sometimes"})
    plan(now)
    ScheduledTask.objects.filter(pk=bad.pk).update(kwargs={"x": 1})
    assert state(bad) == "set_aside"


def test_many_spoilt_rows_do_not_keep_the_others(now):
    rows = [row(now, f"job {number:02}") for number in range(20)]
    for task in rows[::2]:
        write(task, {"args": TOO_LONG})
    assert plan(now).set_aside == 10
    planned = set(TaskRun.objects.values_list("scheduled_task", flat=True))
    assert planned == {task.pk for task in rows[1::2]}


def test_what_is_owed_is_not_renewed_with_arguments_that_cannot_be_read(now):
    task = row(now, "job")
    plan(now)
    TaskRun.objects.update(scheduled_for=now - 9 * S)
    write(task, {"args": TOO_LONG})
    ScheduledTask.objects.filter(pk=task.pk).update(priority=3)
    assert state(task) == "set_aside"
    assert set(task.runs.values_list("status", "reason")) == {("missed", "edited")}


# Whoever else reads it ---------------------------------------------------------------------------

UNREADABLE = {
    "args": {"args": TOO_LONG},
    "a time": {"starts_at": "infinity"},
    "a time of SQLite": {"starts_at": "some day"},
    "a next slot": {"next_run_at": "infinity"},
    "its state": {"state_reason_params": TOO_LONG},
}


@pytest.fixture(params=UNREADABLE)
def spoilt(request, now):
    """One row that cannot be read, between two that can."""
    row(now, "a good one")
    bad = row(now, "bad")
    row(now, "good too")
    write(bad, UNREADABLE[request.param])
    return bad


@pytest.mark.sampled(4)
@pytest.mark.parametrize("noticed", [False, True], ids=["before a tick", "after a tick"])
def test_the_admin_shows_it_and_the_others(admin_client, now, spoilt, noticed):
    if noticed:
        plan(now)
    page = admin_client.get(reverse("admin:scheduling_scheduledtask_changelist"))
    text = page.content.decode()
    assert page.status_code == 200
    assert all(name in text for name in ("a good one", "bad", "good too"))
    change = reverse("admin:scheduling_scheduledtask_change", args=[spoilt.pk])
    assert admin_client.get(change).status_code == 200
    runs = reverse("admin:dispatcher_taskrun_changelist")
    assert admin_client.get(runs).status_code == 200


def test_the_list_of_what_is_set_aside_can_be_filtered(admin_client, now):
    row(now, "good")
    bad = row(now, "bad")
    write(bad, {"args": TOO_LONG})
    plan(now)
    page = admin_client.get(
        reverse("admin:scheduling_scheduledtask_changelist"), {"state": "set_aside"}
    )
    assert [task.pk for task in page.context["cl"].result_list] == [bad.pk]


def test_upcoming_lists_the_others(capsys, now, spoilt):
    call_command("upcoming")
    text = capsys.readouterr().out
    assert "a good one" in text
    assert "good too" in text


@pytest.mark.sampled(4)
def test_doctor_names_it_and_goes_on(sent_messages, now, spoilt):
    assert examine(now)  # nothing runs here: there is something to say, and it is said
    ScheduledTask.objects.filter(pk=spoilt.pk).set_aside("x", "because of y", now)
    sentences = [finding.sentence for finding in examine(now) if finding.code == "set_aside"]
    assert len(sentences) == 1
    assert "bad" in sentences[0]


def test_it_can_be_paused_and_deleted_and_does_not_run_with_what_stands_for_its_arguments(
    sent_messages, now, spoilt
):
    task = ScheduledTask.objects.get(pk=spoilt.pk)
    if task.unreadable:  # SQLite's driver reads a text that is no time as none
        with pytest.raises(ValidationError, match="cannot be read"):
            run_now(task)
    assert task.pause()
    assert ScheduledTask.objects.get(pk=spoilt.pk).enabled is False
    assert ScheduledTask.objects.get(pk=spoilt.pk).delete()[0] == 1


def test_its_run_can_be_lost_and_read(admin_client, now, spoilt):
    """What hangs on the definition, while a run of it is under way."""
    for seconds in range(20, 130, 20):
        Tick.objects.create(kind="rescue", started_at=now - seconds * S)
    from uuid import uuid4

    gone = [
        TaskRun.objects.create(
            scheduled_task=task,
            name=task.name,
            task=OK,
            scheduled_for=now - 60 * S,
            start_at=now - 60 * S,
            planned_at=now - 90 * S,
            status="running",
            attempt=1,
            token=uuid4(),
            lease_until=now - S,
        )
        for task in ScheduledTask.objects.order_by("pk")
    ]
    assert lose(now) == 3
    for run in gone:
        run.refresh_from_db()
        assert run.status == "lost"
        page = reverse("admin:dispatcher_taskrun_change", args=[run.pk])
        assert admin_client.get(page).status_code == 200
