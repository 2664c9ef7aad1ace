"""Twenty clients that create schedules as fast as they are answered, and the count afterwards.

Every second request carries an Idempotency-Key; of those every second is sent again. Every tenth
is sent by two clients at the same moment, under one key.
"""

import contextlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from benchmarks.api_client import Answer, Client
from benchmarks.api_rows import count

_KEYS = "SELECT count(*) FROM scheduling_api_idempotencykey"

PATIENCE = 30  # seconds that one of two waits for the other


def body(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "task": "shop.tasks.job_1",
        "kind": "cron",
        "cron_expression": "30 3 1 1 *",
        "kwargs": {"region": "eu"},
    }


@dataclass
class Tally:
    """What the clients were told; `made`: name to the ids that were answered for it."""

    made: dict[str, set[int]] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)
    replayed: int = 0
    seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, name: str, key: str | None, answer: Answer) -> None:
        with self.lock:
            self.statuses[answer.status] += 1
            self.seconds.append(answer.seconds)
            self.replayed += answer.headers.get("Idempotency-Replayed") == "true"
            if answer.status == 201:
                self.made.setdefault(name, set()).add(answer.json["id"])
            if key is not None:
                self.keys.add(key)


def run(address: str, token: str, clients: int, seconds: float) -> dict[str, Any]:
    """Counts, and what is wrong with them (empty: nothing)."""
    tally, deadline = Tally(), time.monotonic() + seconds
    pairs = [threading.Barrier(2) for _pair in range(clients // 2)]
    threads = [
        threading.Thread(
            target=_create,
            args=(Client(address, token), tally, number, pairs[number // 2], deadline),
        )
        for number in range(clients // 2 * 2)
    ]
    before, began = count(_KEYS), time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    return _counted(tally, before) | {"clients": len(threads), "took": took}


def _create(
    client: Client, tally: Tally, number: int, pair: threading.Barrier, deadline: float
) -> None:
    with contextlib.suppress(threading.BrokenBarrierError):
        n = 0
        while time.monotonic() < deadline:
            n += 1
            if n % 10 == 0:
                name = f"load, pair {number // 2}, {n}"
                pair.wait(PATIENCE)
            else:
                name = f"load, client {number}, {n}"
            _send(client, tally, name, key=name if n % 2 == 0 else None)
            if n % 4 == 2:
                _send(client, tally, name, key=name)
    pair.abort()
    client.close()


def _send(client: Client, tally: Tally, name: str, key: str | None) -> None:
    headers = {} if key is None else {"Idempotency_Key": key}
    try:
        answer = client.ask("POST", "scheduled-tasks/", body(name), **headers)
    except OSError as error:
        answer = Answer(0, 0.0, {"error": str(error)}, b"")
        client.close()
    tally.note(name, key, answer)


def _counted(tally: Tally, keys_before: int) -> dict[str, Any]:
    ids = {pk for found in tally.made.values() for pk in found}
    rows = count("SELECT count(*) FROM scheduling_scheduledtask WHERE name LIKE 'load, %%'")
    kept = count("SELECT count(*) FROM scheduling_scheduledtask WHERE id = ANY(%s)", [*ids])
    trail = count(
        "SELECT count(*) FROM scheduling_historicalscheduledtask WHERE name LIKE 'load, %%'"
    )
    stored = count(_KEYS) - keys_before
    wrong = {
        "lost": len(tally.made) - kept,
        "doubled": len(ids) - len(tally.made),
        "rows that nobody was told of": rows - kept,
        "rows of the audit trail": trail - rows,
        "keys": stored - len(tally.keys),
        "answers other than 201": sum(tally.statuses.values()) - tally.statuses[201],
    }
    return {
        "created": len(tally.made),
        "answers": sum(tally.statuses.values()),
        "statuses": dict(tally.statuses),
        "replayed": tally.replayed,
        "keys": len(tally.keys),
        "seconds": tally.seconds,
        "wrong": {name: number for name, number in wrong.items() if number},
    }
