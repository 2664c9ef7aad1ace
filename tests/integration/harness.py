"""Real processes for the tests: what the Procfile runs, on the test run's database and broker."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import psutil
from amqp.exceptions import NotFound

from tests.environment import OWNER_KEY, RUN_ID
from tests.servers import family, launch, signal_all

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 60  # seconds until a process says that it is ready
READY = {
    "beat": "beat: Starting...",
    "dispatcher": " ready.",
    "worker": " ready.",
    "web": "Booting worker with pid",
}

T = TypeVar("T")


@dataclass(frozen=True)
class Execution:
    """One line of the record that the tasks of tasks_app keep (time in seconds since 1970)."""

    key: str
    time: float
    pid: int
    more: dict


class Process:
    """A started Procfile process, with its log."""

    def __init__(self, name: str, command: list[str], env: dict[str, str], log_path: Path) -> None:
        self.name, self.log_path = name, log_path
        with log_path.open("wb") as log:
            self.popen = launch(command, stdout=log, stderr=subprocess.STDOUT, env=env, cwd=ROOT)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    @property
    def returncode(self) -> int | None:
        return self.popen.poll()

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def children(self) -> list[psutil.Process]:
        """The pool's processes (prefork), and theirs."""
        return family(self.pid)[1:] if self.running else []

    def stop(self, signum: int = signal.SIGTERM, timeout: float = 30) -> int:
        """Sends one signal to the main process and waits; returns the exit code."""
        if self.running:
            self.popen.send_signal(signum)
        return self.wait(timeout)

    def wait(self, timeout: float = 30) -> int:
        """Waits for its end; AssertionError with the log if it does not come."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} did not end in {timeout} s:\n{self.tail()}"
            ) from None

    def kill(self, *, children: bool = True) -> None:
        """SIGKILL, to the pool's processes too unless `children=False`; waits until it is over."""
        victims = family(self.pid) if children else family(self.pid)[:1]
        signal_all(victims, signal.SIGKILL)
        self.popen.wait()
        psutil.wait_procs(victims, timeout=10)

    def freeze(self) -> None:
        """SIGSTOP to the whole family: a paused virtual machine."""
        signal_all(family(self.pid), signal.SIGSTOP)

    def thaw(self) -> None:
        signal_all(family(self.pid), signal.SIGCONT)

    def tail(self, lines: int = 60) -> str:
        return f"--- {self.log_path.name}\n" + "\n".join(self.log.splitlines()[-lines:])


class Stack:
    """Starts processes, waits for conditions, counts executions; ends everything in `close`."""

    def __init__(self, directory: Path, database_url: str, broker_url: str) -> None:
        self.directory = directory
        self.database_url, self.broker_url = database_url, broker_url
        self.record_path = directory / "record"
        self.processes: list[Process] = []

    def start(
        self,
        name: str,
        *,
        pool: str | None = None,
        concurrency: int | None = None,
        queues: str | None = None,
        hostname: str | None = None,
        env: dict[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        wait: bool = True,
    ) -> Process:
        """Starts a process of the Procfile; waits until it is ready.

        Of two equal options Celery takes the last, so the arguments here win over the Procfile's.
        """
        number = len(self.processes) + 1
        words = [*procfile(name, env), *arguments]
        if name in ("dispatcher", "worker"):
            if name == "worker":
                concurrency = concurrency or 2
            words += ["--hostname", hostname or f"{name}{number}-{RUN_ID}@%h"]
            options = {"--pool": pool, "--concurrency": concurrency, "--queues": queues}
            words += [str(w) for pair in options.items() if pair[1] is not None for w in pair]
        process = self.run(name, words, env=env)
        if wait:
            self.wait_until(
                lambda: READY[name] in process.log or not process.running,
                START_TIMEOUT,
                f"{name} to be ready",
            )
            assert process.running, f"{name} ended at once:\n{process.tail()}"
        return process

    def run(self, name: str, words: list[str], *, env: dict[str, str] | None = None) -> Process:
        """Starts any command of the project (celery, gunicorn, manage.py)."""
        log_path = self.directory / f"{len(self.processes) + 1}-{name}.log"
        command = [words[0]] if words[0].endswith(".py") else ["-m", words[0]]
        process = Process(
            name,
            [sys.executable, *command, *words[1:]],
            {**self.environment, **(env or {})},
            log_path,
        )
        self.processes.append(process)
        return process

    def manage(self, *words: str, env: dict[str, str] | None = None, timeout: float = 60) -> str:
        """Runs `manage.py …` to its end and returns what it printed; AssertionError if it fails."""
        process = self.run(words[0], ["manage.py", *words], env=env)
        assert process.wait(timeout) == 0, process.tail()
        return process.log

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DATABASE_URL": self.database_url,
            "CELERY_BROKER_URL": self.broker_url,
            "TEST_RECORD_FILE": str(self.record_path),
            "PYTHONUNBUFFERED": "1",
        }

    def wait_until(
        self, condition: Callable[[], T], timeout: float = 30, message: str = "", poll: float = 0.05
    ) -> T:
        """The first true value of `condition()`; AssertionError with the logs after `timeout`."""
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            if time.monotonic() > deadline:
                what = message or getattr(condition, "__name__", "the condition")
                raise AssertionError(f"waited {timeout} s for {what}\n{self.logs()}")
            time.sleep(poll)
        return value

    def executions(self, key: str | None = None) -> list[Execution]:
        """What the tasks of tasks_app noted themselves, oldest first."""
        if not self.record_path.exists():
            return []
        # A task that is killed while it writes may leave half a line: it has not run to there.
        lines = self.record_path.read_text().splitlines(keepends=True)
        notes = [json.loads(line) for line in lines if line.endswith("\n")]
        found = [Execution(n.pop("key"), n.pop("time"), n.pop("pid"), n) for n in notes]
        return [execution for execution in found if key in (None, execution.key)]

    def logs(self) -> str:
        return "\n".join(process.tail() for process in self.processes)

    def close(self) -> None:
        """SIGKILL to all that still runs, by pid."""
        families = [member for process in self.processes for member in family(process.pid)]
        signal_all(families, signal.SIGKILL)
        for process in self.processes:
            process.popen.wait()
        psutil.wait_procs(families, timeout=10)


def procfile(name: str, env: dict[str, str] | None = None) -> list[str]:
    """The words of one line of the Procfile, with `${NAME:-default}` filled in from `env`."""
    lines = dict(
        line.split(":", 1) for line in (ROOT / "Procfile").read_text().splitlines() if line
    )
    filled = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: (env or {}).get(m[1], m[2]), lines[name])
    return shlex.split(filled)


def test_database_url() -> str:
    """The URL of the database that pytest-django made, for other processes."""
    from django.db import connection

    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


test_database_url.__test__ = False  # not a test, whatever its name


def empty_broker(url: str) -> None:
    """Removes every message, whoever's queue it is in: the database number or vhost is ours."""
    if url.startswith("redis"):
        import redis

        with redis.Redis.from_url(url) as client:
            keys = [key for key in client.scan_iter(count=1000) if key != OWNER_KEY.encode()]
            if keys:
                client.delete(*keys)
        return
    from project.celery import app

    with app.connection_for_write() as connection:
        for queue in QUEUES:
            # Not deleted: this process remembers the queues that it has declared, and a message
            # to one that is gone would be dropped without a word.
            with contextlib.suppress(NotFound), connection.channel() as channel:
                channel.queue_purge(queue)


QUEUES = ("celery", "dispatcher", "other", "slow", "quick")  # those that tests may use on RabbitMQ
