"""A RabbitMQ of the test's own: Debian's programs, on free ports, with a port mapper of its own.

Only where RabbitMQ is installed. Everything that it writes is in its directory, and its two
processes are direct children, as for the other servers (tests/servers.py).
"""

import os
import shutil
import subprocess
from pathlib import Path

from tests.servers import Server, free_port, launch

PROGRAMS = Path("/usr/lib/rabbitmq/bin")  # not those in PATH, which change to another user


def is_installed() -> bool:
    return (PROGRAMS / "rabbitmq-server").exists() and shutil.which("epmd") is not None


class RabbitMQ(Server):
    """A broker with the user `guest`; durable queues outlive `stop`, `kill` and `start`."""

    start_timeout = 120  # seconds; Erlang takes ten of them on an idle machine

    def __init__(self) -> None:
        super().__init__()
        self.distribution_port, self.mapper_port = free_port(), free_port()
        self.environment = {
            **os.environ,
            "HOME": str(self.directory),  # for the cookie
            "RABBITMQ_NODENAME": f"rabbit-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "data"),
            "RABBITMQ_LOG_BASE": str(self.directory / "logs"),
            "RABBITMQ_LOGS": "-",  # to our log file
            "RABBITMQ_CONFIG_FILE": str(self.directory / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "plugins"),
            "ERL_EPMD_PORT": str(self.mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # The script becomes the server instead of starting it in the background.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        (self.directory / "plugins").write_text("[].")
        self.mapper = self._start_mapper()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def answers(self) -> bool:
        from kombu import Connection

        try:
            with Connection(self.url, connect_timeout=2) as connection:
                connection.connect()
        except OSError:
            return False
        return True

    def stop(self, timeout: float = 60) -> None:
        super().stop(timeout)

    def close(self) -> None:
        super().close()
        self.mapper.kill()
        self.mapper.wait()

    def _start_mapper(self) -> subprocess.Popen:
        """Without one that is there already, the server would start one that outlives it."""
        epmd = shutil.which("epmd")
        assert epmd is not None
        with self.log_path.open("ab") as log:
            command = [epmd, "-port", str(self.mapper_port), "-address", "127.0.0.1"]
            return launch(command, stdout=log, stderr=subprocess.STDOUT)

    def _command(self) -> list[str]:
        return [str(PROGRAMS / "rabbitmq-server")]

    def _launch_options(self) -> dict:
        return {"env": self.environment, "cwd": self.directory}
