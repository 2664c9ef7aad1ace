"""Each finding of `doctor`, made true by real rows, and nothing said where nothing is wrong."""

import json
import os
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import redis
from celery.app import app_or_default
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test.utils import CaptureQueriesContext

from dispatcher.models import Failing, TaskRun, Tick, Worker
from dispatcher.watch.doctor import examine, machinery
from scheduling import celery_app
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import pause_everything
from tests.integration.harness import empty_broker
from tests.servers import Valkey

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
ADD = "tests.integration.tasks_app.tasks.add"
S = timedelta(seconds=1)


def worker(queue="celery", **columns):
    now = database_now()
    defaults = {
        "id": uuid4(),
        "hostname": f"{queue}@here",
        "pid": 1,
        "pool": "prefork",
        "queues": [queue],
        "tasks": [OK, ADD],
        "clock_offset": 0.1,
        "started_at": now,
        "seen_at": now,
        "lease_until": now + 45 * S,
    }
    return Worker.objects.create(**defaults | columns)


@pytest.fixture(autouse=True)
def healthy(sent_messages, monkeypatch):
    """A system in which all is well."""
    monkeypatch.setattr(machinery, "ANSWER_SECONDS", 0.1)  # nobody is there to answer
    now = database_now()
    for kind in ("tick", "rescue"):
        for age in (600, 10):
            at = now - age * S
            Tick.objects.create(kind=kind, started_at=at, finished_at=at)
    worker("dispatcher", tasks=["dispatcher.tick"])
    worker("celery")


def job(name="job", task=OK, every=86_400, **options):
    return ScheduledTask.objects.create_interval(name, task, every, **options)


def make_run(task=None, **columns):
    now = database_now()
    defaults = {
        "scheduled_task": task,
        "name": "job",
        "task": OK,
        "trigger": "schedule",
        "queue": "celery",
        "status": "published",
        "scheduled_for": now,
        "start_at": now,
        "planned_at": now,
    }
    return TaskRun.objects.create(**defaults | columns)


def found():
    return {finding.code: finding.sentence for finding in examine()}


def test_there_is_nothing_to_say_about_a_healthy_system(capsys):
    job()
    call_command("doctor")
    assert capsys.readouterr().out == "Everything is well.\n"


def test_the_command_says_what_is_wrong_and_fails(capsys):
    Tick.objects.all().delete()
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", "--json")
    assert ended.value.code == 1
    [finding] = json.loads(capsys.readouterr().out)
    assert finding["code"] == "no_tick"


# The machinery ------------------------------------------------------------------------------------


def test_the_last_tick_is_too_old():
    now = database_now()
    Tick.objects.ticks().update(finished_at=now - 200 * S)
    assert set(found()) == {"late_tick"}


def test_the_last_tick_had_a_problem():
    now = database_now()
    Tick.objects.create(started_at=now, finished_at=now, error="The broker was away")
    assert found() == {"tick_error": "The last tick said: The broker was away"}


def test_ticks_come_and_rescue_passes_do_not():
    Tick.objects.rescues().filter(started_at__gt=database_now() - 60 * S).delete()
    assert set(found()) == {"late_rescue"}


def test_a_system_that_has_just_begun_needs_no_rescue_pass_yet():
    Tick.objects.filter(started_at__lt=database_now() - 60 * S).delete()
    Tick.objects.rescues().delete()
    assert found() == {}


def test_nobody_consumes_the_queue_of_the_dispatchers():
    Worker.objects.filter(hostname="dispatcher@here").update(stopped_at=database_now())
    assert found() == {}  # ticks arrive: `tick --loop` consumes no queue
    Tick.objects.ticks().update(finished_at=database_now() - 200 * S)
    assert set(found()) == {"late_tick", "no_dispatcher"}


def test_messages_for_the_dispatchers_pile_up():
    empty_broker(os.environ["CELERY_BROKER_URL"])
    for _ in range(11):
        app_or_default().send_task("dispatcher.tick", queue="dispatcher")
    try:
        assert "11 messages wait" in found()["dispatcher_backlog"]
    finally:
        empty_broker(os.environ["CELERY_BROKER_URL"])


