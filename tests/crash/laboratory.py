"""Lets the process of an action die at each line that it passes, and sees what becomes of it.

The scenario runs once. At each action it stops: the lines of the action are learnt, and then, line
by line, the state from before is put back and the action is done by a fork, which is killed
(SIGKILL) on reaching the line. Nothing of it survives but what the database and the broker had
from it; the database notices by itself, by the closed connection. From what is left a second fork
goes on with the scenario to its end, unless it has been done from an equal state already: most
lines between two statements leave the same.
"""

import datetime
import gc
import os
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from django.db import connection

from tests.crash import broker
from tests.crash.lines import FILES, Action, Line, Place, die_at, learn
from tests.crash.state import Saved, fingerprint
from tests.crash.world import DIED, World

#: Real seconds for what takes one at the most.
PATIENCE = 60


class Laboratory:
    """`every`: of the places to die at, take each n-th. `only`: those with this in their text.
    `known`: lines that have been tried already."""

    def __init__(self, every: int = 1, only: str = "", known: Iterable[Line] = ()) -> None:
        self.every, self.only = every, only
        self.first = datetime.date.today().toordinal() % every
        self.learnt: set[Line] = set(known)
        self.found = self.crashes = self.actions = 0
        self.failures: list[str] = []
        self.pipe: Pipe | None = None  # in a fork that goes on: where to tell how it ended
        self._recovered: set[str] = set()

    @property
    def recoveries(self) -> int:
        return len(self._recovered)

    def act(self, world: World, action: Action) -> Any:
        """As `World.act`; returns once in this process and once in each fork that goes on."""
        self.actions += 1
        world.inbox += broker.drain()
        before = Saved()
        result, seen = learn(action)
        places = list(self._places(seen))
        if places:
            broker.drain()
        for place in places:
            before.restore()
            self._die(action, place)
            if self._goes_on(world, place):
                return DIED
        if places:
            before.restore()
            result = action()
        return result

    def _places(self, seen: Counter[Line]) -> Iterator[Place]:
        """The first time of each line that is new; around a COMMIT, each time."""
        for (file, line), times in sorted(seen.items()):
            visits = times if file not in FILES else int((file, line) not in self.learnt)
            self.learnt.add((file, line))
            for place in (Place(file, line, visit + 1) for visit in range(visits)):
                self.found += 1
                if self.found % self.every == self.first and self.only in str(place):
                    yield place

    # The process that dies ------------------------------------------------------------------------

    def _die(self, action: Action, place: Place) -> None:
        self.crashes += 1
        reader, pid = _fork()
        if pid == 0:
            try:
                _tell(reader, _session())
                die_at(place, action)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        session = _hear(reader)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        _wait_until_gone(session)
        if code != -signal.SIGKILL:
            self._fail(f"{place}: it was not reached (exit code {code})")

    # The others, who go on ------------------------------------------------------------------------

    def _goes_on(self, world: World, place: Place) -> bool:
        """True in a fork that goes on from what the dead process left; False in this process."""
        messages = broker.drain()
        world.redelivered = world.kind == "worker" and bool(self.crashes % 2)
        left = fingerprint(self.actions, world.redelivered, *messages)
        if left in self._recovered:
            return False
        self._recovered.add(left)
        pipe, pid = _fork()
        if pid == 0:
            world.inbox += messages
            world.laboratory, self.pipe = None, pipe
            return True
        faults = _hear(pipe)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code or faults:
            self._fail(f"{place}\n{faults or f'exit code {code}'}")
        return False

    def _fail(self, failure: str) -> None:
        print(failure)
        self.failures.append(failure)

    def conclude(self, faults: list[str]) -> None:
        """The scenario has come to its end. A fork tells, and ends."""
        if self.pipe is not None:
            broker.drain()
            _tell(self.pipe, "\n".join(f"    {fault}" for fault in faults))
            os._exit(0)
        self.failures += [f"without any crash: {fault}" for fault in faults]


Pipe = tuple[int, int]


def _fork() -> tuple[Pipe, int]:
    """A pipe to the child, and the child's pid (0 in the child), who hangs for a minute at most."""
    connection.close()
    broker.disconnect()
    pipe = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads hold nothing of ours
        pid = os.fork()
    if pid == 0:
        gc.disable()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE)
    return pipe, pid


def _tell(pipe: Pipe, text: str) -> None:
    os.close(pipe[0])
    with os.fdopen(pipe[1], "w") as writer:
        writer.write(text)


def _hear(pipe: Pipe) -> str:
    os.close(pipe[1])
    with os.fdopen(pipe[0]) as reader:
        return reader.read()


_SESSION = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT connection_id()"}
_SESSIONS = {
    "postgresql": "SELECT 1 FROM pg_stat_activity WHERE pid = %s",
    "mysql": "SELECT 1 FROM information_schema.processlist WHERE id = %s",
}


def _session() -> str:
    """What the database calls this process; nothing on SQLite, where the kernel drops its locks."""
    connection.ensure_connection()
    if connection.vendor not in _SESSION:
        return ""
    with connection.cursor() as cursor:
        cursor.execute(_SESSION[connection.vendor])
        return str(cursor.fetchone()[0])


def _wait_until_gone(session: str) -> None:
    """Until the database has seen that the process died, and has undone its open transaction."""
    end = time.monotonic() + PATIENCE
    while session and _is_connected(session):
        assert time.monotonic() < end, "the database still keeps the dead process's session"
        time.sleep(0.001)


def _is_connected(session: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_SESSIONS[connection.vendor], [int(session)])
        return cursor.fetchone() is not None
