"""The services of one benchmark run: a database and a Redis number of its own, removed afterwards.

Taken from the environment (`DATABASE_URL`, `CELERY_BROKER_URL`), else from this machine's usual
ports, else started from the wheels of the tests.
"""

import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis
from psycopg.sql import SQL, Composed, Identifier

LOCAL_POSTGRES = "postgres://postgres@127.0.0.1:5432/postgres"
LOCAL_REDIS = "redis://127.0.0.1:6379/0"
#: Marks a Redis database as taken by a run that is under way.
OWNER_KEY = "minutehand-benchmark:owner"
NUMBERS = range(10, 16)


@contextlib.contextmanager
def database(name: str) -> Iterator[str]:
    """The URL of a new, empty PostgreSQL database `minutehand_bench_<name>_<pid>`."""
    full = f"minutehand_bench_{name}_{os.getpid()}"
    with _postgres() as server:
        _execute(server, SQL("CREATE DATABASE {}").format(Identifier(full)))
        try:
            yield urlsplit(server)._replace(path=f"/{full}").geturl()
        finally:
            _execute(
                server, SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(full))
            )


@contextlib.contextmanager
def broker() -> Iterator[str]:
    """The URL of a Redis database that was empty, and is again when the run is over."""
    with _redis() as server:
        url, client = _empty(server)
        try:
            yield url
        finally:
            client.flushdb()
            client.close()


def forget_messages(url: str) -> None:
    """Leave nothing in the run's Redis database but its mark."""
    with redis.Redis.from_url(url) as client:
        keys = [key for key in client.scan_iter() if key != OWNER_KEY.encode()]
        if keys:
            client.delete(*keys)


def messages(url: str) -> int:
    """How many messages wait in all queues: the lists of the database."""
    with redis.Redis.from_url(url) as client:
        return sum(client.llen(key) for key in client.scan_iter(_type="list"))


def answer(words: Iterable[object], database: str, broker: str, **environment: str) -> Any:
    """What a fresh process says in its last line, JSON; with settings as in production."""
    command = [sys.executable, "-m", *map(str, words)]
    env = environment_of(database, broker) | environment
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[2:])} failed")
    return json.loads(done.stdout.splitlines()[-1])


def environment_of(database: str, broker: str) -> dict[str, str]:
    """The environment of a process that is measured."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "ENV_FILE": os.devnull,
        "SECRET_KEY": "only-for-the-benchmark",
        "DATABASE_URL": database,
        "CELERY_BROKER_URL": broker,
        "LOG_LEVEL": "WARNING",
    }


def peak_mb() -> float:
    """The most memory that this process has held (resident)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def machine(database: str, broker: str, packages: tuple[str, ...]) -> dict[str, Any]:
    """What every report begins with. Of the packages those that are installed: another product is
    there only where it is measured, too."""
    found = {}
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processors": os.cpu_count(),
        "system": platform.platform(terse=True),
        "Python": platform.python_version(),
        **versions(database, broker),
        **found,
        "load average before": round(os.getloadavg()[0], 2),
    }


def versions(database_url: str, broker_url: str) -> dict[str, str]:
    """What measures depend on: the versions, and whether commits are flushed to disk."""
    with psycopg.connect(database_url) as connection:
        postgres = connection.execute("SHOW server_version").fetchone()[0].split()[0]
        fsync = connection.execute("SHOW fsync").fetchone()[0]
    with redis.Redis.from_url(broker_url) as client:
        version = client.info("server")["redis_version"]
    return {"PostgreSQL": f"{postgres} (fsync {fsync})", "Redis": version}


def _execute(server: str, statement: Composed) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement)


@contextlib.contextmanager
def _postgres() -> Iterator[str]:
    url = os.environ.get("DATABASE_URL")
    if url and not url.startswith("postgres"):
        raise SystemExit(f"The benchmark needs PostgreSQL, and DATABASE_URL is {url.split(':')[0]}")
    if url or _answers(lambda: psycopg.connect(LOCAL_POSTGRES, connect_timeout=2).close()):
        yield url or LOCAL_POSTGRES
        return
    from tests.servers import Postgres

    with contextlib.closing(Postgres()) as server:
        yield server.start().url


@contextlib.contextmanager
def _redis() -> Iterator[str]:
    url = os.environ.get("CELERY_BROKER_URL")
    if url or _answers(lambda: redis.Redis.from_url(LOCAL_REDIS).ping()):
        yield url or LOCAL_REDIS
        return
    from tests.servers import Valkey

    with contextlib.closing(Valkey()) as server:
        yield server.start().url


def _answers(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except (psycopg.OperationalError, redis.ConnectionError):
        return False
    return True


def _empty(server: str) -> tuple[str, redis.Redis]:
    for number in NUMBERS:
        url = urlsplit(server)._replace(path=f"/{number}").geturl()
        client = redis.Redis.from_url(url)
        if client.dbsize() == 0 and client.set(OWNER_KEY, os.getpid(), nx=True):
            return url, client
        client.close()
    raise SystemExit(
        f"The Redis databases {NUMBERS[0]} to {NUMBERS[-1]} all hold keys; empty one that you do "
        f"not need (a run that was killed leaves the key {OWNER_KEY})."
    )
