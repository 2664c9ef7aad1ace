"""Workers without processes: threads that reach the gate at the same instant."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from django.db import connection

from dispatcher.models import TaskRun
from dispatcher.worker import gate


class Crew:
    """Threads, each with a database connection, that begin each round together."""

    def __init__(self, size: int) -> None:
        self.size, self.pool = size, ThreadPoolExecutor(size)

    def at_once(self, *actions: Callable[[], Any]) -> list[Any]:
        barrier = threading.Barrier(len(actions))

        def work(action: Callable[[], Any]) -> Any:
            barrier.wait(timeout=60)
            return action()

        futures = [self.pool.submit(work, action) for action in actions]
        return [future.result(timeout=120) for future in futures]

    def close(self) -> None:
        self.at_once(*[lambda: connection.close()] * self.size)
        self.pool.shutdown()


def start(run: TaskRun) -> UUID | None:
    """What a worker does with a first message of the run: the claim's token, None if vetoed."""
    request = SimpleNamespace(
        id=str(uuid4()),
        hostname="worker",
        retries=0,
        args=run.args,
        kwargs=run.kwargs,
        run_id=str(run.pk),
        attempt=0,
    )
    try:
        gate.enter(request)
    except gate.Vetoed:
        return None
    return request.run_token  # type: ignore[no-any-return]


def fresh(run: TaskRun) -> TaskRun:
    return TaskRun.objects.get(pk=run.pk)
