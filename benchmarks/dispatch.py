"""How long one dispatcher needs for what is due (see README.md)."""

import argparse
import contextlib
import json
import os
import statistics
import sys
from typing import Any

from benchmarks import services

PACKAGES = ("Django", "celery", "kombu", "redis", "psycopg", "django-celery-beat")


def main() -> None:
    options = _options()
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(services.broker())
        database = stack.enter_context(services.database("minutehand"))
        beat_database = stack.enter_context(services.database("beat"))
        report: dict[str, Any] = {
            "machine": services.machine(database, broker, PACKAGES),
            "options": vars(options),
        }
        with Progress() as progress:
            report["minutehand"] = [
                minutehand(options, due, database, broker, progress) for due in options.due
            ]
            report["memory"] = [
                memory(options, due, database, broker, progress) for due in options.memory_due
            ]
            if options.beat_due:
                report["django-celery-beat"] = beat(options, beat_database, broker, progress)
        report["machine"]["load average after"] = os.getloadavg()[0]
    print(json.dumps(report, indent=2) if options.json else "\n".join(lines(report)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dispatch", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="scheduled tasks in all")
    parser.add_argument("--due", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--memory-due", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--repeat", type=int, default=3, help="ticks per figure; the median counts")
    parser.add_argument(
        "--beat-due", type=int, default=1_000, help="0 leaves the other product out"
    )
    parser.add_argument("--beat-limit", type=float, default=120, help="seconds after which it ends")
    parser.add_argument("--json", action="store_true", help="all figures, to standard output")
    return parser.parse_args()


# Measure ------------------------------------------------------------------------------------------


def minutehand(
    options: argparse.Namespace, due: int, database: str, broker: str, progress: "Progress"
) -> dict[str, Any]:
    """The median tick over `due` rows, and all ticks that it is the median of."""
    ticks = []
    for n in range(options.repeat):
        progress.say(f"Minutehand, {due:,} due, {n + 1} of {options.repeat}")
        ticks.append(_tick(options.rows, due, database, broker))
    median = {key: statistics.median(tick[key] for tick in ticks) for key in ticks[0]}
    return {"due": due, **median, "all": ticks}


def memory(
    options: argparse.Namespace, due: int, database: str, broker: str, progress: "Progress"
) -> dict[str, Any]:
    progress.say(f"Minutehand, memory with {due:,} due")
    return {"due": due, **_tick(max(options.rows, due), due, database, broker)}


def _tick(rows: int, due: int, database: str, broker: str) -> dict[str, Any]:
    services.forget_messages(broker)
    environment = {"DJANGO_SETTINGS_MODULE": "project.settings"}
    for command in ("fill", "tick"):
        words = ["benchmarks.minutehand", command, str(rows), str(due)]
        result = services.answer(words, database, broker, **environment)
    return result


def beat(
    options: argparse.Namespace, database: str, broker: str, progress: "Progress"
) -> dict[str, Any]:
    due, limit = options.beat_due, options.beat_limit
    progress.say(f"django-celery-beat, {due:,} due, {limit:.0f} s at most")
    services.forget_messages(broker)
    words = ["benchmarks.beat", str(due), str(limit)]
    environment = {"DJANGO_SETTINGS_MODULE": "benchmarks.beat_settings"}
    result = services.answer(words, database, broker, **environment)
    if services.messages(broker) < result["sent"]:
        raise SystemExit("Not a measurement: django-celery-beat sent what Redis does not have")
    return {"due": due, "limit": limit, **result}


# Report -------------------------------------------------------------------------------------------


_ROW = "{:<20}" + " {:>9}" * 7


def lines(report: dict[str, Any]) -> list[str]:
    """The report as a person reads it. Seconds are those of the wall clock."""
    found = [f"{name}: {value}" for name, value in report["machine"].items()]
    titles = ("due", "rows", "seconds", "plan", "publish", "peak MB", "load")
    found += ["", _ROW.format("", *titles)]
    rows = report["options"]["rows"]
    found += [_line(tick, rows) for tick in report["minutehand"]]
    if "django-celery-beat" in report:
        found += _beat_lines(report["django-celery-beat"])
    if report["memory"]:
        found += ["", "Memory:"]
        found += [_line(tick, max(rows, tick["due"])) for tick in report["memory"]]
    return found


def _line(tick: dict[str, Any], rows: int) -> str:
    seconds = [f"{tick[name]:.2f}" for name in ("seconds", "plan", "publish")]
    peak, load = f"{tick['peak_mb']:.0f}", f"{tick['load']:.1f}"
    return _ROW.format("Minutehand", f"{tick['due']:,}", f"{rows:,}", *seconds, peak, load)


def _beat_lines(result: dict[str, Any]) -> list[str]:
    due, sent = f"{result['due']:,}", f"{result['sent']:,}"
    done = result["sent"] == result["due"]
    took = f"{result['seconds']:.2f}" if done else "-"
    figures = (took, "", "", f"{result['peak_mb']:.0f}", f"{result['load']:.1f}")
    line = _ROW.format("django-celery-beat", due, due, *figures).rstrip()
    late = f"    not done after {result['limit']:.0f} s: {sent} of {due} sent"
    return [line] if done else [line, late]


class Progress:
    """What is being measured, on standard error."""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        print(file=sys.stderr)

    def say(self, text: str) -> None:
        print(f"\r\033[K{text} …", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