def test_this_process_has_no_app(monkeypatch):
    monkeypatch.setattr(celery_app, "_ours", None)
    assert set(found()) == {"no_app"}


def test_the_broker_is_away(broken_broker):
    assert set(found()) == {"broker"}


@pytest.fixture
def own_redis(broker_at):
    """A Redis of this test's own is the broker."""
    server = Valkey().start()
    broker_at(server.url)
    with redis.Redis.from_url(server.url) as client:
        yield client
    server.close()


@pytest.mark.parametrize(
    ("policy", "limit", "said"),
    [
        ("noeviction", 0, {}),
        ("noeviction", 10**9, {}),
        ("allkeys-lru", 10**9, {"broker_evicts": False}),
        ("allkeys-random", 10**9, {"broker_evicts": False}),
        ("allkeys-lru", 0, {"broker_evicts": True}),
        ("volatile-lru", 10**9, {"broker_evicts": True}),
    ],
)
def test_a_redis_that_drops_messages_when_it_is_full(own_redis, policy, limit, said):
    own_redis.config_set("maxmemory", limit)
    own_redis.config_set("maxmemory-policy", policy)
    findings = examine()
    assert {f.code: f.is_advice for f in findings} == said
    assert all(policy in f.sentence and "to noeviction" in f.sentence for f in findings)


def test_a_redis_that_may_not_be_asked_is_not_suspected(own_redis):
    own_redis.config_set("maxmemory-policy", "allkeys-lru")
    own_redis.execute_command("ACL", "SETUSER", "default", "-info")
    assert found() == {}


def test_the_clock_of_a_worker_is_off():
    worker(hostname="slow@there", clock_offset=-7.26)
    worker(hostname="gone@there", clock_offset=9, stopped_at=database_now())
    assert set(found()) == {"worker_clock"}
    assert "slow@there -7.3 s" in found()["worker_clock"]


def test_the_clock_of_this_machine_is_off(monkeypatch):
    monkeypatch.setattr(machinery, "clock_offset", lambda: 3.04)
    assert "+3.0 s off" in found()["clock"]


def test_a_queue_of_a_schedule_is_consumed_by_nobody():
    job(queue="reports")
    job("paused", queue="paused").pause()
    assert list(found()) == ["queue_not_consumed"]
    assert "“reports”" in found()["queue_not_consumed"]


def test_no_worker_of_the_queue_knows_the_task():
    job(task="shop.tasks.report")
    worker("other", tasks=["shop.tasks.report"])
    assert "no worker knows it" in found()["unknown_task"]
    ScheduledTask.objects.update(queue="other")
    assert found() == {}


def test_one_worker_of_the_queue_does_not_know_the_task():
    job()
    worker("celery", hostname="old@there", tasks=[ADD])
    worker("celery", hostname="older@there", tasks=None)  # of a version that did not say
    assert "but old@there do not know it" in found()["unknown_task"]


def test_a_pool_that_cannot_end_a_run_is_given_limits():
    job(time_limit=10)
    worker(pool="threads", hostname="threads@here")
    assert "threads@here" in found()["pool_cannot_terminate"]


# The schedules ------------------------------------------------------------------------------------


def test_runs_wait_for_a_worker():
    late = database_now() - 300 * S
    for _ in range(3):
        make_run(start_at=late, trigger="manual")
    make_run(start_at=late + 100 * S, queue="reports", trigger="manual")
    make_run()  # not late
    sentences = sorted(finding.sentence for finding in examine())
    assert ["3 runs of the queue “celery”" in text for text in sentences] == [False, True]
    assert "1 runs of the queue “reports”" in sentences[0]
    assert "the oldest 5 min" in sentences[1]


def test_what_waits_while_everything_is_paused_is_no_backlog():
    make_run(start_at=database_now() - 300 * S)
    assert set(found()) == {"backlog"}
    pause_everything(by="ada")
    assert set(found()) == {"everything_paused"}
    assert "by ada since" in found()["everything_paused"]


