"""The command: choose mutants, try them side by side, print the score and the survivors."""

import argparse
import compileall
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

from tests.mutants.changes import Change, changes, compiles
from tests.mutants.concerned import MODULES, first, rest

ROOT = Path(__file__).parents[2]
EXPLAINED = Path(__file__).with_name("explained.toml")

#: Seconds for the tests that concern a module, and for all others: several times what they take.
#: A mutant that needs longer hangs, and is noticed.
FIRST_SECONDS, REST_SECONDS = 180.0, 900.0


@dataclass(frozen=True)
class Mutant:
    """A change of a module, and what became of it."""

    module: str
    change: Change

    @property
    def text(self) -> str:
        """The module with the change."""
        return self.change.apply((ROOT / self.module).read_text())

    def __str__(self) -> str:
        return f"{self.module}:{self.change.line} {self.change.name}"


class Slot:
    """A copy of the tree and the process that tries mutants in it."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="minutehand-mutants-"))
        for name in _tracked():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.root / name)
        # By their content: a mutant is written and taken away within the second that a time shows.
        compileall.compile_dir(
            self.root, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.mutants.slot"],
            cwd=self.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, module: str, text: str, tests: list[str], seconds: float) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        job = {"module": module, "text": text, "tests": tests, "seconds": seconds}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("A process that tries mutants has ended; its error stands above.")
        return dict(json.loads(answer))

    def try_one(self, mutant: Mutant, first_only: bool) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        asked = [(first, FIRST_SECONDS), (rest, REST_SECONDS)]
        for choose, seconds in asked[:1] if first_only else asked:
            tests = choose(mutant.module, self.root)
            answer = self.ask(mutant.module, mutant.text, tests, seconds)
            if answer["noticed"]:
                break
        return answer

    def close(self) -> None:
        """End the process, whatever it is at, and remove the copy."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=60)
        shutil.rmtree(self.root, ignore_errors=True)


def _tracked() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in names.split("\n") if name and (ROOT / name).is_file()]


def mutants(only: str) -> Iterator[Mutant]:
    for module in MODULES:
        if only in module:
            yield from (Mutant(module, each) for each in changes((ROOT / module).read_text()))


def explained() -> dict[str, dict[str, str]]:
    """By module and name of the change: why no test can, or need, notice it."""
    return tomllib.loads(EXPLAINED.read_text())


def main() -> int:
    signal.signal(signal.SIGTERM, _interrupt)  # or it would leave copies and servers behind
    options = _options()
    known = explained()
    every = list(mutants(options.only))
    stale = _stale(known, every) if not options.only else []
    untold = [m for m in every if m.change.name not in known.get(m.module, {})]
    random.Random(options.seed).shuffle(untold)
    number = len(untold) if options.all else options.number
    wanted = list(islice((m for m in untold if compiles(m.text)), number))
    print(
        f"{len(every)} changes of {len({m.module for m in every})} modules, "
        f"{len(every) - len(untold)} explained; trying {len(wanted)} with seed {options.seed}",
        flush=True,
    )
    survivors, tried = _try_all(wanted, options)
    noticed = tried - len(survivors)
    print(f"\n{noticed} of {tried} noticed: {100 * noticed / max(tried, 1):.1f} %")
    for mutant in sorted(survivors, key=str):
        print(f"  SURVIVED {mutant}")
    for line in stale:
        print(f"  explained.toml: there is no such change any more: {line}")
    return int(bool(stale) or not tried or noticed < options.at_least * tried)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    today = datetime.now(UTC).date().toordinal()
    parser.add_argument("--seed", type=int, default=today, help="default: the day")
    parser.add_argument("--number", type=int, default=40, help="how many (default 40)")
    parser.add_argument("--all", action="store_true", help="every change")
    parser.add_argument("--only", default="", help="modules whose path has this text")
    parser.add_argument("--minutes", type=float, help="begin no further one after this long")
    parser.add_argument(
        "--first-only",
        action="store_true",
        help="ask only the tests that concern the module: a survivor takes seconds, not minutes",
    )
    parser.add_argument("--at-least", type=float, default=0.95, help="the score that is enough")
    parser.add_argument("--side-by-side", type=int, default=min(os.cpu_count() or 1, 2))
    return parser.parse_args()


def _stale(known: dict[str, dict[str, str]], every: list[Mutant]) -> list[str]:
    there = {(m.module, m.change.name) for m in every}
    told = ((module, name) for module, names in known.items() for name in names)
    return [f"{module} {name}" for module, name in told if (module, name) not in there]


def _try_all(wanted: list[Mutant], options: argparse.Namespace) -> tuple[list[Mutant], int]:
    """The survivors, and how many were tried in the time there was."""
    until = time.monotonic() + options.minutes * 60 if options.minutes else float("inf")
    left, survivors, tried = iter(wanted), [], []
    lock = threading.Lock()

    def work(slot: Slot) -> None:
        _control(slot, wanted)
        while time.monotonic() < until:
            with lock:
                mutant = next(left, None)
            if mutant is None:
                return
            answer = slot.try_one(mutant, options.first_only)
            with lock:
                tried.append(mutant)
                if not answer["noticed"]:
                    survivors.append(mutant)
                verdict = f"by {answer['by']}" if answer["noticed"] else "SURVIVED"
                print(f"{answer['seconds']:6.1f} s  {mutant}  {verdict}", flush=True)

    _side_by_side(work, options.side_by_side)
    return survivors, len(tried)


def _side_by_side(work: Callable[[Slot], None], number: int) -> None:
    """Do the work in so many slots at once; raise what the first of them raised."""
    slots = [Slot() for _ in range(number)]
    with ThreadPoolExecutor(number) as threads:
        try:
            for done in [threads.submit(work, slot) for slot in slots]:
                done.result()
        finally:  # also when interrupted: without its process the work of a slot ends
            for slot in slots:
                slot.close()


def _control(slot: Slot, wanted: list[Mutant]) -> None:
    """Without a change the tests pass: or each mutant would be noticed, whatever it is."""
    module = wanted[0].module
    tests = first(module, slot.root)
    answer = slot.ask(module, (ROOT / module).read_text(), tests, FIRST_SECONDS)
    if answer["noticed"]:
        raise RuntimeError(f"{answer['by']} fails without any change.")


if __name__ == "__main__":
    sys.exit(main())
