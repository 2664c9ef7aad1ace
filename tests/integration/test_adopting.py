"""The steps of docs/adopting.md in a fresh `startproject`: what it prints is what is run here."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from django.db import connection

from tests.integration.harness import ROOT, Stack
from tests.servers import family, launch

DOC = (ROOT / "docs" / "adopting.md").read_text()
BLOCKS = dict(re.findall(r"```python\n# ([^\n]+)\n(.*?)```", DOC, re.DOTALL))
PROCFILE = dict(re.findall(r"^(beat|dispatcher|worker): celery (.+)$", DOC, re.MULTILINE))
#: The options of each database as the page names them; PostgreSQL needs none.
OPTIONS = {
    "sqlite": BLOCKS["shop/settings.py, on SQLite"],
    "mysql": BLOCKS["shop/settings.py, on MySQL and MariaDB"],
}
LOOK = """
import json
from django.test import Client
from dispatcher.models import TaskRun
runs = list(TaskRun.objects.values("name", "status", "result", "attempt"))
health = Client(headers={"host": "localhost"}).get("/healthz").json()
print(json.dumps({"runs": runs, "health": health["status"]}))
"""
ASK = """
from django.test import Client
headers = {"host": "localhost", "authorization": "Bearer %s"}
api = "/scheduler/api/v1/scheduled-tasks/"
body = {"name": "By the API", "task": "orders.tasks.send_report", "args": ["Ada"]}
body |= {"kind": "cron", "cron_expression": "0 9 * * *"}
made = Client(headers=headers).post(api, body, "application/json")
found = Client(headers=headers).get(made["Location"])
shown = Client(headers=headers).get("/scheduler/api/docs/")
schema = Client(headers=headers).get("/scheduler/api/schema/?format=json").json()
print(made.status_code, made["Location"], found.json()["name"], shown.status_code, *schema["paths"])
"""


class Shop:
    """The project of the page: files, commands and processes."""

    def __init__(self, directory: Path, broker_url: str, database: dict[str, object]) -> None:
        self.directory, self.broker_url, self.database = directory, broker_url, database
        self.processes: list[subprocess.Popen[bytes]] = []
        # A stranger's environment: nothing of this repository's settings, nothing on its path.
        self.env = {
            name: value
            for name, value in os.environ.items()
            if name in ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
        } | {"PYTHONUNBUFFERED": "1"}

    def write(self) -> None:
        self.run("-m", "django", "startproject", "shop", ".")
        self.run("manage.py", "startapp", "orders")
        ignore = shutil.ignore_patterns("__pycache__")
        for folder in ("scheduling", "dispatcher"):
            shutil.copytree(ROOT / folder, self.directory / folder, ignore=ignore)
        for name in ("shop/celery.py", "shop/__init__.py", "orders/tasks.py"):
            (self.directory / name).write_text(BLOCKS[name])
        self.append("shop/urls.py", BLOCKS["shop/urls.py"])
        self.append("shop/settings.py", 'INSTALLED_APPS += ["orders"]', *self._settings())

    def _settings(self) -> Iterator[str]:
        yield BLOCKS["shop/settings.py"]
        yield f"CELERY_BROKER_URL = {self.broker_url!r}"
        if self.database["ENGINE"] != "django.db.backends.sqlite3":
            yield f'DATABASES["default"] = {self.database!r}'
        if connection.vendor == "mysql":
            yield "import pymysql; pymysql.install_as_MySQLdb()"
        yield OPTIONS.get(connection.vendor, "")

    def append(self, name: str, *lines: str) -> None:
        with (self.directory / name).open("a") as file:
            file.write("\n".join(["", *lines, ""]))

    def forget(self, name: str) -> None:
        """Take our lines out again, as the page says."""
        file = self.directory / name
        ours = ("dispatcher", "RECOMMENDED")
        kept = [line for line in file.read_text().splitlines() if not any(w in line for w in ours)]
        file.write_text("\n".join(kept) + "\n")

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.directory,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def shell(self, code: str) -> str:
        return self.run("manage.py", "shell", "-v", "0", "-c", code)

    def look(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.shell(LOOK))
        return found

    def start(self, name: str) -> None:
        with (self.directory / f"{name}.log").open("wb") as log:
            words = [sys.executable, "-m", "celery", *shlex.split(PROCFILE[name])]
            options = {"cwd": self.directory, "env": self.env}
            process = launch(words, stdout=log, stderr=subprocess.STDOUT, **options)
        self.processes.append(process)

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        members = [member for process in self.processes for member in family(process.pid)]
        for member in members:
            member.kill()
        for process in self.processes:
            process.wait()
        psutil.wait_procs(members, timeout=10)


@pytest.fixture
def shop(tmp_path: Path, empty_queues: str, database: dict[str, object]) -> Iterator[Shop]:
    shop = Shop(tmp_path, empty_queues, database)
    yield shop
    shop.close()


@pytest.mark.sampled(2)
def test_a_fresh_project_adopts_the_two_apps_by_the_book(shop: Shop) -> None:
    wait_until = Stack(shop.directory, "", shop.broker_url).wait_until
    shop.write()
    shop.run("manage.py", "migrate", "-v", "0")
    shop.run("manage.py", "check", "--database", "default", "--fail-level", "WARNING")
    assert "No changes" in shop.run("manage.py", "makemigrations", "--check", "--dry-run")

    for name in ("beat", "dispatcher", "worker"):
        shop.start(name)
    for name in ("dispatcher", "worker"):
        wait_until(lambda name=name: " ready." in shop.log(name), 30, shop.log(name))
    shop.shell(BLOCKS["in the shell"])
    ticked = shop.run("manage.py", "tick")
    wait_until(lambda: "succeeded" in shop.log("worker"), 20, "the run to succeed")

    assert ticked == "0 planned, 0 published, 0 missed, 0 set aside\n"  # the creation did both
    report = {"name": "First report", "status": "succeeded", "attempt": 1}
    assert shop.look() == {"runs": [report | {"result": "3 pages for Ada"}], "health": "ok"}
    assert shop.run("manage.py", "doctor") == "Everything is well.\n"
    assert "Recommended and not set" not in shop.run("manage.py", "doctor", "--install")

    for word in ("dispatcher", "scheduling"):
        shop.run("manage.py", "migrate", word, "zero", "-v", "0")
    for name in ("shop/settings.py", "shop/urls.py", "shop/celery.py"):
        shop.forget(name)
    shop.run("manage.py", "check", "--database", "default", "--fail-level", "WARNING")
    assert "dispatcher" not in shop.shell("from shop.celery import app; print(app.conf.table())")


def test_jobs_that_post_migrate_defines_are_there_once_whatever_is_migrated_first(
    shop: Shop,
) -> None:
    shop.write()
    (shop.directory / "orders/apps.py").write_text(BLOCKS["orders/apps.py"])
    shop.run("manage.py", "migrate", "auth", "-v", "0")  # an app alone, on an empty database
    for _again in range(2):
        shop.run("manage.py", "migrate", "-v", "0")

    names = "print([s.name for s in ScheduledTask.objects.all()])"
    assert (
        shop.shell(f"from scheduling.models import ScheduledTask\n{names}").strip()
        == "['Nightly report']"
    )


@pytest.mark.sampled(2)
def test_a_fresh_project_adopts_the_api_by_the_book(shop: Shop) -> None:
    shop.write()
    shop.append("shop/settings.py", BLOCKS["shop/settings.py, with the API"])
    shop.append("shop/urls.py", BLOCKS["shop/urls.py, with the API"])
    shop.run("manage.py", "migrate", "-v", "0")
    shop.run("manage.py", "check", "--database", "default", "--fail-level", "WARNING")
    assert "No changes" in shop.run("manage.py", "makemigrations", "--check", "--dry-run")

    user = "from django.contrib.auth.models import User; User.objects.create_superuser('ann')"
    shop.shell(user)
    words = ("create_api_token", "ann", "--name", "ci", "--scope", "read", "--scope", "write")
    answer = shop.shell(ASK % shop.run("manage.py", *words).strip()).split()

    address = "http://localhost/scheduler/api/v1/scheduled-tasks/1/"
    assert answer[:6] == ["201", address, "By", "the", "API", "200"]
    assert "/scheduler/api/v1/scheduled-tasks/{id}/run/" in answer
    assert [path for path in answer[6:] if not path.startswith("/scheduler/api/v1/")] == []