def test_rows_are_set_aside():
    for number in range(12):
        job(f"job {number}")
    ScheduledTask.objects.set_aside("x", "the zone is unknown", database_now())
    sentences = [f.sentence for f in examine() if f.code == "set_aside"]
    assert len(sentences) == 11
    assert "“job 0” is set aside: the zone is unknown. Edit it" in sentences[0]
    assert sentences[-1] == "In all 12 scheduled tasks are set aside."


def test_schedules_fail():
    now = database_now()

    def failing(task, **columns):
        Failing.objects.create(
            scheduled_task=task, run=make_run(task, status="failed"), since=now, noticed_at=now,
            **columns,
        )  # fmt: skip

    failing(job("bad"))
    failing(job("well again"), recovered_at=now)
    failing(job("stopped by a person"))
    ScheduledTask.objects.get(name="stopped by a person").pause(by="ada")
    failing(job("stopped by its failures"))
    from scheduling.trail import Via, acting

    with acting(Via.SCHEDULER, "pause_after_failures"):
        ScheduledTask.objects.get(name="stopped by its failures").pause(params={"failures": 3})
    assert "lost: bad, stopped by its failures. Their" in found()["failing"]


# The set-up ---------------------------------------------------------------------------------------


def test_a_migration_is_missing():
    recorded = MigrationRecorder.Migration.objects.filter(app="dispatcher")
    last = recorded.order_by("-name")[0]
    recorded.filter(pk=last.pk).delete()
    assert list(found()) == ["unmigrated"]
    assert f"dispatcher.{last.name}" in found()["unmigrated"]
    last.save(force_insert=True)
    assert found() == {}


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no isolation levels")
def test_the_isolation_level_is_wrong():
    set_level = {
        "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {}",
        "mysql": "SET SESSION TRANSACTION ISOLATION LEVEL {}",
    }[connection.vendor]
    try:
        with connection.cursor() as cursor:
            cursor.execute(set_level.format("REPEATABLE READ"))
        assert "READ COMMITTED" in found()["isolation"]
    finally:
        connection.close()


def test_a_schedule_that_nobody_will_see_run():
    job("never")
    job("some day", starts_at=database_now() + timedelta(days=99 * 365))
    assert found() == {}
    ScheduledTask.objects.filter(name="never").keep(
        starts_at=datetime(9999, 1, 1, tzinfo=UTC), next_run_at=datetime(9999, 1, 1, tzinfo=UTC)
    )
    told = found()["never_runs"]
    assert "“never”" in told
    assert "9999" in told
    ScheduledTask.objects.filter(name="never").keep(enabled=False)
    assert found() == {}


def test_mails_to_owners_are_only_printed(settings):
    job(owner="ada@example.com")
    assert found() == {}
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    assert "EMAIL_URL" in found()["mail_not_configured"]
    settings.DEBUG = True
    assert found() == {}
    settings.DEBUG, settings.EMAIL_BACKEND = False, "django.core.mail.backends.dummy.EmailBackend"
    assert found() == {}  # switched off on purpose
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    ScheduledTask.objects.update(owner="")
    assert found() == {}


def test_mails_cannot_be_sent():
    now = database_now()
    task = job()
    task.pause()
    Failing.objects.create(
        scheduled_task=task,
        run=make_run(task, status="failed"),
        since=now,
        noticed_at=now - 400 * S,
        tell_at=now,
    )
    assert set(found()) == {"mail_failing"}


def test_retention_is_behind():
    def aged(days):
        at = database_now() - timedelta(days=days)
        return make_run(pk=UUID(int=int(at.timestamp() * 1000) << 80), status="succeeded")

    aged(30.5)  # the next pass has it
    assert found() == {}
    aged(31.5)
    assert set(found()) == {"prune_behind"}


# Cost ---------------------------------------------------------------------------------------------


def test_it_asks_as_much_of_many_rows_as_of_few():
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert examine() == []
        return len(captured)

    job()
    queries()
    few = queries()
    for number in range(20):
        make_run(job(f"job {number}"), status="succeeded")
        worker(hostname=f"{number}@here")
    assert queries() == few
