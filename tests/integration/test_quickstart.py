"""`make run` in a fresh checkout, without its installation of packages."""

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from project import quickstart
from tests.integration.harness import ROOT
from tests.servers import family, launch, signal_all

SUCCEEDED = {"Heartbeat, every 5 seconds", "Add, every minute", "Report, once"}
FAILED = {"Import orders, fails every minute"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what `make run` needs, without .env and data."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("project", "scheduling", "dispatcher"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    for name in ("manage.py", "Procfile"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.fixture
def run(checkout: Path) -> Iterator:
    started: list[subprocess.Popen] = []

    def start() -> tuple[subprocess.Popen, Path]:
        """`make run`'s process, which leads a process group, and the file of its output."""
        needed = ("PATH", "HOME", "LANG", "SYSTEMROOT", "TMPDIR")
        env = {name: os.environ[name] for name in needed if name in os.environ}
        output = checkout / f"output{len(started)}"
        with output.open("wb") as file:
            process = launch(
                [sys.executable, "-m", "project.quickstart"],
                cwd=checkout,
                env=env,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        started.append(process)
        return process, output

    yield start
    for process in started:
        signal_all(family(process.pid), signal.SIGKILL)
        process.wait()


def wait_for(condition, timeout: float, output: Path):
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, output.read_text()[-8000:]
        time.sleep(0.2)
    return value


def names(checkout: Path, status: str) -> set[str]:
    with sqlite3.connect(f"file:{checkout / 'db.sqlite3'}?mode=ro", uri=True) as database:
        query = "SELECT name, traceback FROM dispatcher_taskrun WHERE status = ?"
        rows = database.execute(query, [status]).fetchall()
    assert status != "failed" or all("Traceback" in traceback for _, traceback in rows)
    return {name for name, _ in rows}


def end(process: subprocess.Popen, signum: int) -> list[psutil.Process]:
    """Signals the process group, as a terminal does; returns what is left of the family."""
    members = family(process.pid)
    os.killpg(process.pid, signum)
    assert process.wait(timeout=30) == 0
    _, alive = psutil.wait_procs(members, timeout=0.5)
    return alive


@pytest.mark.slow
def test_from_nothing_to_runs_of_every_kind_and_back(run, checkout: Path) -> None:
    process, output = run()
    url = wait_for(lambda: re.search(r"http://127\S+/admin/", output.read_text()), 60, output)[0]
    wait_for(lambda: "run        |" in output.read_text(), 30, output)
    assert urllib.request.urlopen(url, timeout=10).status == 200
    assert re.search(r"user admin, password \w{14}\n", output.read_text())

    wait_for(lambda: names(checkout, "succeeded") >= SUCCEEDED, 90, output)
    wait_for(lambda: names(checkout, "failed") >= FAILED, 90, output)
    assert end(process, signal.SIGINT) == []

    before = (checkout / ".env").read_text()
    process, output = run()
    wait_for(lambda: "run        |" in output.read_text(), 60, output)
    assert "Created examples" not in output.read_text()
    assert "changepassword admin" in output.read_text()
    assert (checkout / ".env").read_text() == before
    assert names(checkout, "succeeded") >= SUCCEEDED
    assert end(process, signal.SIGTERM) == []


@pytest.mark.sampled(2)
def test_a_signal_while_it_starts_leaves_no_process(run) -> None:
    for moment in ("Preparing", "Starting gunicorn", " ready."):
        process, output = run()
        wait_for(lambda o=output, m=moment: m in o.read_text(), 60, output)
        assert end(process, signal.SIGINT) == [], moment


def test_a_signal_that_python_swallows_is_heard_all_the_same(monkeypatch) -> None:
    """What a signal's handler raises inside a finalizer goes no further."""
    monkeypatch.setattr(quickstart, "told", [])
    quickstart.stop_if_told()

    with contextlib.suppress(KeyboardInterrupt):
        quickstart.interrupt(signal.SIGINT, None)

    with pytest.raises(KeyboardInterrupt):
        quickstart.stop_if_told()
