"""An owner is told, once, that a scheduled task started failing, and once that it works again."""

import logging
import threading
import time
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dispatcher.models import Failing, RunAttempt, TaskRun, Tick
from dispatcher.tick import rescue_pass
from dispatcher.upkeep import notices
from dispatcher.upkeep.prune import prune
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.mail_server import MailServer

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)
ADA, EVE = "ada@example.com", "eve@example.com"


def job(name="job", owner=ADA, **options):
    return ScheduledTask.objects.create_interval(name, OK, 86_400, owner=owner, **options)


def ends(task, *statuses, **columns):
    """Runs of the task that ended so, one after the other; returns the last."""
    for status in statuses:
        now = database_now()
        defaults = {
            "scheduled_task": task,
            "name": task.name,
            "task": task.task,
            "trigger": "manual",
            "status": status,
            "attempt": 1,
            "scheduled_for": now,
            "start_at": now,
            "planned_at": now,
            "started_at": now,
            "finished_at": now,
        }
        if status == "failed":
            defaults |= {"reason": "exception", "exception": "ValueError: no such file"}
        if status == "lost":
            defaults |= {"reason": "lease_ran_out", "reason_params": {"worker": "w@here"}}
        run = TaskRun.objects.create(**defaults | columns)
    return run


def subjects():
    return [letter.subject for letter in mail.outbox]


# What is true -------------------------------------------------------------------------------------


def test_a_failure_and_a_recovery_are_told_once_each(settings):
    settings.SITE_URL = "https://jobs.example.com/"
    task = job("Nightly report")
    run = ends(task, "succeeded", "failed")
    for _ in range(3):
        rescue_pass()
    assert subjects() == ["“Nightly report” started failing"]
    [letter] = mail.outbox
    assert letter.to == [ADA]
    assert "The task raised an exception." in letter.body
    assert "ValueError: no such file" in letter.body
    assert f"https://jobs.example.com/admin/dispatcher/taskrun/{run.pk}/change/" in letter.body
    failing = Failing.objects.get()
    assert (failing.scheduled_task_id, failing.run_id, failing.tell_at) == (task.pk, run.pk, None)
    assert failing.since == run.finished_at

    ends(task, "lost", "failed")
    rescue_pass()
    assert len(mail.outbox) == 1
    ends(task, "succeeded")
    for _ in range(3):
        rescue_pass()
    assert subjects()[1:] == ["“Nightly report” works again"]
    assert "3 runs failed or were lost." in mail.outbox[1].body
    assert f"/admin/scheduling/scheduledtask/{task.pk}/change/" in mail.outbox[1].body
    assert not Failing.objects.exists()

    ends(task, "failed")
    rescue_pass()
    assert subjects()[2:] == ["“Nightly report” started failing"]


@pytest.mark.parametrize(
    "statuses",
    [
        ("succeeded",),
        ("failed", "succeeded"),
        ("skipped",),
        ("cancelled",),
        ("missed",),
    ],
)
def test_what_ended_well_or_never_ran_is_no_failure(statuses):
    ends(job(), *statuses)
    rescue_pass()
    assert (Failing.objects.count(), mail.outbox) == (0, [])


def test_a_run_that_never_ran_neither_starts_nor_ends_a_series_of_failures():
    task = job()
    ends(task, "lost", "skipped", "missed")
    rescue_pass()
    ends(task, "cancelled")
    rescue_pass()
    assert subjects() == ["“job” started failing"]
    assert "Its worker w@here stopped answering." in mail.outbox[0].body


def test_the_first_failure_of_the_series_says_since_when():
    task = job()
    now = database_now()
    ends(task, "failed", finished_at=now - 50 * S)
    ends(task, "succeeded", finished_at=now - 40 * S)
    first = ends(task, "failed", finished_at=now - 30 * S)
    ends(task, "lost", finished_at=now - 20 * S)
    ScheduledTask.objects.filter(pk=task.pk).keep(armed_at=now - 60 * S)
    rescue_pass()
    assert Failing.objects.get().since == first.finished_at


def test_what_failed_before_an_edit_of_the_rule_counts_no_more():
    task = job()
    ends(task, "failed", finished_at=database_now() - S)
    ScheduledTask.objects.filter(pk=task.pk).keep(armed_at=database_now())
    rescue_pass()
    assert not Failing.objects.exists()


def test_a_failure_is_seen_after_all_dispatchers_were_away():
    now = database_now()
    hours = timedelta(hours=3)
    Tick.objects.create(kind="rescue", started_at=now - hours, finished_at=now - hours)
    ends(job("in it"), "failed", finished_at=now - hours + timedelta(minutes=5))
    ends(job("long before"), "failed", finished_at=now - 2 * hours)
    ScheduledTask.objects.keep(armed_at=now - 3 * hours)
    rescue_pass(now)
    assert [row.scheduled_task.name for row in Failing.objects.all()] == ["in it"]
    assert subjects() == ["“in it” started failing"]  # noticed just now, so not too late


