"""What is wrong and what to do about it, in sentences."""

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from dispatcher import rescue
from dispatcher.installation import QUEUE
from dispatcher.models import TaskRun, Tick, Worker
from dispatcher.stats import BACKLOG_AGE, TICK_LIMIT
from scheduling import registry
from scheduling.clock import database_now
from scheduling.models import OverlapPolicy, ScheduledTask, StateReason

#: How far a clock may be off before it is worth a word (seconds).
CLOCK_WARNING = 2.0
#: How many names one sentence lists.
SHOWN = 10


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: `code` is stable, `sentence` says what it is and what to do."""

    code: str
    sentence: str


def examine(now: datetime | None = None) -> list[Finding]:
    """Everything that is wrong now; empty when all is well."""
    now = now or database_now()
    return [finding for check in CHECKS for finding in check(now)]


def check_clock(now: datetime) -> Iterator[Finding]:
    off = time.time() - now.timestamp()
    if abs(off) > CLOCK_WARNING:
        yield Finding(
            "clock",
            f"The clock of {socket.gethostname()} is {off:+.1f} s off the database's. "
            "Runs start by the clocks of the workers: synchronise it (NTP).",
        )


def check_ticks(now: datetime) -> Iterator[Finding]:
    last = Tick.objects.ticks().exclude(finished_at=None).last()
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


def check_workers(now: datetime) -> Iterator[Finding]:
    alive = list(Worker.objects.alive(now))
    consumed = {queue for worker in alive for queue in worker.queues}
    if QUEUE not in consumed:
        yield Finding(
            "no_dispatcher",
            f"No living worker consumes the queue “{QUEUE}”, so ticks wait. Start a dispatcher: "
            f"celery -A <your app> worker --queues {QUEUE}.",
        )
    for queue in sorted(_used_queues() - consumed - {QUEUE}):
        yield Finding(
            "queue_not_consumed",
            f"Enabled schedules use the queue “{queue}”, which no living worker consumes. Start "
            f"a worker with --queues {queue}, or change the schedules.",
        )


def check_pools(now: datetime) -> Iterator[Finding]:
    weak = [w for w in Worker.objects.alive(now) if w.queues != [QUEUE] and not w.can_terminate]
    limited = ScheduledTask.objects.filter(enabled=True).filter(
        Q(time_limit__isnull=False)
        | Q(soft_time_limit__isnull=False)
        | Q(overlap_policy=OverlapPolicy.CANCEL_PREVIOUS)
    )
    if weak and limited.exists():
        names = ", ".join(worker.hostname for worker in weak[:SHOWN])
        yield Finding(
            "pool_cannot_terminate",
            f"Schedules have time limits or cancel the previous run, but these workers can do "
            f"neither: {names}. Start them with the prefork pool, or use other queues for these.",
        )


def _used_queues() -> set[str]:
    rows = ScheduledTask.objects.filter(enabled=True).order_by()
    used = set(rows.exclude(queue="").values_list("queue", flat=True).distinct())
    routed = rows.filter(queue="").values_list("task", flat=True).distinct()
    return used | {registry.queue_for(task) for task in routed}


def check_broker(now: datetime) -> Iterator[Finding]:
    ready = rescue.messages_ready(QUEUE)
    if ready is None:
        yield Finding("broker", "The broker does not answer. Runs wait in the database meanwhile.")
    elif ready > 10:
        yield Finding(
            "dispatcher_backlog",
            f"{ready} messages wait in the queue “{QUEUE}”: the dispatcher is stuck or too slow.",
        )


def check_backlog(now: datetime) -> Iterator[Finding]:
    count = TaskRun.objects.waiting().filter(start_at__lt=now - BACKLOG_AGE).count()
    if count:
        yield Finding(
            "backlog",
            f"{count} runs should have started more than {BACKLOG_AGE.total_seconds():.0f} s ago. "
            "Add workers, or look why those there are do not start them.",
        )


def check_set_aside(now: datetime) -> Iterator[Finding]:
    rows = ScheduledTask.objects.filter(enabled=True, state_reason=StateReason.SET_ASIDE)
    for row in rows[:SHOWN]:
        yield Finding(
            "set_aside",
            f"Scheduled task “{row.name}” is set aside: "
            f"{row.state_reason_params.get('message', 'no reason is recorded')} Edit it; until "
            "then it is tried again once a day.",
        )


def check_tasks(now: datetime) -> Iterator[Finding]:
    names = ScheduledTask.objects.filter(enabled=True).order_by().values_list("task", flat=True)
    unknown = sorted(name for name in names.distinct() if not registry.is_known(name))
    if unknown:
        yield Finding(
            "unknown_task",
            f"This process does not know these scheduled tasks: {', '.join(unknown[:SHOWN])}. "
            "If the workers do not either, their runs fail as not registered.",
        )


CHECKS: tuple[Callable[[datetime], Iterator[Finding]], ...] = (
    check_clock,
    check_ticks,
    check_broker,
    check_workers,
    check_pools,
    check_backlog,
    check_set_aside,
    check_tasks,
)
