"""Runs that people and programs ask for: now, at a time, again, for slots of the past; and cancel.

Each commits its rows first and publishes on commit: in a transaction that rolls back nothing runs.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from dispatcher.models import Status, TaskRun, Trigger
from dispatcher.plan.new_runs import new_run, publish_time
from dispatcher.publish import publisher
from dispatcher.worker import overlap, record
from scheduling import registry
from scheduling.database import TRIES, database_now, retry_contention
from scheduling.database.after_commit import after_commit
from scheduling.models import ScheduledTask, spoilt_rows
from scheduling.schedules import ScheduleError
from scheduling.schedules.policies import INSTANT
from scheduling.validation import check_arguments, schedule_error

logger = logging.getLogger(__name__)

#: The most runs that one backfill makes.
BACKFILL_LIMIT = 10_000


def run_now(
    scheduled_task: ScheduledTask,
    *,
    by: Any = None,
    kwargs: dict[str, Any] | None = None,
    args: Sequence[Any] | None = None,
    via: str = "code",
) -> TaskRun:
    """Run it once, now, also while it is paused; `args` and `kwargs` replace its own for this run.

    `ValidationError` names `args` or `kwargs` when they do not fit the task.
    """
    now = database_now()
    run = _of(scheduled_task, Trigger.MANUAL, now, now, by, via)
    _replace_arguments(run, args, kwargs)
    return _start([run], now)[0]


def run_task(
    task: Any,
    args: Sequence[Any] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    at: datetime | None = None,
    by: Any = None,
    via: str = "code",
) -> TaskRun:
    """Run a task (or its name) without a definition, now or `at` an aware datetime."""
    name = registry.task_name(task)
    now = database_now()
    if registry.is_refused(name):
        raise _refusal("task", _("This task cannot be run from here."), "refused_task")
    if at is not None and timezone.is_naive(at):
        raise _refusal("at", _("Give a date and time with its time zone."), "naive")
    args, kwargs = _checked(name, args, kwargs or {})
    start_at = max(at, now) if at is not None else now
    run = TaskRun(
        name=name,
        task=name,
        args=args,
        kwargs=kwargs,
        queue=registry.queue_for(name),
        **_asked_for(Trigger.MANUAL, start_at, now, by, via),
    )
    return _start([run], now)[0]


def rerun(
    run: TaskRun,
    *,
    by: Any = None,
    kwargs: dict[str, Any] | None = None,
    args: Sequence[Any] | None = None,
    via: str = "code",
) -> TaskRun:
    """Run an ended run again, with the arguments that it had, or with these in their place."""
    run.refresh_from_db()
    if not run.is_ended:
        raise ValidationError(_("This run has not ended. Cancel it first, or wait."), "not_ended")
    now = database_now()
    again = TaskRun(
        **{name: getattr(run, name) for name in _COPIED},
        rerun_of=run,
        **_asked_for(Trigger.RERUN, now, now, by, via),
    )
    _replace_arguments(again, args, kwargs)
    return _start([again], now)[0]


def _asked_for(
    trigger: str, start_at: datetime, now: datetime, by: Any, via: str
) -> dict[str, Any]:
    """What a run has that no definition makes."""
    return {
        "trigger": trigger,
        "scheduled_for": start_at,
        "start_at": start_at,
        "planned_at": now,
        "publish_at": publish_time(start_at, now),
        "triggered_by": str(by or "")[:200],
        "triggered_via": via,
    }


_COPIED = (
    "scheduled_task_id",
    "name",
    "task",
    "args",
    "kwargs",
    "queue",
    "priority",
    "time_limit",
    "soft_time_limit",
    "revision",
)


def backfill(
    scheduled_task: ScheduledTask,
    start: datetime,
    end: datetime,
    *,
    by: Any = None,
    via: str = "code",
) -> list[TaskRun]:
    """Run the slots in [start, end) that have no succeeded run, oldest first."""
    now = database_now()
    slots = backfill_slots(scheduled_task, start, end)
    return _start([_of(scheduled_task, Trigger.BACKFILL, s, now, by, via) for s in slots], now)


def backfill_slots(scheduled_task: ScheduledTask, start: datetime, end: datetime) -> list[datetime]:
    """The slots that `backfill` would run; `ValidationError` names what is wrong with the range."""
    if timezone.is_naive(start) or timezone.is_naive(end):
        raise _refusal("start", _("Give dates and times with their time zone."), "naive")
    if end <= start:
        raise _refusal("end", _("The end must be after the start."), "ends_before_start")
    window = scheduled_task.window()
    span = window.span(start - INSTANT, end - INSTANT)
    if span is not None and span.count > BACKFILL_LIMIT:
        message = _("That is %(count)d runs; at most %(limit)d can be made at once.")
        params = {"count": span.count, "limit": BACKFILL_LIMIT}
        raise _refusal("end", message % params, "too_many_runs")
    done = scheduled_task.runs.filter(
        status=Status.SUCCEEDED, scheduled_for__gte=start, scheduled_for__lt=end
    )
    succeeded = set(done.values_list("scheduled_for", flat=True))
    return [s for s in window.between(start - INSTANT, end - INSTANT) if s not in succeeded]


def cancel(run: TaskRun, *, by: Any = None) -> bool:
    """End a run that has not ended: before its start, or by terminating its process.

    False when it had ended already. Only the prefork pool can end a running process; elsewhere
    the run is cancelled in the record and its function runs to its end.
    """
    who = str(by or "")[:200]
    for _try in range(TRIES):  # it may start, or come between two attempts, while we look
        if _cancel_waiting(run, who) or _cancel_running(run, who):
            _cancelled(run)
            return True
        if TaskRun.objects.filter(pk=run.pk).ended().exists():
            return False
    return False


def _cancel_waiting(run: TaskRun, who: str) -> bool:
    if not TaskRun.objects.filter(pk=run.pk).close(Status.CANCELLED, "by_person", by=who):
        return False
    overlap.wake(run.scheduled_task_id)
    return True


def _cancel_running(run: TaskRun, who: str) -> bool:
    running = TaskRun.objects.filter(pk=run.pk, status=Status.RUNNING).first()
    if running is None or not TaskRun.objects.all().cancel_running(running, "by_person", by=who):
        return False
    overlap.wake(running.holds)
    after_commit(overlap.terminate, running)
    return True


def _cancelled(run: TaskRun) -> None:
    logger.info("Run %s was cancelled", run.pk, extra={"action": "cancelled", "run": str(run.pk)})
    after_commit(record.announce, run.pk)


def _of(
    task: ScheduledTask, trigger: str, scheduled_for: datetime, now: datetime, by: Any, via: str
) -> TaskRun:
    _check_readable(task)
    run = new_run(
        task, trigger, scheduled_for=scheduled_for, start_at=max(scheduled_for, now), now=now
    )
    run.triggered_by, run.triggered_via = str(by or "")[:200], via
    run.expires_at = None  # asked for by a person, not due at a slot
    return run


def _check_readable(task: ScheduledTask) -> None:
    try:
        spoilt_rows.check_readable(task)
    except ScheduleError as error:  # or it would run with a stand-in for its arguments
        raise ValidationError({error.field: schedule_error(error)}) from error


def _start(runs: list[TaskRun], now: datetime) -> list[TaskRun]:
    for run in runs[:1]:  # the others have the same definition
        _check_sendable(run)
    return _insert(runs, now)


def _check_sendable(run: TaskRun) -> None:
    """A definition, or an ended run, may be older than a rule."""
    if queue := registry.queue_problem(run.queue):
        raise _refusal("queue", queue.sentence, queue.code)
    _refuse_unsendable(run.args, run.kwargs)


def _refuse_unsendable(args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    for wrong in registry.argument_problems(list(args), kwargs):
        raise _refusal(wrong.field, wrong.sentence, wrong.code)


@retry_contention
def _insert(runs: list[TaskRun], now: datetime) -> list[TaskRun]:
    with transaction.atomic():
        TaskRun.objects.bulk_create(runs, batch_size=500)
        after_commit(publisher.publish_or_leave, runs, now)
    return runs


def _replace_arguments(
    run: TaskRun, args: Sequence[Any] | None, kwargs: dict[str, Any] | None
) -> None:
    if args is None and kwargs is None:
        return
    new_args = run.args if args is None else args
    new_kwargs = run.kwargs if kwargs is None else kwargs
    run.args, run.kwargs = _checked(run.task, new_args, new_kwargs)


def _checked(task: str, args: Any, kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as they are stored; `ValidationError` names `args` or `kwargs`."""
    args = list(args) if isinstance(args, tuple) else args
    if errors := dict(check_arguments(task, args, kwargs)):
        raise ValidationError(errors)
    return args, kwargs


def _refusal(field: str, message: str, code: str) -> ValidationError:
    return ValidationError({field: ValidationError(message, code=code)})
