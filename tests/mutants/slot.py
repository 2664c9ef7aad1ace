"""A place where mutants are tried: a copy of the tree, servers, and an interpreter that forks.

Run as `python -m tests.mutants.slot` in the copy. Reads a job a line from standard input and
answers with a line: {"module", "text", "tests", "seconds"} -> {"noticed", "by", "seconds"}.
"""

import contextlib
import gc
import importlib
import json
import os
import re
import resource
import signal
import sys
import time
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from tests import environment

#: What every run of the suite imports and no mutant changes: imported once, before the forks.
LIBRARIES = (
    "pytest", "hypothesis", "hypothesis.strategies", "time_machine",
    "celery.app.base", "celery.app.amqp", "celery.app.task", "celery.worker.request", "celery.beat",
    "celery.worker.consumer", "celery.worker.strategy", "kombu.transport.redis", "kombu.pools",
    "kombu.transport.pyamqp", "redis", "amqp", "psycopg", "croniter", "zoneinfo", "uuid_utils",
    "django.db.models", "django.forms", "django.template", "django.views.generic", "django.test",
    "django.db.backends.postgresql.base", "tablib", "billiard.pool", "prometheus_client",
)  # fmt: skip

#: What a mutant may take (bytes) before it is ended: one that never stops appending.
MEMORY = 4 * 1024**3

FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
LOG = Path("mutant.log")


def main() -> None:
    sys.dont_write_bytecode = True  # a mutant's would outlive it
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    environment.prepare()
    for name in (*LIBRARIES, *(plugin.module for plugin in entry_points(group="pytest11"))):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # what is there by now, no fork needs to look through
    fresh = True  # whether the next run makes the database anew
    for line in sys.stdin:
        job = json.loads(line)
        answer = try_one(job, "--create-db" if fresh else "--reuse-db")
        fresh = answer.pop("unclean")
        print(json.dumps(answer), flush=True)


def try_one(job: dict[str, Any], database: str) -> dict[str, Any]:
    """Run the tests against the module's changed text. One that hangs is noticed, too."""
    module = Path(job["module"])
    real = module.read_text()
    module.write_text(job["text"])
    began = time.monotonic()
    try:
        code = _in_a_fork([*job["tests"], database], job["seconds"])
    finally:
        module.write_text(real)
    found = FAILED.search(LOG.read_text(errors="replace"))
    by = "time" if code is None else found[1] if found else f"exit code {code}"
    return {
        "noticed": code != 0,
        "by": by if code != 0 else "",
        "seconds": time.monotonic() - began,
        "unclean": code not in (0, 1),
    }


def _in_a_fork(arguments: list[str], seconds: float) -> int | None:
    """pytest's exit code; None if it took longer."""
    child = os.fork()
    if child == 0:
        os.setpgrp()
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (0, 1, 2):
            os.dup2(log if stream else os.open(os.devnull, os.O_RDONLY), stream)
        try:
            import pytest

            options = ["-x", "-q", "--tb=line", "--assert=plain", "-p", "no:cacheprovider"]
            options += ["-m", "not slow and not browser"]
            code = int(pytest.main([*options, *arguments]))
            sys.stdout.flush()
            os._exit(code)
        except BaseException:
            traceback.print_exc()
            os._exit(99)
    try:
        return _wait(child, time.monotonic() + seconds)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)  # and what it started


def _wait(child: int, until: float) -> int | None:
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # the command has had all its answers
        main()
