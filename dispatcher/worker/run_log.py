"""The log lines of a run: what is logged while its function runs, kept for the page of the run.

The gate begins, the record takes. Between them a handler, hung beside those that the project has,
gets the lines that its loggers let through: levels and handlers of the project stay as they are.
A context variable says whose line it is, so that it works in pool children, in threads and solo.
A thread that the function starts itself has a context of its own, and its lines are not kept.
"""

import copy
import logging
import time
from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from dispatcher import conf
from dispatcher.worker.stored_values import clean_text
from scheduling.registry import masking

#: What stands in a log where earlier lines were cut; `%d` is their number.
CUT = "[%d earlier lines were cut]"


class Capture:
    """The newest lines of one attempt, up to `limit` bytes."""

    def __init__(self, limit: int, secrets: frozenset[str] = frozenset()) -> None:
        self.limit, self.secrets = limit, secrets
        self.cut = 0
        self.last: logging.LogRecord | None = None
        self._lines: deque[tuple[str, int]] = deque()
        self._size = 0

    def add(self, line: str) -> None:
        line = clean_text(masking.without(self.secrets, line))
        encoded = line.encode()
        if len(encoded) >= self.limit:
            line = encoded[: self.limit // 2].decode(errors="ignore") + "…"
            encoded = line.encode()
        self._lines.append((line, len(encoded) + 1))
        self._size += len(encoded) + 1
        while self._size > self.limit:
            _line, size = self._lines.popleft()
            self._size -= size
            self.cut += 1

    def text(self) -> str:
        """The lines, each with its end; first of all how many were cut."""
        head = [CUT % self.cut] if self.cut else []
        return "".join(f"{line}\n" for line in [*head, *(line for line, _size in self._lines)])


_current: ContextVar[Capture | None] = ContextVar("minutehand_run_log", default=None)


def begin(args: Any, kwargs: Any) -> None:
    """The run with these arguments starts here: from now on its lines are kept."""
    limit = conf.RUN_LOG_KIB.value * 1024
    if limit <= 0:
        return
    _attach()
    _current.set(Capture(limit, masking.secrets_of([args, kwargs])))


def take() -> str:
    """The lines since `begin`, "" where there are none; no more are kept."""
    capture = _current.get()
    if capture is None:
        return ""
    _current.set(None)
    return capture.text()


class _Format(logging.Formatter):
    """`2026-11-21 09:00:00.123Z INFO shop.tasks: message`, and a traceback below."""

    converter = staticmethod(time.gmtime)
    default_msec_format = "%s.%03dZ"


class RunLogHandler(logging.Handler):
    """Gives each line to the run that it belongs to; nothing to anybody else."""

    def emit(self, record: logging.LogRecord) -> None:
        capture = _current.get()
        if capture is not None and capture.last is not record:  # it may come by two loggers
            capture.last = record
            try:
                # A copy: formatting leaves texts on a record that other handlers would use.
                capture.add(self.format(copy.copy(record)))
            except Exception:  # wrong arguments; the project's own handler complains of them
                capture.add(f"{record.levelname} {record.name}: {record.msg!r}")
        if logging.root.handlers == [self]:
            self._last_resort(record)

    def _last_resort(self, record: logging.LogRecord) -> None:
        """What logging does where there is no handler: to have added one must not change it."""
        resort = logging.lastResort
        if resort and record.levelno >= resort.level and not _has_handlers(record.name, self):
            resort.handle(record)


def _has_handlers(name: str, other_than: logging.Handler) -> bool:
    logger: Any = logging.root.manager.loggerDict.get(name, logging.root)
    while isinstance(logger, logging.Logger):
        if any(handler is not other_than for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


HANDLER = RunLogHandler()
HANDLER.setFormatter(_Format("%(asctime)s %(levelname)s %(name)s: %(message)s"))


def _attach() -> None:
    """Hang the handler where lines end up. Anew for each run: what configures logging takes it
    away, and an imported module may bring loggers."""
    for logger in (logging.root, *_islands()):
        if HANDLER not in logger.handlers:
            logger.addHandler(HANDLER)


def _islands() -> Iterator[logging.Logger]:
    """Loggers with handlers of their own that pass nothing on to the root: Celery's
    `get_task_logger` hands out children of one."""
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and logger.handlers and not logger.propagate:
            yield logger
