"""The core in projects that lack what its faces need: no admin, no users, no API, no exchange.

Each in an interpreter of its own, in which the missing packages cannot be imported.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

SITE = """
import json, os, sys, threading

site = json.loads(os.environ["SITE"])

for name in site["missing"]:
    sys.modules[name] = None  # as if it were not installed

import django
from django.conf import settings
from django.core.management import call_command

settings.configure(
    SECRET_KEY="x" * 50, ALLOWED_HOSTS=["*"], USE_TZ=True, INSTALLED_APPS=site["apps"],
    ROOT_URLCONF="dispatcher.urls", CELERY_BROKER_URL="memory://", EMAIL_HOST="localhost",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": site["database"]}},
    MIDDLEWARE=site["middleware"], TEMPLATES=[{
        "BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request",
            "django.contrib.auth.context_processors.auth",
            "django.contrib.messages.context_processors.messages"]}}],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", STATIC_URL="static/",
    SILENCED_SYSTEM_CHECKS=site["silenced"],
)

from celery import Celery
import dispatcher
app = Celery("bare")
app.config_from_object("django.conf:settings", namespace="CELERY")
dispatcher.install(app)

@app.task(name="jobs.add")
def add(a, b):
    return a + b
"""

LIFE = (
    SITE
    + """
django.setup()
call_command("check", fail_level="WARNING")
call_command("migrate", verbosity=0)

from datetime import timedelta
from celery.contrib.testing.worker import start_worker
from django.test import Client
from dispatcher import run_finished
from dispatcher.models import TaskRun
from dispatcher.tick import tick
from dispatcher.upkeep import rescue, mails
from scheduling.models import ScheduledTask

done = {}
task = ScheduledTask.objects.create_interval("Add", add, 3600, args=[1, 2], owner="ann@example.com")
task.pause()
task.resume()
task.description = "changed"
task.save(update_fields=["description"])
done["history"] = task.history.count()
ended = threading.Event()
run_finished.connect(lambda **signal: ended.set(), weak=False)
with start_worker(app, pool="solo", perform_ping_check=False, loglevel="ERROR"):
    run = dispatcher.run_now(task, by="ann")
    ended.wait(15)
run.refresh_from_db()
done["run"] = [run.status, run.result]
done["owners"] = mails.addresses(["ann@example.com", "bob"])
for words in (["tick"], ["prune_runs"], ["pause_everything"], ["resume_everything"],
              ["upcoming"], ["verify_slots"]):
    call_command(*words)
done["health"] = Client().get("/healthz").status_code
done["metrics"] = Client().get("/metrics").status_code
try:
    call_command("doctor", "--json")
except SystemExit:
    pass
ScheduledTask.objects.all().delete()
print(json.dumps(done))
"""
)

USERS = ["django.contrib.auth", "django.contrib.contenttypes"]
ADMIN = ["django.contrib.admin", "django.contrib.sessions", "django.contrib.messages"]
OURS = ["scheduling", "dispatcher"]
API = ("rest_framework", "django_filters", "drf_spectacular", "drf_standardized_errors")
EXCHANGE = ("import_export", "tablib")
LEFT_OUT = (*API, "drf_spectacular_sidecar", *EXCHANGE, "prometheus_client", "redis", "psycopg")
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]


def run(code: str, tmp_path: Path, apps: list[str], missing: tuple[str, ...]) -> Any:
    has_admin = "django.contrib.admin" in apps
    site = {
        "apps": apps,
        "missing": missing,
        "database": str(tmp_path / "db.sqlite3"),
        "middleware": MIDDLEWARE if has_admin else [],
        "silenced": ["urls.W005"],
    }
    env = {"PATH": os.environ["PATH"], "SITE": json.dumps(site), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def trail_needs_users() -> bool:
    """Until the audit trail keeps no foreign key to the user model."""
    from scheduling.models import ScheduledTask

    fields = ScheduledTask.history.model._meta.get_fields()  # type: ignore[attr-defined]
    return any(field.name == "history_user" and field.is_relation for field in fields)


PROJECTS = {
    "everything": ([*OURS, *USERS, *ADMIN], ()),
    "no admin": ([*OURS, *USERS, "django.contrib.sessions"], LEFT_OUT),
    "no sessions": ([*OURS, *USERS], LEFT_OUT),
    "no API": ([*OURS, *USERS, *ADMIN], (*API, "drf_spectacular_sidecar")),
    "no exchange": ([*OURS, *USERS, *ADMIN], EXCHANGE),
    "no contenttypes, no users": (OURS, LEFT_OUT),
    "nothing else, ours last": (["django.contrib.staticfiles", *reversed(OURS)], LEFT_OUT),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", PROJECTS)
def test_the_core_runs(name: str, tmp_path: Path) -> None:
    apps, missing = PROJECTS[name]
    if "django.contrib.auth" not in apps and trail_needs_users():
        pytest.skip("the audit trail has a foreign key to the user model")

    done = run(LIFE, tmp_path, apps, missing)

    assert done["run"] == ["succeeded", 3]
    assert done["history"] == 4
    assert done["owners"] == {"ann@example.com": "ann@example.com"}
    assert done["health"] in (200, 503)
    assert done["metrics"] == (501 if "prometheus_client" in missing else 200)


FACE = (
    SITE
    + """
try:
    django.setup()
    call_command("check")
except Exception as error:
    print(json.dumps(f"{type(error).__name__}: {error}"))
else:
    print(json.dumps(""))
"""
)


@pytest.mark.parametrize("lacking", API)
def test_the_api_without_its_packages_says_which_and_how_to_get_them(
    lacking: str, tmp_path: Path
) -> None:
    said = run(FACE, tmp_path, [*OURS, *USERS, "dispatcher.api"], (lacking,))

    assert said == (
        f"MissingExtra: dispatcher.api needs the packages of {lacking}. "
        'Install them: pip install "minutehand[api]".'
    )


def test_a_redis_without_its_client_is_a_sentence_of_the_check(tmp_path: Path) -> None:
    code = FACE.replace("memory://", "redis://127.0.0.1:1/0")

    said = run(code, tmp_path, [*OURS, *USERS], LEFT_OUT)

    assert said.startswith("SystemCheckError")
    assert "dispatcher.E004" in said and 'pip install "minutehand[redis]"' in said
