"""How many recorded runs a worker does in a second, and how late they start (see README.md).

Minutehand, django-celery-results with and without `task_track_started`, Celery without results, and
the floor (two committed UPDATEs a run), one after the other in one run on the same services.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import services

PACKAGES = ("Django", "celery", "kombu", "redis", "psycopg", "django-celery-results")
QUEUE = "celery"
#: The rate is taken while the queue falls from the one share to the other: no start, no end.
FROM, TO = 0.9, 0.1

#: By name: the value of `RESULTS` in benchmarks/peer.py.
PEERS = {
    "django-celery-results, started": "started",
    "django-celery-results": "results",
    "Celery, nothing recorded": "",
}


class Part:
    """One product's processes: what they are told, and where."""

    def __init__(self, database: str, broker: str, results: str | None = None) -> None:
        self.database, self.broker, self.results = database, broker, results
        ours = {"DJANGO_SETTINGS_MODULE": "project.settings"}
        self.environment = ours if results is None else {"RESULTS": results}

    def ask(self, *words: object) -> Any:
        """The answer of a command of benchmarks/worker_side.py."""
        product = "minutehand" if self.results is None else "peer"
        words = ("benchmarks.worker_side", product, *words)
        return services.answer(words, self.database, self.broker, **self.environment)

    @contextlib.contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """A prefork worker of two children, as a team starts it; ended when the block is left."""
        app = "project" if self.results is None else "benchmarks.peer"
        words = ["-A", app, "worker", "-Q", QUEUE, "-c", "2", "--loglevel", "WARNING"]
        words += ["--without-gossip", "--without-mingle", "--include", "benchmarks.noop"]
        env = services.environment_of(self.database, self.broker) | self.environment
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", *words], env=env, stdout=log, stderr=log
            )
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def drain(self, number: int) -> float:
        """Runs a second out of a full queue."""
        services.forget_messages(self.broker)
        self.ask("fill", number)
        if (waiting := services.messages(self.broker)) != number:
            raise SystemExit(f"Not a measurement: {waiting} messages wait instead of {number}")
        with self.worker():
            began = wait_until(lambda: services.messages(self.broker) <= FROM * number, 120)
            ended = wait_until(lambda: services.messages(self.broker) <= TO * number, 600)
            wait_until(lambda: services.messages(self.broker) == 0, 120)
            self.wait_for_records(number)
        return (FROM - TO) * number / (ended - began)

    def wait_for_records(self, number: int) -> None:
        if self.results == "":
            return
        until = time.monotonic() + 60
        while (recorded := self.ask("recorded")) < number:
            if time.monotonic() > until:
                raise SystemExit(f"Not a measurement: {recorded} of {number} runs are recorded")

    def lateness(self, number: int, seconds: float) -> dict[str, float]:
        """How late runs start that are due within so many seconds, in milliseconds."""
        services.forget_messages(self.broker)
        self.ask("fill", 0)  # the tables, before a worker looks for them
        with self.worker():
            wait_until(lambda: self.ask("workers") == 1, 60)
            first = time.time() + 8
            self.ask("fill", number, first, seconds / number)
            time.sleep(max(0.0, first + seconds - time.time()))
            self.wait_for_records(number)
        late = [1000 * each for each in self.ask("lateness")]
        shares = statistics.quantiles(late, n=100, method="inclusive")
        figures = {"p50": shares[49], "p95": shares[94], "p99": shares[98], "last": late[-1]}
        return {"early": sum(each < 0 for each in late), **figures, "load": os.getloadavg()[0]}


def wait_until(true: Any, seconds: float) -> float:
    """The moment (`time.perf_counter`) at which it was first true; SystemExit after `seconds`."""
    until = time.perf_counter() + seconds
    while not true():
        if time.perf_counter() > until:
            raise SystemExit(f"Not a measurement: nothing came of it in {seconds:.0f} s")
        time.sleep(0.05)
    return time.perf_counter()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    with services.broker() as broker, contextlib.ExitStack() as stack:

        def part(name: str, results: str | None = None) -> Part:
            return Part(stack.enter_context(services.database(name)), broker, results)

        report: dict[str, Any] = {
            "machine": services.machine(part("versions").database, broker, PACKAGES),
            "options": vars(options),
        }
        rates: dict[str, list[float]] = {}
        for turn in range(options.repeat):
            say(f"turn {turn + 1} of {options.repeat}")
            parts = {"Minutehand": part(f"drain{turn}")}
            parts |= {n: part(f"peer{turn}{r}", r) for n, r in PEERS.items()}
            for name, each in parts.items():
                say(name)
                rates.setdefault(name, []).append(each.drain(options.runs))
            say("the floor")
            words = ("benchmarks.worker_side", "floor", options.runs)
            seconds = services.answer(words, part(f"floor{turn}").database, broker)
            rates.setdefault("the floor", []).append(options.runs / seconds)
        report["runs a second"] = {name: statistics.median(each) for name, each in rates.items()}
        report["all"] = rates
        report["lateness"] = {}
        for number, seconds in options.late:
            say(f"{number} runs in {seconds} s")
            each = part(f"late{number}_{seconds}")
            report["lateness"][f"{number:,} in {seconds} s"] = each.lateness(number, seconds)
        report["machine"]["load average after"] = os.getloadavg()[0]
    return report


def say(text: str) -> None:
    print(f"{text} …", file=sys.stderr, flush=True)


def lines(report: dict[str, Any]) -> list[str]:
    """The report as a person reads it."""
    found = [f"{name}: {value}" for name, value in report["machine"].items()]
    rates = report["runs a second"]
    found += ["", "{:<32} {:>8} {:>14}".format("", "runs/s", "Minutehand is")]
    ours = rates["Minutehand"]
    found += [f"{name:<32} {rate:>8,.0f} {ours / rate:>13.2f}×" for name, rate in rates.items()]
    found += [
        "",
        "{:<32} {:>6} {:>8} {:>8} {:>8} {:>8}".format(
            "late, in milliseconds", "early", "p50", "p95", "p99", "last"
        ),
    ]
    for name, late in report["lateness"].items():
        figures = " ".join(f"{late[key]:>8,.0f}" for key in ("p50", "p95", "p99", "last"))
        found.append(f"{name:<32} {late['early']:>6} {figures}")
    return found


def _pair(text: str) -> tuple[int, int]:
    number, _, seconds = text.partition("/")
    return int(number), int(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__)
    parser.add_argument("--runs", type=int, default=5_000, help="messages in the full queue")
    parser.add_argument("--repeat", type=int, default=3, help="turns; the median counts")
    parser.add_argument(
        "--late",
        type=_pair,
        nargs="*",
        default=[(1000, 1), (1000, 20)],
        help="runs/seconds, such as 1000/20",
    )
    parser.add_argument("--json", type=Path, help="also write all figures into this file")
    options = parser.parse_args()
    report = measure(options)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2, default=str) + "\n")
    print("\n".join(lines(report)))


if __name__ == "__main__":
    main()
