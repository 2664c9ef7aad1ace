"""`make run`: from an empty checkout to a running Minutehand, on this machine only.

1. `.env` with a secret key and the relaxations that http on loopback needs, if there is none.
2. A Valkey from a wheel, if no broker is named; SQLite, if no database is named.
3. Migrations, static files, an admin user, example tasks.
4. The processes of the Procfile, until Ctrl-C. The data stays for the next run.

What the environment already says is respected: DATABASE_URL, CELERY_BROKER_URL or REDIS_URL, PORT,
HOST, ADMIN_PASSWORD and all other settings.
"""

import contextlib
import fcntl
import os
import secrets
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import environ

from project.broker import broker, is_free
from project.processes import STOP_SIGNALS, Processes

BASE_DIR = Path(__file__).resolve().parent.parent
RUN_DIR = BASE_DIR / ".run"
ENV_FILE = """\
# Written by `make run`, for this machine: plain http on loopback, with examples.
# Not for production: there, set what .env.example lists.
SECRET_KEY={secret_key}
DEBUG=false
ALLOWED_HOSTS=localhost,127.0.0.1
SECURE_COOKIES=false
EXTRA_APPS=project.demo
"""

#: The signals that came while everything was set up.
told: list[int] = []


def main() -> int:
    RUN_DIR.mkdir(exist_ok=True)
    for signum in STOP_SIGNALS:
        signal.signal(signum, interrupt)
    try:
        with only_one():
            return run()
    except KeyboardInterrupt:
        print("\nStopped.", flush=True)
        return 0


def run() -> int:
    write_env_file()
    with broker(RUN_DIR / "valkey") as broker_url:
        if broker_url:
            os.environ["CELERY_BROKER_URL"] = broker_url
        login = prepare()
        stop_if_told()
        port = os.environ["PORT"] = str(free_port(int(os.environ.get("PORT", "8000"))))
        host = os.environ.setdefault("HOST", "127.0.0.1")
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        url = f"http://{shown}:{port}/admin/"
        text = banner(url, login, broker_url)
        print(text, flush=True)
        return run_processes(url, text)


def interrupt(signum: int, frame: object) -> None:
    """While setting up, every way of being told to stop is a Ctrl-C.

    It is noted, too: what is raised while Python finalizes an object, it only prints.
    """
    told.append(signum)
    raise KeyboardInterrupt


def stop_if_told() -> None:
    if told:
        raise KeyboardInterrupt


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Two at once would share one Valkey directory. The lock ends with this process."""
    with (RUN_DIR / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("`make run` is already running in this directory; end that one first.")
        yield


def write_env_file() -> None:
    """Writes `.env` unless there is one, and reads it; the environment wins."""
    path = Path(os.environ.get("ENV_FILE") or BASE_DIR / ".env")
    if not path.exists():
        text = ENV_FILE.format(secret_key=secrets.token_urlsafe(50))
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        print(f"Wrote {path.name}.")
    environ.Env.read_env(path)


def free_port(first: int) -> int:
    for port in range(first, first + 100):
        if is_free(port):
            return port
    sys.exit(f"No free port from {first} to {first + 99}; set PORT.")


def prepare() -> str:
    """Migrations, static files, admin user, examples; returns how to log in."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django
    from django.apps import apps
    from django.core.management import call_command
    from django.db import connections

    django.setup()
    print("Preparing the database and the static files ...", flush=True)
    call_command("migrate", interactive=False, verbosity=0)
    stop_if_told()
    call_command("collectstatic", interactive=False, verbosity=0)
    login = admin_login()
    if apps.is_installed("project.demo"):
        call_command("create_demo")
    connections.close_all()
    return login


def admin_login() -> str:
    """Creates the user `admin` unless there is a superuser; returns a line on how to log in."""
    from django.contrib.auth import get_user_model
    from django.utils.crypto import get_random_string

    users = get_user_model()._default_manager
    password = os.environ.get("ADMIN_PASSWORD")
    superuser = users.filter(is_superuser=True).order_by("pk").first()
    if superuser is None:
        created = password or get_random_string(14)
        users.create_superuser("admin", "admin@localhost", created)
        return f"user admin, password {created if not password else 'from ADMIN_PASSWORD'}"
    name = superuser.get_username()
    if password and superuser.check_password(password):
        return f"user {name}, password from ADMIN_PASSWORD"
    return (
        f"user {name}, password as printed by the first run; "
        f"forgotten: {program()} manage.py changepassword {name}"
    )


def program() -> str:
    """This Python, as one types it in the checkout."""
    path = Path(sys.prefix) / "bin" / "python"
    return str(path.relative_to(BASE_DIR) if path.is_relative_to(BASE_DIR) else path)


def banner(url: str, login: str, broker_url: str | None) -> str:
    variable = f"CELERY_BROKER_URL={broker_url} " if broker_url else ""
    lines = [
        f"Minutehand   {url}",
        f"log in       {login}",
        f"commands     {variable}{program()} manage.py help",
        "stop         Ctrl-C; the data stays for the next `make run`",
    ]
    rule = "=" * max(map(len, lines))
    return "\n".join(["", rule, *lines, rule, ""])


def run_processes(url: str, text: str) -> int:
    programs = str(Path(sys.prefix) / "bin")
    env = {
        **os.environ,
        "PATH": programs + os.pathsep + os.environ.get("PATH", ""),
        "PYTHONUNBUFFERED": "1",
    }
    processes = Processes(BASE_DIR / "Procfile", env)
    for signum in STOP_SIGNALS:
        signal.signal(signum, processes.ask_to_stop)
    stop_if_told()
    threading.Thread(target=announce, args=(processes, url, text), daemon=True).start()
    code = processes.run()
    print("Stopped." if code == 0 else "Stopped, because a process ended.", flush=True)
    return code


def announce(processes: Processes, url: str, text: str) -> None:
    """Prints the banner again once the web process answers: the first has scrolled away."""
    for _ in range(600):
        if processes.asked:
            return
        with contextlib.suppress(OSError):
            with contextlib.suppress(urllib.error.HTTPError):  # an answer is an answer
                urllib.request.urlopen(url, timeout=5).close()
            for line in text.splitlines():
                processes.say(line)
            return
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
