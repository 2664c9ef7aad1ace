"""Whether everything that has to be there is: ticks, dispatchers, workers, the broker."""

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from dispatcher.models import Tick, Worker
from dispatcher.publish.broker import connection_errors, ready_in
from dispatcher.publish.pool import AT_ONCE, REDIS_TIMES, is_redis
from dispatcher.watch.figures.limits import (
    TICK_LIMIT,
)
from dispatcher.worker.beat import QUEUE
from scheduling.celery_app import celery_app


def last_tick() -> Tick | None:
    """The newest tick that came to its end; one that failed has none."""
    return Tick.objects.ticks().finished().last()


def dispatchers(now: datetime) -> list[str]:
    """The hosts that have ticked lately."""
    lately = Tick.objects.ticks().filter(started_at__gte=now - 2 * TICK_LIMIT)
    newest = lately.order_by("-started_at").values_list("dispatcher", flat=True)[:100]
    return sorted({name for name in newest if name})


def workers(now: datetime) -> list[Worker]:
    """Living workers, whose lease holds, without the dispatchers."""
    alive = Worker.objects.alive(now).order_by("hostname")[:500]
    return [worker for worker in alive if worker.queues != [QUEUE]]


@dataclass(frozen=True)
class Depth:
    """How many messages wait in a queue of the broker."""

    queue: str
    ready: int


#: A broker that answers is asked at most this often; one that does not, less often (seconds).
DEPTH_KEPT, SILENCE_KEPT = 5.0, 30.0
_depths: dict[tuple[str, ...], tuple[float, list[Depth] | None]] = {}


def depths(queues: Collection[str]) -> list[Depth] | None:
    """The messages that wait in each queue; None without a broker. Kept for some seconds, so that
    a page that many people look at asks the broker once."""
    names = tuple(sorted({*queues, QUEUE}))
    until, depths_now = _depths.get(names, (0.0, None))
    if time.monotonic() < until:
        return depths_now
    depths_now = _ask_broker(names)
    _depths.clear()
    kept = SILENCE_KEPT if depths_now is None else DEPTH_KEPT
    _depths[names] = time.monotonic() + kept, depths_now
    return depths_now


def _ask_broker(names: Iterable[str]) -> list[Depth] | None:
    app = celery_app()
    options = {**(app.conf.broker_transport_options or {})} | AT_ONCE
    if is_redis(app):
        options |= REDIS_TIMES | {"socket_timeout": 1, "socket_connect_timeout": 0.5}
    else:
        options |= {"read_timeout": 1, "write_timeout": 1}
    try:
        with app.connection_for_read(connect_timeout=0.5, transport_options=options) as broker:
            broker.ensure_connection(max_retries=0)
            return [Depth(name, ready_in(broker, name)) for name in names]
    except connection_errors():
        return None
