"""The one switch: nothing of a schedule is planned, published or started; all else goes on."""

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from dispatcher.models import Status, TaskRun, Tick
from dispatcher.models.claim import Claim
from dispatcher.models.ends import End
from dispatcher.runs import backfill, run_now
from dispatcher.tick import tick
from dispatcher.upkeep.rescue import rescue
from dispatcher.worker.overlap import wake
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import Stop, current_stop, pause_everything, resume_everything

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
S = timedelta(seconds=1)
TASKS = "/admin/scheduling/scheduledtask/"
PAUSE, RESUME = "/admin/scheduling/stop/pause/", "/admin/scheduling/stop/resume/"


def job(name="job", every=10, **options):
    return ScheduledTask.objects.create_interval(name, OK, every, **options)


def unplanned(name="job", *, since, every=300, **options):
    """A row that no code of ours saw, with slots since a time and none planned."""
    columns = {"starts_at": since, "armed_at": since - S, "interval_seconds": every}
    row = ScheduledTask(name=name, task=OK, kind="interval", **(columns | options))
    return ScheduledTask.objects.bulk_create([row])[0]


def first_run(task):
    return TaskRun.objects.filter(scheduled_task=task).order_by("slot")[0]


def claim(run, attempt=0, retries=0, token=None):
    return TaskRun.objects.claim(
        Claim(
            run_id=run.pk,
            attempt=attempt,
            retries=retries,
            token=token or uuid4(),
            worker="celery@here",
            worker_uuid=uuid4(),
            pid=1,
            message_id=str(uuid4()),
        )
    )


# The switch ---------------------------------------------------------------------------------------


def test_it_is_switched_once_and_leaves_a_row_of_each_use():
    assert pause_everything(by="ada", via="code") is True
    assert pause_everything(by="eve") is False
    stop = current_stop()
    assert (stop.paused_by, stop.paused_via, stop.resumed_at) == ("ada", "code", None)
    assert resume_everything(by="eve") is True
    assert resume_everything() is False
    assert current_stop() is None
    stop.refresh_from_db()
    assert stop.resumed_by == "eve"
    assert stop.resumed_at >= stop.paused_at
    assert pause_everything() is True
    assert Stop.objects.count() == 2


def test_the_database_admits_one_stop_in_force_and_any_number_that_are_over():
    now = database_now()
    for _ in range(2):
        Stop.objects.create(paused_at=now, resumed_at=now, in_force=None)
    Stop.objects.create(paused_at=now)
    with pytest.raises(IntegrityError), transaction.atomic():
        Stop.objects.create(paused_at=now)


@pytest.mark.django_db(transaction=True)
def test_of_many_who_press_the_button_at_once_one_has_done_it():
    barrier, answers = threading.Barrier(4), []

    def press():
        try:
            barrier.wait()
            answers.append(pause_everything())
        finally:
            connection.close()

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False, False, False, True]
    assert Stop.objects.count() == 1


def test_the_stops_of_a_time_are_those_in_force_in_it():
    now = database_now()
    old = Stop.objects.create(paused_at=now - 9 * S, resumed_at=now - 7 * S, in_force=None)
    present = Stop.objects.create(paused_at=now - 3 * S)
    between = Stop.objects.between
    assert set(between(now - 8 * S, now)) == {old, present}
    assert set(between(now - 7 * S, now - 3 * S)) == set()
    assert set(between(now + 60 * S, now + 61 * S)) == {present}


def test_the_commands_switch_it_and_say_so(capsys):
    call_command("pause_everything", "--by", "ada")
    assert (current_stop().paused_by, current_stop().paused_via) == ("ada", "command")
    call_command("pause_everything")
    call_command("resume_everything", "--by", "eve")
    call_command("resume_everything")
    assert Stop.objects.get().resumed_by == "eve"
    said = capsys.readouterr().out.splitlines()
    assert [line.split(".")[0] for line in said] == [
        "Everything is paused",
        "Everything was paused already",
        "The schedules run again",
        "Nothing was paused",
    ]


# While it is in force -----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_tick_plans_nothing_moves_nothing_and_is_recorded(sent_messages, client):
    pause_everything()
    task = unplanned(since=database_now().replace(microsecond=0) - 60 * S, every=30)
    resting = job("resting", 3600)
    ScheduledTask.objects.filter(pk=resting.pk).keep(next_run_at=database_now())
    before = list(ScheduledTask.objects.order_by("pk").values())

    done = tick()

    assert (done.planned, done.missed, done.set_aside, done.error) == (0, 0, 0, "")
    assert list(ScheduledTask.objects.order_by("pk").values()) == before
    assert not task.runs.exists()
    assert sent_messages() == []
    health = client.get("/healthz")
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    assert health.json()["paused_since"] == current_stop().paused_at.isoformat()
    resume_everything()
    assert client.get("/healthz").json()["paused_since"] is None


