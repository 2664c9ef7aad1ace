"""What keeps the clock and does the work: ticks, the broker, dispatchers, workers, clocks."""

import socket
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from celery.app import app_or_default
from django.db.models import Q

from dispatcher.models import Tick, Worker
from dispatcher.publish import broker
from dispatcher.watch.doctor.finding import Finding, listed
from dispatcher.watch.figures import TICK_LIMIT
from dispatcher.worker.beat import QUEUE
from scheduling import registry
from scheduling.database import clock_offset
from scheduling.models import OverlapPolicy, ScheduledTask

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


def check_rescue(now: datetime) -> Iterator[Finding]:
    passes = Tick.objects.rescues().exclude(finished_at=None)
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
    yield from check_gates(now)


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
    """By name: the queues of ticks and of enabled schedules that the worker consumes."""
    try:
        answers = app_or_default().control.inspect(timeout=ANSWER_SECONDS).active_queues() or {}
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
    """Recent ticks are enough: `tick --loop` consumes no queue."""
    ticked = Tick.objects.ticks().filter(finished_at__gt=now - TICK_LIMIT).exists()
    alive = Worker.objects.alive(now)
    if not ticked and not any(QUEUE in worker.queues for worker in alive.defer("tasks")):
        yield Finding(
            "no_dispatcher",
            f"No living worker consumes the queue “{QUEUE}”, so ticks wait. Start a dispatcher: "
            f"celery -A <your app> worker --queues {QUEUE}.",
        )


def check_queues(now: datetime) -> Iterator[Finding]:
    consumed = {
        queue for worker in Worker.objects.alive(now).defer("tasks") for queue in worker.queues
    }
    for queue in sorted(used_queues() - consumed):
        yield Finding(
            "queue_not_consumed",
            f"Enabled schedules use the queue “{queue}”, which no living worker consumes. Start "
            f"a worker with --queues {queue}, or change the schedules.",
        )


def check_refused_queues(now: datetime) -> Iterator[Finding]:
    """Queues to which nothing can be sent: their runs wait, and the others go on."""
    queues = sorted(used_queues())
    problems = {queue: registry.queue_problem(queue) for queue in queues}
    said = {queue: problem.sentence for queue, problem in problems.items() if problem}
    said |= broker.refusals(queue for queue in queues if queue not in said)
    for queue, text in said.items():
        yield Finding(
            "queue_refused",
            f"Enabled schedules use the queue {queue!r}, to which no run can be sent: "
            f"{text[:300]} Change the schedules, or what holds the name in the broker.",
        )


def used_queues() -> set[str]:
    return {queue for queue, _task in used_tasks()}


def used_tasks() -> set[tuple[str, str]]:
    """Queue and task of every enabled schedule, but those whose routing fails."""
    return {(queue, task) for queue, task, _error in _routed() if queue}


def check_routes(now: datetime) -> Iterator[Finding]:
    """Route functions of the host that raise."""
    errors = {task: error for _queue, task, error in _routed() if error}
    for task, error in sorted(errors.items()):
        yield Finding(
            "route_failed",
            f"{error.rstrip('.')}. Schedules of {task} get the default queue, and their runs end "
            "as not publishable. Correct the function in task_routes.",
        )


def _routed() -> Iterator[tuple[str, str, str]]:
    """Queue, task and "", or "", task and what its routing raises, of all enabled schedules."""
    rows = ScheduledTask.objects.filter(enabled=True).order_by()
    named = rows.exclude(queue="").values_list("queue", "task").distinct()
    yield from ((queue, task, "") for queue, task in named)
    unnamed = rows.filter(queue="")
    if not registry.depends_on_arguments():
        for task in unnamed.values_list("task", flat=True).distinct():
            yield _route(task, (), {})
        return
    for row in unnamed.only("task", "args", "kwargs").order_by("pk").iterator(chunk_size=500):
        yield _route(row.task, row.args, row.kwargs)


def _route(task: str, args: Any, kwargs: Any) -> tuple[str, str, str]:
    try:
        return registry.asked_queue(task, args, kwargs), task, ""
    except registry.RouteError as error:
        return "", task, str(error)


def check_tasks(now: datetime) -> Iterator[Finding]:
    """Tasks that the workers of their queue do not know."""
    workers = [w for w in Worker.objects.alive(now) if w.tasks is not None]
    known = {worker.pk: set(worker.tasks or ()) for worker in workers}
    for queue, task in sorted(used_tasks()):
        consumers = [worker for worker in workers if queue in worker.queues]
        ignorant = [worker.hostname for worker in consumers if task not in known[worker.pk]]
        if ignorant:
            who = "no worker" if len(ignorant) == len(consumers) else listed(ignorant) + " do not"
            knows = "knows" if who == "no worker" else "know"
            yield Finding(
                "unknown_task",
                f"Enabled schedules run {task} in the queue “{queue}”, but {who} {knows} it: "
                "their runs there fail as not registered. Deploy the task and restart the "
                "workers, or correct the schedules.",
            )


def check_pools(now: datetime) -> Iterator[Finding]:
    alive = Worker.objects.alive(now).defer("tasks")
    weak = [worker for worker in alive if worker.queues != [QUEUE] and not worker.can_terminate]
    limited = ScheduledTask.objects.filter(enabled=True).filter(
        Q(time_limit__isnull=False)
        | Q(soft_time_limit__isnull=False)
        | Q(overlap_policy=OverlapPolicy.CANCEL_PREVIOUS)
    )
    if weak and limited.exists():
        yield Finding(
            "pool_cannot_terminate",
            f"Schedules have time limits or cancel the previous run, but these workers can do "
            f"neither: {listed(worker.hostname for worker in weak)}. Start them with the prefork "
            "pool, or use other queues for these schedules.",
        )


CHECKS = (
    check_clocks,
    check_ticks,
    check_rescue,
    check_broker,
    check_dispatchers,
    check_queues,
    check_refused_queues,
    check_routes,
    check_tasks,
    check_pools,
)
