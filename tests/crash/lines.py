"""The lines of the product: which there are, which an action passes, and a death at one of them."""

import inspect
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

ROOT = Path(__file__).resolve().parents[2]

#: Whose lines are tried, and counted.
MODULES = (
    "dispatcher/plan/decisions.py",
    "dispatcher/plan/new_runs.py",
    "dispatcher/plan/planner.py",
    "dispatcher/plan/misfire.py",
    "dispatcher/publish/publisher.py",
    "dispatcher/publish/content.py",
    "dispatcher/publish/messages.py",
    "dispatcher/tick.py",
    "dispatcher/follow_edits.py",
    "dispatcher/worker/gate.py",
    "dispatcher/worker/overlap.py",
    "dispatcher/worker/record.py",
    "dispatcher/worker/celery_signals.py",
    "dispatcher/worker/pause_failing.py",
    "dispatcher/upkeep/rescue.py",
    "dispatcher/models/claim.py",
    "dispatcher/models/questions.py",
    "dispatcher/models/ends.py",
    "dispatcher/models/verbs.py",
    "dispatcher/models/bulk.py",
    "scheduling/edits/transaction.py",
    "scheduling/edits/settle.py",
    "scheduling/edits/verbs.py",
    "scheduling/edits/many.py",
)

#: Tried too. Most of what the scenarios pass by in it are refusals, before anything is done.
ALSO = (
    "dispatcher/runs/asked_for.py",
    "dispatcher/runs/backfilling.py",
    "dispatcher/runs/cancelling.py",
)

COUNTED = frozenset(str(ROOT / name) for name in MODULES)
FILES = COUNTED | {str(ROOT / name) for name in ALSO}

#: Django's COMMIT, and what it calls after it: dead right before, and right after.
BEFORE_COMMIT = inspect.unwrap(BaseDatabaseWrapper.commit).__code__
AFTER_COMMIT = BaseDatabaseWrapper.run_and_clear_commit_hooks.__code__

Line = tuple[str, int]
Action = Callable[[], Any]


@dataclass(frozen=True)
class Place:
    """The `visit`-th time that an action reaches a line."""

    file: str
    line: int
    visit: int

    def __str__(self) -> str:
        text = Path(self.file).read_text().splitlines()[self.line - 1].strip()
        where = self.file.removeprefix(f"{ROOT}/").rpartition("site-packages/")[2]
        return f"{where}:{self.line} (visit {self.visit}): {text}"


def learn(action: Action) -> tuple[Any, Counter[Line]]:
    """Do it, and tell how often it passed each line."""
    seen: Counter[Line] = Counter()
    with _traced(lambda line: seen.update([line])):
        return action(), seen


def die_at(place: Place, action: Action) -> None:
    """Do it, and be killed on reaching the place. Returns only if the place was not reached."""
    left = place.visit

    def reached(line: Line) -> None:
        nonlocal left
        if line == (place.file, place.line):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    with _traced(reached):
        action()


@contextmanager
def _traced(reached: Callable[[Line], None]) -> Iterator[None]:
    """Calls `reached` at each line of the product, before it is executed."""

    def enter(frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        if code is BEFORE_COMMIT or code is AFTER_COMMIT:
            reached((code.co_filename, code.co_firstlineno))
        return at_line if code.co_filename in FILES else None

    def at_line(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            reached((frame.f_code.co_filename, frame.f_lineno))
        return at_line

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(before)


def executable(file: str) -> set[int]:
    """The lines inside the functions of a file. What runs at import is none of them."""
    module = compile(Path(file).read_text(), file, "exec")
    return {line for code in _functions(module) for line in _lines(code)}


def _functions(code: CodeType) -> Iterator[CodeType]:
    for inner in (const for const in code.co_consts if isinstance(const, CodeType)):
        if inner.co_flags & inspect.CO_OPTIMIZED:
            yield inner
        yield from _functions(inner)


def _lines(code: CodeType) -> set[int]:
    lines = {line for _start, _end, line in code.co_lines() if line is not None}
    return lines if code.co_name.startswith("<") else lines - {code.co_firstlineno}
