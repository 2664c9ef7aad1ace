"""How fast the REST API answers among a million schedules and a million runs (see README.md)."""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks import services
from benchmarks.api_client import Answer, Client
from benchmarks.api_server import prepare, server

PACKAGES = ("Django", "djangorestframework", "django-filter", "gunicorn", "psycopg")

TASKS, RUNS = "scheduled-tasks/?page_size=100", "runs/?page_size=100"

#: What is asked, and how fast it has to be at p95 (milliseconds).
LISTS = {
    "scheduled tasks": TASKS,
    "page 500": f"{TASKS}&page=500",
    "nine tenths deep": f"{TASKS}&page=DEEP",
    "nine tenths deep, ordering=id": f"{TASKS}&page=DEEP&ordering=id",
    "search=sync": f"{TASKS}&search=sync",
    "search=sync, ordering=-name": f"{TASKS}&search=sync&ordering=-name",
    "search=invoice of customer 99": f"{TASKS}&search=invoice+of+customer+99",
    "state=active": f"{TASKS}&state=active",
    "state=paused": f"{TASKS}&state=paused",
    "state=set_aside": f"{TASKS}&state=set_aside",
    "kind=cron": f"{TASKS}&kind=cron",
    "enabled=false": f"{TASKS}&enabled=false",
    "task": f"{TASKS}&task=shop.tasks.job_7",
    "queue": f"{TASKS}&queue=mail",
    "group": f"{TASKS}&group=group+7",
    "owner": f"{TASKS}&owner=team-7@example.com",
    "misfire_policy=skip": f"{TASKS}&misfire_policy=skip",
    "overlap_policy=queue_one": f"{TASKS}&overlap_policy=queue_one",
    "last_status=succeeded": f"{TASKS}&last_status=succeeded",
    "last_status=failed": f"{TASKS}&last_status=failed",
    "last_status=lost": f"{TASKS}&last_status=lost",
    "has_owner=true": f"{TASKS}&has_owner=true",
    "has_group=false": f"{TASKS}&has_group=false",
    "has_queue=false": f"{TASKS}&has_queue=false",
    "ordering=task": f"{TASKS}&ordering=task",
    "ordering=queue": f"{TASKS}&ordering=queue",
    "ordering=-group": f"{TASKS}&ordering=-group",
    "ordering=owner": f"{TASKS}&ordering=owner",
    "ordering=-name": f"{TASKS}&ordering=-name",
    "ordering=id": f"{TASKS}&ordering=id",
    "ordering=-id": f"{TASKS}&ordering=-id",
    "runs": RUNS,
    "runs, 50 pages further": "",  # its cursor is asked for first
    "runs, ordering=id": f"{RUNS}&ordering=id",
    "runs, status=failed": f"{RUNS}&status=failed",
    "runs, status=failed, lost": f"{RUNS}&status=failed&status=lost",
    "runs, trigger=schedule": f"{RUNS}&trigger=schedule",
    "runs, reason=overlap": f"{RUNS}&reason=overlap",
    "runs, scheduled_task": f"{RUNS}&scheduled_task=77",
    "runs, name": f"{RUNS}&name=Invoice+of+customer+77",
    "runs, task": f"{RUNS}&task=shop.tasks.job_7",
    "runs, queue": f"{RUNS}&queue=mail",
    "runs, worker": f"{RUNS}&worker=worker7@host",
    "runs of a scheduled task": "scheduled-tasks/77/runs/?page_size=100",
}
LIST_LIMIT, CREATE_LIMIT = 100, 30


def main() -> int:
    options = _options()
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(services.database("api"))
        broker = stack.enter_context(services.broker())
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="minutehand-bench-"))
        options.directory = Path(directory)
        _say(f"{options.tasks:,} schedules and {options.runs:,} runs")
        token = prepare(options, database, broker)
        _say("")
        address = stack.enter_context(server(options.directory))
        report = services.machine(database, broker, PACKAGES)
        print("\n".join(f"{name}: {value}" for name, value in report.items()), flush=True)
        slow = times(options, Client(address, token))
        wrong = load(options, address, token)
        print(f"\nload average after: {os.getloadavg()[0]:.2f}")
    print(f"slower than wanted: {', '.join(slow) or 'nothing'}")
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000, help="50,000 at least")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=40, help="requests per figure")
    parser.add_argument("--clients", type=int, default=20, help="that create at the same time")
    parser.add_argument("--seconds", type=float, default=60, help="for which they do")
    parser.add_argument("--only", default="", help="figures whose name has this in it")
    return parser.parse_args()