def test_a_deleted_task_is_failing_no_more():
    task = job()
    ends(task, "failed")
    rescue_pass()
    task.delete()
    assert not Failing.objects.exists()
    rescue_pass()
    assert len(mail.outbox) == 1


def test_what_raw_sql_left_of_a_deleted_task_is_pruned():
    now = database_now()
    Failing.objects.create(
        scheduled_task_id=987_654, run_id=ends(job(), "failed").pk, since=now, noticed_at=now
    )
    prune(now)
    assert not Failing.objects.exists()


def test_a_failed_run_that_was_pruned_is_missed_by_nobody():
    task = job()
    run = ends(task, "failed")
    now = database_now()
    Failing.objects.create(
        scheduled_task=task, run_id=run.pk, since=now, noticed_at=now, tell_at=now
    )
    TaskRun.objects.filter(pk=run.pk).delete()
    notices.tell()
    assert subjects() == ["“job” started failing"]


# Pausing ------------------------------------------------------------------------------------------


def test_a_pause_after_failures_is_told():
    task = job(pause_after_failures=2)
    ends(task, "failed")
    rescue_pass()
    assert "Paused" not in mail.outbox[0].body
    ends(task, "failed")
    from dispatcher.worker.pause_failing import pause_if_failing

    assert pause_if_failing(ScheduledTask.objects.get(pk=task.pk))
    for _ in range(3):
        rescue_pass()
    assert subjects()[1:] == ["“job” is paused after its failures"]
    assert "Paused after 2 failed or lost runs in a row." in mail.outbox[1].body


def test_a_task_that_its_first_failure_paused_is_told_in_one_mail():
    task = job(pause_after_failures=1)
    ends(task, "failed")
    from dispatcher.worker.pause_failing import pause_if_failing

    assert pause_if_failing(ScheduledTask.objects.get(pk=task.pk))
    for _ in range(3):
        rescue_pass()
    assert subjects() == ["“job” started failing"]
    assert "Paused after 1 failed or lost runs in a row." in mail.outbox[0].body


# To whom ------------------------------------------------------------------------------------------


def test_an_owner_is_an_address_or_the_name_of_a_user_who_has_one():
    User.objects.create_user("ada", email=ADA)
    User.objects.create_user("gone", email="gone@example.com", is_active=False)
    User.objects.create_user("silent")
    for owner in ("ada", EVE, "gone", "silent", "nobody", "", "not an@address"):
        ends(job(f"of {owner}", owner=owner), "failed")
    rescue_pass()
    assert {(letter.to[0], letter.subject) for letter in mail.outbox} == {
        (ADA, "“of ada” started failing"),
        (EVE, f"“of {EVE}” started failing"),
    }
    assert Failing.objects.count() == 7
    assert not Failing.objects.exclude(tell_at=None).exists()


def test_an_owner_of_several_gets_one_mail_of_all():
    User.objects.create_user("ada", email=ADA)
    back = job("back")
    ends(back, "failed")
    rescue_pass()
    ends(back, "succeeded")
    ends(job("one"), "failed")
    ends(job("two", owner="ada"), "lost")
    rescue_pass()
    assert subjects()[1:] == ["2 scheduled tasks fail, 1 scheduled task works again"]
    body = mail.outbox[1].body
    positions = [body.index(f"“{name}”") for name in ("one", "two", "back")]
    assert positions == sorted(positions)


def test_a_long_mail_says_how_many_more_there_are():
    for number in range(52):
        ends(job(f"job {number}"), "failed")
    rescue_pass()
    [letter] = mail.outbox
    assert letter.body.count("started failing") == 50
    assert "And 2 more." in letter.body


def test_a_name_with_a_line_break_does_not_forge_a_header():
    task = job()
    ScheduledTask.objects.filter(pk=task.pk).update(name="job\nBcc: eve@example.com")
    ends(task, "failed")
    rescue_pass()
    assert subjects() == ["“job Bcc: eve@example.com” started failing"]


def test_the_mail_is_in_the_language_of_the_project_and_a_reader_may_not_be_there(settings):
    settings.LANGUAGE_CODE = "zh-hans"
    ends(job(), "failed")
    rescue_pass()
    assert len(mail.outbox) == 1


# Once ---------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_many_dispatchers_one_tells_it():
    for number in range(5):
        ends(job(f"job {number}", owner=f"owner{number}@example.com"), "failed")
    barrier, errors = threading.Barrier(4), []

    def work():
        try:
            barrier.wait()
            now = database_now()
            notices.note_changes(now)
            notices.tell()
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    notices.tell()
    assert sorted(subjects()) == [f"“job {n}” started failing" for n in range(5)]


def test_a_dispatcher_that_died_over_a_mail_leaves_it_to_another_after_its_lease(monkeypatch):
    ends(job(), "failed")
    now = database_now()
    monkeypatch.setattr(notices.mails, "letter", _die)
    with pytest.raises(Died):
        notices.notice(now)
    monkeypatch.undo()
    notices.tell(now + 5 * S)
    assert mail.outbox == []
    notices.tell(database_now() + notices.LEASE)
    notices.tell(database_now() + 3 * notices.LEASE)
    assert subjects() == ["“job” started failing"]


