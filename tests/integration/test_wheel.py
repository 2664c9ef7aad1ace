"""The wheel, as a stranger gets it: built, looked at, installed from the package index into a fresh
virtual environment, with no extra and with each; and there it runs a job."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from packaging.requirements import Requirement

import dispatcher
from dispatcher.extras import MODULES
from tests.integration.harness import ROOT
from tests.servers import family, launch

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

SETTINGS = """
import json, os
locals().update(json.loads(os.environ["SITE"]))
SECRET_KEY, ALLOWED_HOSTS, USE_TZ, ROOT_URLCONF = "x" * 50, ["*"], True, "site_urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
if os.environ["MYSQL"]:
    import pymysql
    pymysql.install_as_MySQLdb()
"""
URLS = """
from django.apps import apps
from django.urls import include, path
urlpatterns = [path("", include("dispatcher.urls"))]
if apps.is_installed("dispatcher.api"):
    urlpatterns.append(path("api/", include("dispatcher.api.urls")))
"""
CELERY = """
import os
import dispatcher
from celery import Celery
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
app = Celery("site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
dispatcher.install(app)
"""
JOBS = """
from celery import shared_task

@shared_task
def add(a, b):
    return a + b
"""
RUN = """
import json, time
import site_celery, django
django.setup()
import dispatcher
from django.core.management import call_command
from django.test import Client
from dispatcher.models import TaskRun
from jobs.tasks import add
from scheduling.models import ScheduledTask

call_command("check")
made = ScheduledTask.objects.create_interval("Add", add, 3600, args=[2, 3])
run, end = dispatcher.run_now(made), time.monotonic() + 40
while (found := TaskRun.objects.get(pk=run.pk)).status != "succeeded" and time.monotonic() < end:
    time.sleep(0.1)
found = [found.status, found.result]
get = Client(headers={"accept": "application/json"}).get
pages = {}
for page in ("/healthz", "/metrics", "/api/schema/"):
    answer = get(page)
    pages[page] = [answer.status_code, answer.content.decode()]
try:
    import dispatcher.api
    api = ""
except Exception as error:
    api = str(error)
print(json.dumps({"run": found, "pages": pages, "api": api, "version": dispatcher.__version__}))
"""
CORE = ["django.contrib.auth", "django.contrib.contenttypes", "scheduling", "dispatcher", "jobs"]
FACES = {
    "api": ["dispatcher.api", "rest_framework", "django_filters", "drf_spectacular"],
    "exchange": ["import_export"],
}


def tool(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that is made from it."""
    folder = tmp_path_factory.mktemp("dist")
    tool("build", "--outdir", str(folder), ".")
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as files:
        name = next(n for n in files.namelist() if n.endswith("/METADATA"))
        return message_from_bytes(files.read(name))


# What is in it ------------------------------------------------------------------------------------


def test_the_tools_of_the_package_index_accept_it(built: Path, wheel: Path) -> None:
    assert "PASSED" in tool("twine", "check", "--strict", *map(str, built.iterdir()))
    assert "OK" in tool("check_wheel_contents", str(wheel))


def test_it_holds_the_two_apps_whole_and_nothing_else(built: Path, wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "scheduling", "dispatcher"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    with zipfile.ZipFile(wheel) as files:
        found = {name for name in files.namelist() if ".dist-info/" not in name}

    assert found == {name for name in tracked.stdout.split() if (ROOT / name).exists()}
    assert {"scheduling/py.typed", "dispatcher/py.typed"} <= found
    with tarfile.open(next(built.glob("*.tar.gz"))) as source:
        assert any(name.endswith("/README.md") for name in source.getnames())


def test_its_version_is_said_in_one_place(metadata: Message) -> None:
    assert metadata["Version"] == dispatcher.__version__
    assert "version" not in PROJECT


def test_every_address_in_its_description_is_whole(metadata: Message) -> None:
    targets = re.findall(r"\]\(([^)]+)\)", str(metadata.get_payload()))

    assert sum(t.endswith(".png") for t in targets) > 3
    assert [t for t in targets if not t.startswith(("https://", "#"))] == []


def test_it_sets_no_upper_bound_and_each_extra_has_its_sentence() -> None:
    every = [*PROJECT["dependencies"], *(p for extra in EXTRAS.values() for p in extra)]

    assert [p for p in every if "<" in p or "==" in p] == []
    assert set(EXTRAS) == {"redis", "postgres", "mysql", "api", "exchange", "metrics", "all"}
    assert set(MODULES) <= set(EXTRAS)


def test_what_the_site_of_this_repository_runs_on_is_within_the_ranges_of_the_wheel() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    site = {r.name.lower(): r for r in map(Requirement, filter(None, map(uncommented, lines)))}
    for wanted in map(Requirement, [*PROJECT["dependencies"], *EXTRAS["api"], *EXTRAS["metrics"]]):
        lowest = next(s.version for s in site[wanted.name.lower()].specifier if s.operator == ">=")
        assert lowest in wanted.specifier, wanted


def uncommented(line: str) -> str:
    return line.partition("#")[0].strip()


# Installed ----------------------------------------------------------------------------------------


class Stranger:
    """A project that has the wheel and nothing else of ours."""

    def __init__(self, folder: Path, wheel: Path, extra: str) -> None:
        self.folder, self.extra, self.worker = folder, extra, None
        venv.create(folder / "venv", with_pip=True)
        self.python = str(folder / "venv/bin/python")
        wanted = f"{wheel}[{extra}]" if extra else str(wheel)
        self.environment = {n: v for n, v in os.environ.items() if n.startswith(("PIP_", "PATH"))}
        self.environment |= {n: os.environ[n] for n in ("HOME", "LANG") if n in os.environ}
        self.run("-m", "pip", "install", "--quiet", wanted, timeout=400)
        for name, text in {
            "site_settings.py": SETTINGS,
            "site_urls.py": URLS,
            "site_celery.py": CELERY,
            "go.py": RUN,
            "jobs/__init__.py": "",
            "jobs/tasks.py": JOBS,
        }.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)

    def set_up(self, broker: dict[str, Any], database: dict[str, Any]) -> None:
        every = FACES if self.extra == "all" else {self.extra: FACES.get(self.extra, [])}
        apps = CORE + [app for face in every.values() for app in face]
        site = {"INSTALLED_APPS": apps, "DATABASES": {"default": database}, **broker}
        mysql = "1" if database["ENGINE"].endswith("mysql") else ""
        self.environment |= {"SITE": json.dumps(site), "MYSQL": mysql}
        self.environment["DJANGO_SETTINGS_MODULE"] = "site_settings"

    def run(self, *words: str, timeout: float = 90) -> str:
        done = subprocess.run(
            [self.python, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        log = self.folder / "log"
        assert done.returncode == 0, (
            done.stdout + done.stderr + (log.read_text() if log.exists() else "")
        )
        return done.stdout

    def start_worker(self) -> None:
        words = [self.python, "-m", "celery", "-A", "site_celery", "worker", "--pool", "threads"]
        with (self.folder / "log").open("wb") as log:
            options = {"cwd": self.folder, "env": self.environment}
            words += ["--concurrency", "1", "--loglevel", "INFO"]
            self.worker = launch(words, stdout=log, stderr=subprocess.STDOUT, **options)

    def close(self) -> None:
        if self.worker is not None:
            for member in family(self.worker.pid):
                member.kill()
            self.worker.wait()


@pytest.fixture
def stranger(request: pytest.FixtureRequest, tmp_path: Path, wheel: Path) -> Iterator[Stranger]:
    stranger = Stranger(tmp_path, wheel, request.param)
    yield stranger
    stranger.close()


def broker_of(stranger: Stranger, url: str) -> dict[str, Any]:
    """The test run's own where its client is installed; else a folder, which needs none."""
    if url.startswith("amqp") or stranger.extra in ("redis", "all"):
        return {"CELERY_BROKER_URL": url}
    place = stranger.folder / "broker"
    place.mkdir()
    folders = dict.fromkeys(("data_folder_in", "data_folder_out", "control_folder"), str(place))
    return {"CELERY_BROKER_URL": "filesystem://", "CELERY_BROKER_TRANSPORT_OPTIONS": folders}


def database_of(stranger: Stranger, database: dict[str, Any]) -> dict[str, Any]:
    drivers = {"postgresql": "postgres", "mysql": "mysql"}
    if stranger.extra in ("all", drivers.get(connection.vendor)):
        if connection.vendor != "mysql":
            return database
        options = {"isolation_level": "read committed", "charset": "utf8mb4"}
        return database | {"OPTIONS": options}
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(stranger.folder / "db.sqlite3")}


@pytest.mark.sampled(8)
@pytest.mark.parametrize("stranger", ["", *EXTRAS], ids=["no extra", *EXTRAS], indirect=True)
def test_it_runs_a_job_where_nothing_else_is_installed(
    stranger: Stranger, empty_queues: str, database: dict[str, Any]
) -> None:
    stranger.set_up(broker_of(stranger, empty_queues), database_of(stranger, database))
    stranger.run("-m", "django", "migrate", "-v", "0")
    stranger.start_worker()
    found = json.loads(stranger.run("go.py").splitlines()[-1])

    assert found["run"] == ["succeeded", 5], (stranger.folder / "log").read_text()
    assert found["version"] == dispatcher.__version__
    assert found["pages"]["/healthz"][0] == 503  # no beat, so no tick; but an answer
    sees = {extra: stranger.extra in (extra, "all") for extra in EXTRAS}
    metrics, api = found["pages"]["/metrics"], found["pages"]["/api/schema/"]
    assert metrics[0] == (200 if sees["metrics"] else 501)
    assert ('pip install "minutehand[metrics]"' in metrics[1]) is not sees["metrics"]
    assert api[0] == (200 if sees["api"] else 404)
    assert ('pip install "minutehand[api]"' in found["api"]) is not sees["api"]
