"""Runs the lines of the Procfile as processes, until one of them ends or somebody asks to stop.

Honcho reads the file and prints the output. Its manager is not used: it signals whole process
groups, which kills the pool processes of a worker in the middle of a task, and a signal that
arrives while it is still starting leaves processes behind.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from types import FrameType

from honcho.colour import get_colours
from honcho.environ import parse_procfile
from honcho.printer import Message, Printer

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Processes:
    """The processes of one Procfile, each in a session of its own: a Ctrl-C reaches only us."""

    def __init__(self, procfile: Path, env: dict[str, str], grace: float = 10) -> None:
        self.commands: dict[str, str] = dict(parse_procfile(procfile.read_text()).processes)
        self.env, self.cwd, self.grace = env, procfile.parent, grace
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.asked = 0  # how many times somebody asked to stop
        self._printer = Printer(sys.stdout, width=max(map(len, self.commands)))
        self._lock = threading.Lock()

    def ask_to_stop(self, signum: int, frame: FrameType | None) -> None:
        """The signal handler: the first asks, the second insists."""
        self.asked += 1

    def run(self) -> int:
        """Starts all and returns, when none is left, the exit code: 0 if it was asked to stop."""
        colours = get_colours()
        for name, command in self.commands.items():
            if not self.asked:
                self._start(name, command, next(colours))
        while not self.asked and all(p.poll() is None for p in self.running.values()):
            time.sleep(0.1)
        ended = [name for name, process in self.running.items() if process.poll() is not None]
        if not self.asked:
            self.say(f"{', '.join(ended)} ended unexpectedly; stopping the others")
        self._stop()
        return 0 if self.asked and not ended else 1

    def say(self, text: str, name: str = "run", colour: str | None = None) -> None:
        """Prints a line among the output of the processes."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._printer.write(Message("line", text, datetime.now().astimezone(), name, colour))

    def _start(self, name: str, command: str, colour: str) -> None:
        # `exec`: the pid is the program's, not a shell's.
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            env=self.env,
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.running[name] = process
        threading.Thread(target=self._relay, args=(name, process, colour), daemon=True).start()

    def _relay(self, name: str, process: subprocess.Popen[bytes], colour: str) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.say(line.decode("utf-8", "replace").rstrip(), name, colour)

    def _stop(self) -> None:
        """SIGTERM to each program, which ends its own children; SIGKILL to what is left."""
        asked = self.asked
        for process in self.running.values():
            process.terminate()
        deadline = time.monotonic() + self.grace
        while any(process.poll() is None for process in self.running.values()):
            if time.monotonic() > deadline or self.asked > max(asked, 1):
                break
            time.sleep(0.1)
        for process in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the session outlives its leader
            process.wait()
