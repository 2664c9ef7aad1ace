"""The worker's own connection: what gate and record write, no task can touch.

A task leaves its connection as it likes: autocommit off, a transaction open, another role. So in a
worker the gate and the record stand on a connection that is in none of Django's mappings: while
they work it takes the place of the thread's default one, so that every query of theirs goes there,
and code of the project that they call finds its own again (`put_away`).

One for each process of a prefork pool, up to `SIZE` under threads and greenlets. Elsewhere than in
a worker, for eager calls, and on SQLite, which has one writer, Django's connection is used; on
SQLite a new one, so that what the task left of it holds nobody up.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any
from weakref import WeakSet

from django.db import DEFAULT_DB_ALIAS, Error, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from scheduling.database.session import is_unclean, limit_waiting, start_over

ALIAS = DEFAULT_DB_ALIAS

#: Connections of one process at most. Each is held for a statement or two.
SIZE = 4
#: Seconds to wait for one of them; then the database counts as away.
WAIT_SECONDS = 10.0


class _Here(threading.local):
    """Of this thread: the project's connection while ours has its place."""

    host: BaseDatabaseWrapper | None = None


_here = _Here()
_in_worker = False


def enable() -> None:
    """Note that this process is a worker's, and so are those that it forks."""
    global _in_worker
    _in_worker = True


def disable() -> None:
    """Note that the worker has ended, and close what it kept open."""
    global _in_worker
    _in_worker = False
    _pool.close()


def is_enabled() -> bool:
    return _in_worker


@contextmanager
def used(*, eager: bool = False, keep: bool = True) -> Iterator[None]:
    """Put our own connection in place of this thread's default one until the end of the block.

    `eager`: the block belongs to a task that somebody calls in his own process, perhaps in his own
    transaction. `keep=False` closes the connection afterwards: for rare writes.
    """
    if eager or not _in_worker or _here.host is not None:
        yield
    elif connections[ALIAS].vendor == "sqlite":
        start_over(connections[ALIAS])
        yield
    else:
        with _no_soft_limit(), _in_place(keep):
            yield


@contextmanager
def _in_place(keep: bool) -> Iterator[None]:
    pool = _pool  # a fork meanwhile has another one
    ours = pool.take()
    _here.host = connections[ALIAS]
    connections[ALIAS] = ours
    try:
        yield
    finally:
        connections[ALIAS], _here.host = _here.host, None
        pool.give(ours, keep)


def put_away() -> AbstractContextManager[None]:
    """Put the project's connection back for the block, which calls code of the project."""
    return nullcontext() if _here.host is None else _put_away(_here.host)


@contextmanager
def _put_away(host: BaseDatabaseWrapper) -> Iterator[None]:
    ours = connections[ALIAS]
    connections[ALIAS], _here.host = host, None
    try:
        yield
    finally:
        connections[ALIAS], _here.host = ours, host


# The pool -----------------------------------------------------------------------------------------

_everyone: WeakSet[BaseDatabaseWrapper] = WeakSet()


class _Pool:
    """The connections of this process that nobody uses, the last used on top."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(SIZE)
        self._idle: list[BaseDatabaseWrapper] = []

    def take(self) -> BaseDatabaseWrapper:
        if not self._free.acquire(timeout=WAIT_SECONDS):
            raise OperationalError(f"None of {SIZE} connections was free for {WAIT_SECONDS:.0f} s")
        try:
            return self._idle.pop()
        except IndexError:
            return self._made()

    def _made(self) -> BaseDatabaseWrapper:
        try:
            return _new()
        except BaseException:
            self._free.release()
            raise

    def give(self, ours: BaseDatabaseWrapper, keep: bool) -> None:
        """Take it back. One that is not clean is closed, and a new one takes its place; one that
        met an error is connected anew: its session may be of a server that takes no writes."""
        unclean = is_unclean(ours)
        if unclean or ours.errors_occurred or not keep:
            _close(ours)
        if not unclean:
            self._idle.append(ours)
        self._free.release()

    def close(self) -> None:
        while self._idle:
            _close(self._idle.pop())


_pool = _Pool()


def _new() -> BaseDatabaseWrapper:
    """A connection with the project's settings, but none of its pools, and our limits."""
    settings = connections[ALIAS].settings_dict
    ours = connections.create_connection(ALIAS)
    options = {key: value for key, value in settings["OPTIONS"].items() if key not in _NOT_OURS}
    ours.settings_dict = {**settings, **_SETTINGS, "OPTIONS": options}
    ours.inc_thread_sharing()
    ours.init_connection_state = partial(_begin, ours)  # type: ignore[method-assign]
    _everyone.add(ours)
    return ours


#: `SET LOCAL` before a statement needs one string, its values in it.
_NOT_OURS = ("pool", "server_side_binding")
_SETTINGS: dict[str, Any] = {
    "AUTOCOMMIT": True,
    "ATOMIC_REQUESTS": False,
    "CONN_MAX_AGE": None,
    "CONN_HEALTH_CHECKS": False,
}


def _begin(ours: BaseDatabaseWrapper) -> None:
    type(ours).init_connection_state(ours)
    limit_waiting(ours)


def _close(ours: BaseDatabaseWrapper) -> None:
    with suppress(Error):
        ours.close()


# Forks and soft limits ----------------------------------------------------------------------------

#: What a parent still uses: never collected here, or the driver would say goodbye for it.
_foreign: list[Any] = []


def _after_fork() -> None:
    """No connection crosses a fork: the child forgets it without a word to the server."""
    global _pool
    _pool = _Pool()
    if _in_worker:
        _forget_pools()
    for ours in list(_everyone):
        raw, ours.connection = ours.connection, None
        if raw is not None:
            _foreign.append(raw)
            _sever(raw)


def _forget_pools() -> None:
    """Nor does a pool of the project's (`OPTIONS["pool"]`). Celery closes in each child the one
    that it finds, and with it the sessions of the parent: whoever asks the database there next
    waits half a minute for a connection, the heart too if it calls code of the project's."""
    for connection in connections.all():
        pools = getattr(connection, "_connection_pools", {})  # of the backend, by alias
        _foreign.extend(pools.values())
        pools.clear()


def _sever(raw: Any) -> None:
    """Whatever the driver may send from here ends in nothing."""
    with suppress(Exception):  # one that is closed has no number
        number = raw.fileno() if hasattr(raw, "fileno") else raw._sock.fileno()
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, number)
        os.close(nothing)


os.register_at_fork(after_in_child=_after_fork)


def _no_soft_limit() -> AbstractContextManager[None]:
    """A pool child's soft time limit waits until we are done: it strikes anywhere, and would leave
    a claim without its holder. Statements of ours end by their own limits."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGUSR1"):
        return nullcontext()
    handler = signal.getsignal(signal.SIGUSR1)
    return nullcontext() if handler in _NO_HANDLERS else _delayed(handler)


_NO_HANDLERS = (signal.SIG_DFL, signal.SIG_IGN, None)


@contextmanager
def _delayed(handler: Any) -> Iterator[None]:
    met: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: met.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, handler)
        if met:
            os.kill(os.getpid(), signal.SIGUSR1)