class Died(BaseException):
    pass


def _die(*args):
    raise Died


def test_what_fails_anew_while_its_recovery_is_told_is_told_too(monkeypatch):
    task = job()
    ends(task, "failed")
    rescue_pass()
    ends(task, "succeeded")
    real = notices.mails.letter

    def meanwhile(*args):
        letter = real(*args)
        ends(task, "failed")
        notices.note_changes(database_now())  # another dispatcher
        return letter

    monkeypatch.setattr(notices.mails, "letter", meanwhile)
    rescue_pass()
    monkeypatch.undo()
    rescue_pass()
    assert subjects() == [
        "“job” started failing",
        "“job” works again",
        "“job” started failing",
    ]


def test_what_failed_again_before_anybody_was_told_is_no_news():
    task = job()
    ends(task, "failed")
    rescue_pass()
    ends(task, "succeeded")
    notices.note_changes(database_now())
    ends(task, "failed")
    rescue_pass()
    assert subjects() == ["“job” started failing"]
    assert Failing.objects.get().recovered_at is None


# Mail servers -------------------------------------------------------------------------------------


@pytest.fixture
def mail_server(settings):
    server = MailServer()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", server.port, 1
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    yield server
    server.close()


def later(minutes):
    return notices.tell(database_now() + timedelta(minutes=minutes))


def test_a_mail_arrives_at_a_mail_server(mail_server, settings):
    settings.DEFAULT_FROM_EMAIL = "jobs@example.com"
    ends(job("Отчёт"), "failed")
    rescue_pass()
    [letter] = mail_server.letters
    assert (letter["From"], letter["To"], letter["Subject"]) == (
        "jobs@example.com",
        ADA,
        "“Отчёт” started failing",
    )
    assert letter["Auto-Submitted"] == "auto-generated"
    assert "ValueError: no such file" in letter.get_content()


def test_an_address_that_is_refused_keeps_no_mail_from_the_others(mail_server):
    mail_server.refuse = {ADA}
    ends(job("refused"), "failed")
    ends(job("taken", owner=EVE), "failed")
    rescue_pass()
    assert [letter["To"] for letter in mail_server.letters] == [EVE]
    mail_server.refuse = set()
    assert later(2) == 1
    assert [letter["To"] for letter in mail_server.letters] == [EVE, ADA]


def test_a_mail_server_that_hangs_delays_a_pass_by_its_time_limit_only(mail_server):
    mail_server.hang = True
    for number in range(5):
        ends(job(f"job {number}", owner=f"owner{number}@example.com"), "failed")
    began = time.monotonic()
    record = rescue_pass()
    took = time.monotonic() - began
    assert record.finished_at is not None
    assert record.finished_at - record.started_at < timedelta(seconds=1)  # closed before the mails
    assert 1 <= took < 10
    began = time.monotonic()
    rescue_pass()  # nobody asks it again before the lease is over
    assert time.monotonic() - began < 1
    mail_server.hang = False
    assert later(2) == 5
    assert len(mail_server.letters) == 5
    assert later(4) == 0


@pytest.fixture
def actions():
    """What is logged, by its action."""
    found = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(getattr(record, "action", ""))
    notices.logger.addHandler(handler)
    yield found
    notices.logger.removeHandler(handler)


def test_a_mail_server_that_is_away_is_asked_again_for_an_hour(mail_server, actions):
    mail_server.close()
    ends(job(), "failed")
    rescue_pass()
    for minutes in (2, 30, 59):
        assert later(minutes) == 0
    assert actions == ["mail_failed"] * 4
    assert Failing.objects.get().tell_at is not None
    assert later(62) == 0
    assert actions[4:] == ["mail_given_up"]
    assert Failing.objects.get().tell_at is None


def test_a_server_that_never_answers_is_not_waited_for_without_a_setting(mail_server, settings):
    settings.EMAIL_TIMEOUT = None
    assert notices.mails.mailer().timeout == notices.mails.TIMEOUT
    settings.EMAIL_TIMEOUT = 3
    assert notices.mails.mailer().timeout == 3


def test_a_backend_that_breaks_harms_no_pass(settings):
    settings.EMAIL_BACKEND = "tests.dispatcher.test_notices.NoBackend"
    ends(job(), "failed")
    assert rescue_pass().finished_at is not None
    assert Failing.objects.filter(tell_at__isnull=False).count() == 1


# Cost ---------------------------------------------------------------------------------------------


def test_a_pass_asks_as_much_for_many_runs_as_for_few():
    def queries():
        with CaptureQueriesContext(connection) as captured:
            notices.note_changes(database_now())
        return len(captured)

    task = job()
    ends(task, "succeeded")
    few = queries()
    for _ in range(20):
        ends(task, "succeeded")
    assert queries() == few
    assert not RunAttempt.objects.exists()