@pytest.mark.django_db(transaction=True)
def test_no_run_of_a_schedule_is_published_and_those_of_people_are(sent_messages):
    task = job()
    sent_messages()
    now = database_now()
    TaskRun.objects.filter(status="published").update(start_at=now - 40 * S, publish_at=now - S)
    first = first_run(task)
    TaskRun.objects.filter(pk=first.pk).update(status="planned", start_at=now)
    pause_everything()
    manual = run_now(task)
    TaskRun.objects.filter(pk=manual.pk).update(status="planned", publish_at=now - S)
    sent_messages()

    assert tick().published == 1
    assert rescue().published == 0
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(manual.pk)]


def test_the_claim_of_a_schedules_run_is_vetoed_in_one_query():
    task = job()
    run = first_run(task)
    pause_everything()
    with CaptureQueriesContext(connection) as queries:
        assert claim(run) is False
    assert len(queries) == 1
    resume_everything()
    assert claim(run) is True


def test_runs_that_people_ask_for_start():
    task = job(every=3600)
    pause_everything()
    asked = [run_now(task), *backfill(task, database_now() - 7200 * S, database_now())]
    assert {run.trigger for run in asked} == {"manual", "backfill"}
    assert all(claim(run) for run in asked)


def test_what_is_running_goes_on_and_ends():
    run, token = first_run(job()), uuid4()
    assert claim(run, token=token) is True
    pause_everything()
    assert claim(run, token=token) is True  # its own claim, whose answer was lost
    assert TaskRun.objects.all().end(run.pk, token, End(Status.SUCCEEDED)) is True


def test_the_next_attempt_of_a_schedules_run_waits():
    again, own = job("again"), job("own")
    run = first_run(again)
    TaskRun.objects.filter(pk=run.pk).update(status="retrying", attempt=2, token=None)
    own_retry = first_run(own)
    TaskRun.objects.filter(pk=own_retry.pk).update(status="retrying", attempt=1, token=uuid4())
    pause_everything()
    assert claim(run, attempt=2) is False
    assert claim(own_retry, attempt=1, retries=1) is False
    resume_everything()
    assert claim(run, attempt=2) is True
    assert claim(own_retry, attempt=1, retries=1) is True


@pytest.mark.django_db(transaction=True)
def test_who_waits_for_a_holder_is_not_woken(sent_messages):
    task = job(overlap_policy="queue_one")
    waiter = first_run(task)
    TaskRun.objects.filter(pk=waiter.pk).update(waits=task.pk)
    pause_everything()
    sent_messages()
    wake(task.pk)
    assert sent_messages() == []
    resume_everything()
    wake(task.pk)
    assert [m["headers"]["run_id"] for m in sent_messages()] == [str(waiter.pk)]


@pytest.mark.django_db(transaction=True)
def test_a_new_or_edited_schedule_is_neither_planned_nor_published(sent_messages):
    edited = job("edited")
    owed = first_run(edited)
    now = database_now()
    TaskRun.objects.filter(pk=owed.pk).update(scheduled_for=now - S, slot=now - S, start_at=now - S)
    pause_everything()
    sent_messages()

    created = job("created")
    edited.kwargs = {"x": 2}
    edited.save()

    assert not created.runs.exists()
    assert created.next_run_at is not None
    [renewed] = edited.runs.all()  # owed, so it stays, as the edit made it
    assert (renewed.slot, renewed.kwargs, renewed.status) == (now - S, {"x": 2}, "planned")
    assert sent_messages() == []


def test_nothing_is_upcoming_and_the_views_say_why(admin_client, capsys):
    task = job(every=3600)
    assert task.upcoming(3) != []
    pause_everything()
    assert task.upcoming(3) == []
    assert 'title="Everything is paused."' in admin_client.get(TASKS).content.decode()
    page = admin_client.get(f"{TASKS}{task.pk}/change/").content.decode()
    assert "Everything is paused, so nothing runs. Once resumed, it would run at:" in page
    call_command("upcoming", "--json")
    said = capsys.readouterr()
    assert (said.out.strip(), "Everything is paused" in said.err) == ("[]", True)