# What is measured ---------------------------------------------------------------------------------

Ask = Callable[[], Answer]


def times(options: argparse.Namespace, client: Client) -> list[str]:
    """Print a line for each figure; the names of those that are slower than they should be."""
    print(f"\n{'':<32} {'p50 ms':>8} {'p95 ms':>8} {'KiB':>8}   count", flush=True)
    deep = str(options.tasks * 9 // 1000)
    asked = {name: _get(client, path.replace("DEEP", deep)) for name, path in LISTS.items()}
    asked["runs, 50 pages further"] = _get(client, _deep_cursor(client, 50))
    chosen = {name: ask for name, ask in asked.items() if options.only in name}
    slow = [n for n, ask in chosen.items() if _measure(n, ask, options.repeat) > LIST_LIMIT]
    if options.only:
        return slow
    number, row = count(), _created(client, "to be changed")
    one = f"scheduled-tasks/{row['id']}/"
    _measure("one scheduled task", _get(client, one), options.repeat)
    _measure("one run", _get(client, f"runs/{_a_run(client)}/"), options.repeat)
    _measure("the registered tasks", _get(client, "tasks/"), options.repeat)
    create = _measure("create", lambda: _create(client, f"new {next(number)}"), options.repeat)
    keyed = _measure(
        "create, with a key",
        lambda: _create(
            client,
            f"keyed {next(number)}",
            Idempotency_Key=f"k {next(number)}",
        ),
        options.repeat,
    )
    _measure(
        "change the description",
        lambda: client.ask("PATCH", one, {"description": f"no. {next(number)}"}),
        options.repeat,
    )
    _measure(
        "change the schedule",
        lambda: client.ask("PATCH", one, {"cron_expression": f"{next(number) % 60} 3 1 1 *"}),
        options.repeat,
    )
    both = {"create": create, "create, with a key": keyed}
    return slow + [name for name, p95 in both.items() if p95 > CREATE_LIMIT]


def _get(client: Client, path: str) -> Ask:
    return lambda: client.ask("GET", path)


def _create(client: Client, name: str, **headers: str) -> Answer:
    from benchmarks.api_load import body

    return client.ask("POST", "scheduled-tasks/", body(name), **headers)


def _created(client: Client, name: str) -> Any:
    return _create(client, name).json


def _a_run(client: Client) -> str:
    return str(client.ask("GET", "runs/?page_size=1").json["results"][0]["id"])


def _deep_cursor(client: Client, pages: int) -> str:
    path = RUNS
    for _page in range(pages):
        path = client.ask("GET", path).json["next"] or path
    return path


def _measure(name: str, ask: Ask, repeat: int) -> float:
    """p95 in milliseconds, of `repeat` answers after three that do not count."""
    answers = [ask() for _time in range(3 + repeat)][3:]
    if bad := {answer.status for answer in answers} - {200, 201}:
        raise SystemExit(f"Not a measurement: {name} was answered {bad}: {answers[0].body[:500]!r}")
    taken = sorted(answer.seconds * 1000 for answer in answers)
    p50, p95 = statistics.median(taken), _p95(taken)
    size, found = len(answers[-1].body) / 1024, answers[-1].json
    told = ""
    if isinstance(found, dict) and "results" in found:
        told = f"{found.get('count', '')} {len(found['results'])} rows"
    print(f"{name:<32} {p50:>8.1f} {p95:>8.1f} {size:>8.1f}   {told}", flush=True)
    return p95


def _p95(taken: list[float]) -> float:
    return sorted(taken)[max(0, round(len(taken) * 0.95) - 1)]


def load(options: argparse.Namespace, address: str, token: str) -> bool:
    """Whether a count is wrong."""
    if options.only or not options.seconds:
        return False
    from benchmarks import api_load

    found = api_load.run(address, token, options.clients, options.seconds)
    rate = found["created"] / found["took"]
    p50, p95 = statistics.median(found["seconds"]) * 1000, _p95(found["seconds"]) * 1000
    print(
        f"\n{found['clients']} clients, {found['took']:.1f} s: {found['created']:,} created, "
        f"{rate:.0f} a second; p50 {p50:.0f} ms, p95 {p95:.0f} ms\n"
        f"{found['answers']:,} answers {found['statuses']}, {found['keys']:,} keys, "
        f"{found['replayed']:,} answered again"
    )
    print(f"wrong: {json.dumps(found['wrong']) if found['wrong'] else 'nothing'}")
    return bool(found["wrong"])


def _say(text: str) -> None:
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
