"""A pytest plugin that provides the database, the broker and the settings of a test run.

Loaded by `-p` (pyproject.toml), because Django reads its settings before the first conftest.py.
Nothing of the machine's environment or of a `.env` reaches the tests. By default they run on a
PostgreSQL and a Valkey of their own. To run them elsewhere:

    TEST_DATABASE_URL   postgres://…, mysql://… or sqlite://; a database of its own is created
    TEST_BROKER_URL     redis://… (an empty database number is taken) or amqp://… (a vhost is made)

What the run creates it removes, also after Ctrl-C or SIGTERM.
"""

import atexit
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.servers import Postgres, Valkey

RUN_ID = f"{os.getpid()}_{secrets.token_hex(3)}"
OWNER_KEY = "minutehand-tests:owner"  # marks a Redis database as taken by a test run

SETTINGS = {
    "ENV_FILE": os.devnull,  # a developer's .env must not decide what the tests see
    "DJANGO_SETTINGS_MODULE": "project.settings",
    "SECRET_KEY": "only-for-tests-" + "x" * 40,
    "DEBUG": "false",
    "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
    "SECURE_COOKIES": "false",
    "EXTRA_APPS": "tests.integration.tasks_app",
    "TIME_ZONE": "UTC",
    "LANGUAGE_CODE": "en",
    "LOG_LEVEL": "INFO",
}
FOREIGN = ("CSRF_TRUSTED_ORIGINS", "REDIS_URL", "SECURE_SSL_REDIRECT", "SECURE_HSTS_SECONDS")
FOREIGN += ("EMAIL_URL", "DEFAULT_FROM_EMAIL", "SITE_URL")
FOREIGN += ("BEHIND_PROXY", "ADMIN_PASSWORD", "DJANGO_ALLOW_ASYNC_UNSAFE")

_undo: list[Callable[[], object]] = []
_owner: int | None = None  # the process that prepared; a fork of it uses what it finds


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config):
    options = early_config.known_args_namespace
    if not (options.help or options.version):
        prepare()
        early_config.add_cleanup(release)
    return (yield)


def pytest_report_header() -> list[str]:
    where = {
        name: urlsplit(os.environ.get(name, "")) for name in ("DATABASE_URL", "CELERY_BROKER_URL")
    }
    return [f"{name}: {url.scheme} on {url.hostname}:{url.port}" for name, url in where.items()]


def prepare() -> None:
    """Sets the environment that `project.settings` reads, starting servers where none is named."""
    global _owner
    if _owner is not None:
        return
    _owner = os.getpid()
    atexit.register(release)
    signal.signal(signal.SIGTERM, _interrupt)  # or a SIGTERM would leave the servers' data behind
    for name in [*os.environ]:
        if name.startswith("SCHEDULER_") or name in FOREIGN:
            del os.environ[name]
    os.environ.update(SETTINGS)
    try:
        os.environ["DATABASE_URL"] = _database(os.environ.get("TEST_DATABASE_URL"))
        os.environ["CELERY_BROKER_URL"] = _broker(os.environ.get("TEST_BROKER_URL"))
    except BaseException:
        release()
        raise


def release() -> None:
    """Removes what `prepare` made; safe to call twice, and in a fork."""
    while _undo and os.getpid() == _owner:
        _undo.pop()()


def _interrupt(signum: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # make passes it on too; once is enough
    raise KeyboardInterrupt


def _database(wanted: str | None) -> str:
    """A URL whose name is ours alone; pytest-django creates and drops `test_<name>`."""
    if not wanted:
        server = Postgres()
        _undo.append(server.close)
        wanted = server.start().url
    if wanted.startswith("sqlite"):
        directory = tempfile.mkdtemp(prefix="minutehand-")
        _undo.append(lambda: shutil.rmtree(directory, ignore_errors=True))
        return f"sqlite:///{Path(directory) / 'db.sqlite3'}"
    return urlsplit(wanted)._replace(path=f"/minutehand_{RUN_ID}").geturl()


def _broker(wanted: str | None) -> str:
    if not wanted:
        server = Valkey()
        _undo.append(server.close)
        return server.start().url
    if wanted.startswith("amqp"):
        return _own_vhost(wanted)
    return _own_redis_database(wanted)


def _own_redis_database(wanted: str) -> str:
    """The first empty database number from 1 on, marked as ours."""
    import redis

    for number in range(1, 16):
        url = urlsplit(wanted)._replace(path=f"/{number}").geturl()
        client = redis.Redis.from_url(url)
        if client.dbsize() == 0 and client.set(OWNER_KEY, RUN_ID, nx=True):
            _undo.append(client.close)
            _undo.append(client.flushdb)  # first: they are undone from the last to the first
            return url
        client.close()
    raise RuntimeError(
        f"Databases 1 to 15 of {urlsplit(wanted).hostname} all hold keys. Empty one that you do "
        f"not need (a run that was killed leaves the key {OWNER_KEY}), or unset TEST_BROKER_URL."
    )


def _own_vhost(wanted: str) -> str:
    url = urlsplit(wanted)
    vhost = f"minutehand_{RUN_ID}"
    _rabbitmqctl("add_vhost", vhost)
    _undo.append(lambda: _rabbitmqctl("delete_vhost", vhost))
    _rabbitmqctl("set_permissions", "--vhost", vhost, url.username or "guest", ".*", ".*", ".*")
    return url._replace(path=f"/{vhost}").geturl()


def _rabbitmqctl(*words: str) -> None:
    program = shutil.which("rabbitmqctl")
    if program is None:
        raise RuntimeError("TEST_BROKER_URL=amqp://… needs rabbitmqctl, to make a vhost.")
    done = subprocess.run([program, "--quiet", *words], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(f"rabbitmqctl {words[0]} failed: {done.stdout}{done.stderr}")
