"""Run a scheduled task now, a task now or later, an ended run again."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from dispatcher.models import TaskRun, Trigger
from dispatcher.plan.new_runs import expiry_of, new_run, publish_time
from dispatcher.publish import publisher
from scheduling import registry
from scheduling.database import database_now, retry_contention
from scheduling.database.after_commit import after_commit
from scheduling.models import ScheduledTask, spoilt_rows
from scheduling.schedules import ScheduleError
from scheduling.validation import called, check_arguments, schedule_error


def run_now(
    scheduled_task: ScheduledTask,
    *,
    by: Any = None,
    kwargs: dict[str, Any] | None = None,
    args: Sequence[Any] | None = None,
    via: str = "code",
) -> TaskRun:
    """Run it once, now, also while it is paused; `args` and `kwargs` replace its own for this run.

    Raises `ValidationError`, which names `args` or `kwargs`, when they do not fit the task.
    """
    now = database_now()
    run = run_of(scheduled_task, Trigger.MANUAL, now, now, by, via)
    _replace_arguments(run, args, kwargs)
    return start_runs([run], now)[0]


def run_task(
    task: Any,
    args: Sequence[Any] | None = (),
    kwargs: dict[str, Any] | None = None,
    *,
    at: datetime | None = None,
    by: Any = None,
    via: str = "code",
) -> TaskRun:
    """Run a task without a definition, now or `at` an aware datetime. `task`: a Celery task, its
    name, or the signature of one, with its arguments, queue, priority, expiry and time limits.

    Raises `ValidationError`, which names what cannot be used.
    """
    call = called(task, args, kwargs)
    name, now = call.task, database_now()
    if registry.is_refused(name):
        raise refusal("task", _("This task cannot be run from here."), "refused_task")
    if at is not None and timezone.is_naive(at):
        raise refusal("at", _("Give a date and time with its time zone."), "naive")
    args, kwargs = _checked(name, call.args, call.kwargs)
    start_at = max(at, now) if at is not None else now
    run = TaskRun(
        name=name,
        task=name,
        args=args,
        kwargs=kwargs,
        expires_at=expiry_of(call.expires, start_at) or registry.own_expiry(name, start_at),
        **{"queue": registry.queue_for(name, args, kwargs)} | call.columns,
        **_asked_for(Trigger.MANUAL, start_at, now, by, via),
    )
    return start_runs([run], now)[0]


def rerun(
    run: TaskRun,
    *,
    by: Any = None,
    kwargs: dict[str, Any] | None = None,
    args: Sequence[Any] | None = None,
    via: str = "code",
) -> TaskRun:
    """Run an ended run again, with the arguments that it had, or with these in their place.

    Raises `ValidationError` where it has not ended, or where the arguments do not fit the task.
    """
    run.refresh_from_db()
    if not run.is_ended:
        raise ValidationError(_("This run has not ended. Cancel it first, or wait."), "not_ended")
    now = database_now()
    again = TaskRun(
        **{name: getattr(run, name) for name in _COPIED},
        rerun_of=run,
        expires_at=_expiry_again(run, now),
        **_asked_for(Trigger.RERUN, now, now, by, via),
    )
    _replace_arguments(again, args, kwargs)
    return start_runs([again], now)[0]


def _expiry_again(run: TaskRun, now: datetime) -> datetime | None:
    """By what the task says, if the schedule says nothing: that is about slots."""
    task = run.scheduled_task
    return None if task and task.expires_seconds else registry.own_expiry(run.task, now)


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


def run_of(
    task: ScheduledTask, trigger: str, scheduled_for: datetime, now: datetime, by: Any, via: str
) -> TaskRun:
    """A run of the scheduled task, not saved, as a person asks for it: not due at a slot."""
    _check_readable(task)
    run = new_run(
        task, trigger, scheduled_for=scheduled_for, start_at=max(scheduled_for, now), now=now
    )
    run.triggered_by, run.triggered_via = str(by or "")[:200], via
    run.expires_at = None
    if not task.expires_seconds and trigger != Trigger.BACKFILL:  # whose runs take turns
        run.expires_at = registry.own_expiry(task.task, run.start_at)
    return run


def _check_readable(task: ScheduledTask) -> None:
    try:
        spoilt_rows.check_readable(task)
    except ScheduleError as error:  # or it would run with a stand-in for its arguments
        raise ValidationError({error.field: schedule_error(error)}) from error


def start_runs(runs: list[TaskRun], now: datetime) -> list[TaskRun]:
    """Check and insert runs of one definition, and publish them on commit."""
    for run in runs[:1]:  # the others have the same definition
        _check_sendable(run)
    return _insert(runs, now)


def _check_sendable(run: TaskRun) -> None:
    """A definition, or an ended run, may be older than a rule."""
    if queue := registry.queue_problem(run.queue, run.task):
        raise refusal("queue", queue.sentence, queue.code)
    _refuse_unsendable(run.args, run.kwargs)


def _refuse_unsendable(args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    for wrong in registry.argument_problems(list(args), kwargs):
        raise refusal(wrong.field, wrong.sentence, wrong.code)


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


def refusal(field: str, message: str, code: str) -> ValidationError:
    """The error that names what was asked for wrongly."""
    return ValidationError({field: ValidationError(message, code=code)})
