"""What keeps the clock and does the work: ticks, the broker, dispatchers, workers, clocks.

What the schedules need of them: `needs`.
"""

import socket
from collections.abc import Iterator
from datetime import datetime

from django.db.models import Q

from dispatcher.models import Tick, Worker
from dispatcher.publish import broker
from dispatcher.publish.publisher import NO_APP
from dispatcher.watch.doctor.finding import Finding, listed
from dispatcher.watch.doctor.needs import used_queues
from dispatcher.watch.figures import TICK_LIMIT, last_tick
from dispatcher.worker.beat import QUEUE
from scheduling.celery_app import celery_app, installed
from scheduling.database import clock_offset

#: How far a clock may be off before it is worth a word (seconds).
CLOCK_WARNING = 2.0
#: Messages that wait in the dispatchers' queue; two a minute are its due.
DISPATCHER_BACKLOG = 10
#: How long workers have to answer (seconds).
ANSWER_SECONDS = 1.0


def check_clocks(now: datetime) -> Iterator[Finding]:
    off = clock_offset()
    if abs(off) > CLOCK_WARNING:
        yield Finding(
            "clock",
            f"The clock of {socket.gethostname()} is {off:+.1f} s off the database's. "
            "Synchronise it (NTP).",
        )
    wrong = Q(clock_offset__gt=CLOCK_WARNING) | Q(clock_offset__lt=-CLOCK_WARNING)
    workers = list(Worker.objects.alive(now).filter(wrong).order_by("hostname"))
    if workers:
        names = listed(f"{worker.hostname} {worker.clock_offset:+.1f} s" for worker in workers)
        yield Finding(
            "worker_clock",
            f"The clocks of these workers are off the database's: {names}. Runs start by the "
            "clocks of the workers: synchronise them (NTP).",
        )


def check_ticks(now: datetime) -> Iterator[Finding]:
    last = last_tick()
    if last is None or last.finished_at is None:
        yield Finding("no_tick", "No tick has ever run. Start one beat and one dispatcher.")
    elif now - last.finished_at > TICK_LIMIT:
        age = (now - last.finished_at).total_seconds()
        yield Finding(
            "late_tick",
            f"No tick has run for {age:.0f} s. Look whether beat and a dispatcher are alive and "
            "reach the broker and the database.",
        )
    elif last.error:
        yield Finding("tick_error", f"The last tick said: {last.error}")


def check_rescue(now: datetime) -> Iterator[Finding]:
    passes = Tick.objects.rescues().finished()
    recent = passes.filter(started_at__gt=now - TICK_LIMIT)
    ticking = Tick.objects.ticks().filter(started_at__lt=now - TICK_LIMIT).exists()
    if ticking and not recent.exists():
        yield Finding(
            "late_rescue",
            f"No rescue pass has ended for {TICK_LIMIT.total_seconds():.0f} s: lost runs are not "
            "noticed. Beat must send dispatcher.rescue; look for its errors in the dispatcher's "
            "log.",
        )


def check_broker(now: datetime) -> Iterator[Finding]:
    if installed() is None:
        yield Finding("no_app", NO_APP)
        return
    ready = broker.messages_ready(QUEUE)
    if ready is None:
        yield Finding("broker", "The broker does not answer. Runs wait in the database meanwhile.")
        return
    if ready > DISPATCHER_BACKLOG:
        yield Finding(
            "dispatcher_backlog",
            f"{ready} messages wait in the queue “{QUEUE}”: the dispatcher is away, stuck or too "
            "slow. Look at its log; start another one.",
        )
    yield from check_eviction(now)
    yield from check_gates(now)


def check_eviction(now: datetime) -> Iterator[Finding]:
    """A Redis that drops messages when it is full, instead of refusing them."""
    found = broker.eviction()
    if found is None or found.policy in ("", "noeviction"):
        return
    remedy = (
        "Set maxmemory-policy to noeviction, and give the cache of the project a Redis of its own."
    )
    if found.policy.startswith("allkeys"):
        when = "Its memory is limited" if found.limit else "As soon as its memory is limited"
        lost = "any key is dropped when it is full, and with a queue all that waits in it"
        yield Finding(
            "broker_evicts",
            f"The maxmemory-policy of the broker is {found.policy}. {when}: {lost}. {remedy}",
            is_advice=not found.limit,
        )
    else:
        yield Finding(
            "broker_evicts",
            f"The maxmemory-policy of the broker is {found.policy}: when its memory is full, keys "
            f"with an expiry are dropped, also queues that are declared with one. {remedy}",
            is_advice=True,
        )


def check_gates(now: datetime) -> Iterator[Finding]:
    """Workers that answer, take messages of schedules, and have never said a word to us."""
    silent = _silent_workers(now)
    strangers = sorted(name for name, queues in silent.items() if QUEUE in queues)
    if strangers:
        yield Finding(
            "two_installations",
            f"These workers take ticks from the queue “{QUEUE}” of this broker, and this database "
            f"knows none of them: {listed(strangers)}. If they are of another installation, each "
            "takes the other's messages: give each a Redis database (redis://…/1) or a virtual "
            "host of its own. If they are yours, they lack dispatcher.install(app), or this "
            "database.",
        )
    silent = {name: queues for name, queues in silent.items() if name not in strangers}
    if silent:
        yield Finding(
            "worker_without_gate",
            f"These workers take messages of scheduled tasks but leave no sign of life in the "
            f"database: {listed(sorted(silent))}. Either their Celery app does not call "
            "dispatcher.install(app), and runs in them are neither claimed nor recorded; or they "
            "do not reach the database. Stop them until that is mended.",
        )


def _silent_workers(now: datetime) -> dict[str, set[str]]:
    """Workers unknown here, by name, with the queues of ticks and schedules they consume."""
    try:
        answers = celery_app().control.inspect(timeout=ANSWER_SECONDS).active_queues() or {}
    except broker.connection_errors():
        return {}  # it did answer a moment ago
    known = set(Worker.objects.alive(now).values_list("hostname", flat=True))
    used = used_queues() | {QUEUE}
    queues = {
        name: {str(queue["name"]) for queue in consumed} & used
        for name, consumed in answers.items()
        if name not in known
    }
    return {name: consumed for name, consumed in queues.items() if consumed}


def check_dispatchers(now: datetime) -> Iterator[Finding]:
    """No dispatcher is alive. Recent ticks are enough: `tick --loop` consumes no queue."""
    ticked = Tick.objects.ticks().filter(finished_at__gt=now - TICK_LIMIT).exists()
    alive = Worker.objects.alive(now)
    if not ticked and not any(QUEUE in worker.queues for worker in alive.defer("tasks")):
        yield Finding(
            "no_dispatcher",
            f"No living worker consumes the queue “{QUEUE}”, so ticks wait. Start a dispatcher: "
            f"celery -A <your app> worker --queues {QUEUE}.",
        )


CHECKS = (
    check_clocks,
    check_ticks,
    check_rescue,
    check_broker,
    check_dispatchers,
)
