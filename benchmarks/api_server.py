"""What the benchmark of the API asks: gunicorn as the Procfile starts it, rows, and a token."""

import argparse
import contextlib
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
READY = 60  # seconds in which the server has to answer


def prepare(options: argparse.Namespace, database: str, broker: str) -> str:
    """Fill the database; the secret of a token that may do everything."""
    os.environ.update(environment(database, broker))
    import django

    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    from benchmarks import api_rows

    api_rows.fill(options.tasks, options.runs)
    get_user_model().objects.create_superuser("bench")
    words = [word for scope in ("read", "run", "write") for word in ("--scope", scope)]
    path = options.directory / "token"
    with path.open("w") as out:
        call_command("create_api_token", "bench", "--name", "bench", *words, stdout=out)
    return path.read_text().strip()


def environment(database: str, broker: str) -> dict[str, str]:
    """Settings as in production, on loopback without https, and without a limit on requests."""
    return {
        "ENV_FILE": os.devnull,
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "SECRET_KEY": "only-for-the-benchmark",
        "ALLOWED_HOSTS": "127.0.0.1",
        "SECURE_COOKIES": "false",
        "DATABASE_URL": database,
        "CELERY_BROKER_URL": broker,
        "LOG_LEVEL": "WARNING",
        "SCHEDULER_API_READS_PER_MINUTE": "0",
        "SCHEDULER_API_CHANGES_PER_MINUTE": "0",
    }


@contextlib.contextmanager
def server(directory: Path) -> Iterator[str]:
    """The address of gunicorn, started by the words of the Procfile."""
    from tests.servers import free_port

    port = free_port()
    line = next(x for x in (ROOT / "Procfile").read_text().splitlines() if x.startswith("web:"))
    filled = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: {"PORT": str(port)}.get(m[1], m[2]), line)
    words = [sys.executable, "-m", *shlex.split(filled.removeprefix("web:"))]
    with (directory / "web.log").open("wb") as log:
        web = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/api/v1/tasks/", web, directory)
        yield address
    finally:
        web.terminate()
        web.wait(30)


def _wait_for(address: str, web: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + READY
    while web.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(address, timeout=READY)
        except urllib.error.HTTPError:
            return  # it asks for a token
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"gunicorn does not answer:\n{(directory / 'web.log').read_text()}")
