"""What enabled schedules need of the broker and of the workers: queues, routes, tasks, pools."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db.models import Q

from dispatcher.models import Worker
from dispatcher.publish import broker
from dispatcher.watch.doctor.finding import Finding, listed
from dispatcher.worker.beat import QUEUE
from scheduling import registry
from scheduling.database import in_batches
from scheduling.models import OverlapPolicy, ScheduledTask


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
    said: dict[str, str] = {}
    for queue, task in sorted(used_tasks()):
        if problem := registry.queue_problem(queue, task):
            said.setdefault(queue, problem.sentence)
    said |= broker.refusals(sorted(used_queues() - said.keys()))
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
    for row in in_batches(unnamed.only("task", "args", "kwargs").order_by("pk")):
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
    check_queues,
    check_refused_queues,
    check_routes,
    check_tasks,
    check_pools,
)
