"""The core in projects that have less than ours: no admin, no API, no users, or users of their own.

Each case is a process, because a project's apps are chosen once.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.crash.lines import ROOT

SETTINGS = """
SECRET_KEY = "of a test"
SILENCED_SYSTEM_CHECKS = ["dispatcher.W001"]  # no Celery app is made here
INSTALLED_APPS = ["scheduling", "dispatcher", {apps}]
AUTH_USER_MODEL = "{user_model}"
DATABASES = {{
    "default": {{
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "db.sqlite3",
        "OPTIONS": {{"transaction_mode": "IMMEDIATE"}},
    }}
}}
"""
#: A user as a stranger may have made it: a key of its own kind, and `django.contrib.auth` left out.
PEOPLE = """
import uuid

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models


class Person(AbstractBaseUser):
    key = models.UUIDField(primary_key=True, default=uuid.uuid4)
    nick = models.CharField(max_length=50, unique=True)
    email = models.CharField(max_length=50)
    objects = BaseUserManager()
    USERNAME_FIELD = "nick"
"""
BEGIN = """
import json

import django

django.setup()
from django.core.management import call_command
from dispatcher.models import TaskRun
from dispatcher.plan.planner import plan_batch
from dispatcher.upkeep.mails import addresses
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.trail import acting

call_command("check", "--fail-level", "WARNING")
call_command("migrate", "--run-syncdb", "-v", "0")


def said():
    entry = ScheduledTask.history.first()
    return [entry.history_user_id, entry.by, str(entry.history_user)]

"""
WITHOUT_USERS = """
with acting("code", "ada"):
    task = ScheduledTask.objects.create_interval("job", "shop.tasks.count", 30)
    task.pause()
    task.resume()
plan_batch([task.pk], database_now())
mails = addresses(["ada", "ada@example.com"])
print(json.dumps([said(), TaskRun.objects.count() > 0, mails]))
"""
WITH_PEOPLE = """
from people.models import Person

ada = Person.objects.create(nick="ada", email="ada@example.com")
key = str(ada.pk)
with acting("code", ada):
    ScheduledTask.objects.create_interval("job", "shop.tasks.count", 30)
mails = addresses(["ada", "bob"])
before = said()
ada.delete()
print(json.dumps([before == [key, "ada", "ada"], said() == [key, "ada", "None"], mails]))
"""


@pytest.fixture
def project(tmp_path):
    """Run a script in a project with these apps and this user model; answer what it prints."""

    def run(script, *, apps="", user_model="auth.User"):
        text = SETTINGS.format(apps=apps, user_model=user_model)
        (tmp_path / "core_settings.py").write_text(text)
        (tmp_path / "people").mkdir()
        (tmp_path / "people" / "__init__.py").touch()
        (tmp_path / "people" / "models.py").write_text(PEOPLE)
        environ = os.environ | {
            "DJANGO_SETTINGS_MODULE": "core_settings",
            "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT))),
        }
        command = [sys.executable, "-c", BEGIN + script]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_it_works_in_a_project_without_users(project):
    entry, has_runs, mails = project(WITHOUT_USERS)
    assert entry == [None, "ada", "None"]
    assert has_runs
    assert mails == {"ada@example.com": "ada@example.com"}


def test_users_of_any_model_are_kept_by_key_and_name_after_their_deletion(project):
    known, remembered, mails = project(WITH_PEOPLE, apps='"people"', user_model="people.Person")
    assert known
    assert remembered
    assert mails == {"ada": "ada@example.com"}