# Afterwards ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "ran", "missed"), [("run_latest", 1, 12), ("run_all", 13, 0), ("skip", 1, 12)]
)
@pytest.mark.django_db(transaction=True)
def test_the_misfire_rules_decide_what_was_late(sent_messages, policy, ran, missed):
    """Paused for an hour before the first of 13 slots, five minutes apart, the last one now."""
    now = database_now().replace(microsecond=0)
    task = unplanned(since=now - 3600 * S, misfire_policy=policy)
    pause_everything()
    for minutes in (60, 30, 1):
        assert tick(now - minutes * 60 * S).planned == 0
    resume_everything()
    tick(now)
    slots = TaskRun.objects.filter(scheduled_task=task, slot__lte=now)
    assert slots.filter(status="published").count() == ran
    assert sum(run.slot_count for run in slots.filter(status="missed")) == missed


def dispatcher_messages():
    from celery.app import app_or_default

    app = app_or_default()
    names = []
    with app.connection_for_read() as broker:
        queue = broker.SimpleQueue(app.amqp.queues["dispatcher"])
        while True:
            try:
                message = queue.get(block=False)
            except queue.Empty:
                break
            message.ack()
            names.append(message.headers["task"])
        queue.close()
    return names


@pytest.mark.django_db(transaction=True)
def test_resuming_asks_for_a_tick_at_once(sent_messages):
    dispatcher_messages()
    pause_everything()
    with transaction.atomic():
        resume_everything()
        assert dispatcher_messages() == []
    assert dispatcher_messages() == ["dispatcher.tick"]


@pytest.mark.django_db(transaction=True)
def test_it_is_resumed_without_a_broker(broken_broker):
    pause_everything()
    assert resume_everything() is True
    assert current_stop() is None


# The admin ----------------------------------------------------------------------------------------


@pytest.fixture
def viewer(client):
    """A user who sees scheduled tasks and may not pause them."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_scheduledtask"))
    client.force_login(user)
    return client


def test_the_button_says_what_will_happen_and_then_does_it(admin_client):
    soon, rare = job("soon", 60), job("rare", 86_400)
    job("paused", 60).pause()
    assert soon.runs.exists()
    assert not rare.runs.exists()
    assert PAUSE in admin_client.get(TASKS).content.decode()
    asked = admin_client.get(PAUSE).content.decode()
    assert "1 schedule would run in the next hour" in asked
    assert current_stop() is None
    admin_client.post(PAUSE)
    assert (current_stop().paused_by, current_stop().paused_via) == ("admin", "admin")
    assert PAUSE not in admin_client.get(TASKS).content.decode()


@pytest.mark.parametrize("page", ["/admin/", TASKS, f"{TASKS}add/", "/admin/password_change/"])
def test_every_page_says_who_paused_everything_and_resumes_it(admin_client, page):
    assert "mh-stop" not in admin_client.get(page).content.decode()
    pause_everything(by="<ada>")
    html = admin_client.get(page).content.decode()
    assert "Everything is paused" in html
    assert "by &lt;ada&gt;, since 2" in html
    response = admin_client.post(RESUME, {"next": page})
    assert (response.status_code, response.headers["Location"]) == (302, page)
    assert current_stop() is None
    assert "mh-stop" not in admin_client.get(page).content.decode()


def test_who_may_not_pause_sees_the_banner_without_the_button(viewer):
    pause_everything()
    html = viewer.get(TASKS).content.decode()
    assert "Everything is paused" in html
    assert RESUME not in html
    assert viewer.post(RESUME).status_code == 403
    assert current_stop() is not None
    resume_everything()
    assert PAUSE not in viewer.get(TASKS).content.decode()
    assert viewer.get(PAUSE).status_code == viewer.post(PAUSE).status_code == 403
    assert current_stop() is None


def test_strangers_are_told_nothing(client):
    pause_everything(by="ada")
    assert "mh-stop" not in client.get("/admin/login/").content.decode()
    assert client.post(RESUME).status_code == 302
    assert current_stop() is not None


def test_nobody_is_sent_to_another_site(admin_client):
    for asked in ("https://evil.example/", "//evil.example/", ""):
        pause_everything()
        assert admin_client.post(RESUME, {"next": asked}).headers["Location"] == "/admin/"


def test_a_get_resumes_nothing(admin_client):
    pause_everything()
    assert admin_client.get(RESUME).status_code == 405
    assert current_stop() is not None


def test_the_uses_of_the_switch_are_listed(admin_client):
    pause_everything(by="ada")
    resume_everything(by="eve")
    html = admin_client.get("/admin/scheduling/stop/").content.decode()
    assert "ada" in html
    assert "eve" in html


def test_ticks_are_recorded_all_the_same():
    pause_everything()
    tick()
    assert Tick.objects.ticks().exclude(finished_at=None).count() == 1
