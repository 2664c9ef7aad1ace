"""What a valid scheduled task is. `clean(row)` raises one `ValidationError` naming each field."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db.models import Value
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scheduling import registry
from scheduling.database import database_now
from scheduling.schedules import ScheduleError
from scheduling.validation.arguments import Found, check_arguments
from scheduling.validation.columns import RULE
from scheduling.validation.errors import schedule_error

if TYPE_CHECKING:
    from scheduling.models import ScheduledTask

#: The column that each kind needs, and what to say where it is missing.
KIND_FIELDS = {
    "one_time": ("run_at", gettext_lazy("Give the time at which the job runs.")),
    "interval": ("interval_seconds", gettext_lazy("Give the interval in seconds.")),
    "cron": ("cron_expression", gettext_lazy("Give the cron expression.")),
}

_TEXTS = ("name", "description", "owner", "group", "task", "queue", "timezone", "cron_expression")
_MOMENTS = ("run_at", "starts_at", "ends_at", "paused_until")

Errors = dict[str, list[ValidationError]]


def clean(row: "ScheduledTask", now: datetime | None = None) -> None:
    """Check everything that one row can say of itself, and a new name against the others.

    `now` is looked up if it is needed and not given.
    """
    errors: Errors = {}
    for check in _CHECKS:
        for field, error in check(row):
            errors.setdefault(field, []).append(error)
    if not errors:
        for field, error in _next_slot(row, now):
            errors.setdefault(field, []).append(error)
    if errors:
        raise ValidationError(errors)


def check_values(row: "ScheduledTask") -> None:
    """Check each value by itself and, where one is wrong, all else, so that everything is told at
    once. `save()` checks all else anyhow: asked here as well, the database would be asked twice."""
    try:
        row.clean_fields()
    except ValidationError as error:
        errors = error.update_error_dict({})
        try:
            row.clean()
        except ValidationError as more:
            errors = more.update_error_dict(errors)
        raise ValidationError(errors) from error


def interval_of(seconds: Any) -> timedelta:
    """The column as a timedelta; garbage becomes a `ScheduleError`."""
    try:
        return timedelta(seconds=seconds)
    except (TypeError, OverflowError) as error:
        raise ScheduleError(
            "not_a_duration", "interval_seconds", text=repr(seconds)[:60]
        ) from error


def whole_seconds(every: Any) -> Any:
    """Seconds from a timedelta or a whole number; `ValidationError` names `interval_seconds`."""
    seconds = every.total_seconds() if isinstance(every, timedelta) else every
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise _field_error(
            "interval_seconds",
            _("Give the interval as whole seconds or a timedelta, not %(value)s.")
            % {"value": repr(every)[:60]},
            "not_a_duration",
        )
    if not math.isfinite(seconds) or seconds != int(seconds):
        raise _field_error(
            "interval_seconds", _("The interval must be whole seconds."), "fraction_of_second"
        )
    return int(seconds)


def _field_error(field: str, message: str, code: str) -> ValidationError:
    return ValidationError({field: ValidationError(message, code=code)})


def _check_texts(row: "ScheduledTask") -> Found:
    for field in _TEXTS:
        value = getattr(row, field)
        if isinstance(value, str) and not registry.storable(value):
            message = _("It contains a character that cannot be stored (NUL or half a surrogate).")
            yield field, ValidationError(message, code="not_storable")


def _check_nothing(row: "ScheduledTask") -> Found:
    """A text that may be empty is no None: Django takes that for empty, the database does not."""
    for field in ("description", "owner", "group", "queue"):
        if getattr(row, field) is None:
            message = _("This cannot be null. Leave it empty instead.")
            yield field, ValidationError(message, code="null")


def _check_name(row: "ScheduledTask") -> Found:
    if not isinstance(row.name, str) or not row.name.strip():
        yield "name", ValidationError(_("Give the job a name."), code="blank")
        return
    if not registry.storable(row.name):
        return
    if not row._state.adding and not row.is_changed("name"):
        return  # it is unique already: no need to ask
    others = type(row).objects.exclude(pk=row.pk).filter(name_key=Lower(Value(row.name)))
    if others.exists():
        message = _("Another scheduled task has this name (upper and lower case are the same).")
        yield "name", ValidationError(message, code="unique")


def _check_task(row: "ScheduledTask") -> Found:
    name = row.task
    if not isinstance(name, str) or not name.strip():
        yield "task", ValidationError(_("Choose a task."), code="blank")
    elif name != name.strip() or any(c.isspace() for c in name):
        message = _("The name of a task has no spaces.")
        yield "task", ValidationError(message, code="spaces")
    elif registry.is_refused(name):
        message = _("“%(task)s” belongs to Celery or to the dispatcher and cannot be scheduled.")
        yield "task", ValidationError(message % {"task": name}, code="refused_task")


def _check_arguments(row: "ScheduledTask") -> Found:
    yield from check_arguments(row.task, row.args, row.kwargs)


def _check_moments(row: "ScheduledTask") -> Found:
    for field in _MOMENTS:
        value = getattr(row, field)
        if value is not None and (not isinstance(value, datetime) or timezone.is_naive(value)):
            message = _("Give a date and time with its time zone.")
            yield field, ValidationError(message, code="naive")
    if _comparable(row.starts_at, row.ends_at) and row.ends_at < row.starts_at:  # type: ignore[operator]
        yield "ends_at", ValidationError(_("It ends before it starts."), code="ends_before_start")


def _comparable(*moments: Any) -> bool:
    return all(isinstance(m, datetime) and timezone.is_aware(m) for m in moments)


def _check_limits(row: "ScheduledTask") -> Found:
    soft, hard = row.soft_time_limit, row.time_limit
    if isinstance(soft, int) and isinstance(hard, int) and soft >= hard:
        message = _("The soft time limit must be shorter than the time limit.")
        yield "soft_time_limit", ValidationError(message, code="soft_not_shorter")


def _check_queue(row: "ScheduledTask") -> Found:
    if not isinstance(row.queue, str) or not registry.storable(row.queue):
        return  # that was said of it
    problem = registry.queue_problem(row.queue, str(row.task))
    if problem is not None:
        yield "queue", ValidationError(problem.sentence, code=problem.code)


def _check_schedule(row: "ScheduledTask") -> Found:
    if row.kind not in KIND_FIELDS:
        message = _("Choose one of one_time, interval and cron.")
        yield "kind", ValidationError(message, code="invalid_choice")
        return
    own, missing = KIND_FIELDS[row.kind]
    for field, _message in KIND_FIELDS.values():
        if field != own and getattr(row, field) not in (None, ""):
            message = _("Leave this empty for the kind “%(kind)s”.") % {"kind": row.kind}
            yield field, ValidationError(message, code="other_kind")
    if getattr(row, own) in (None, ""):
        yield own, ValidationError(str(missing), code="required")
        return
    if row.starts_at is None or _comparable(row.starts_at):  # else that was said of it
        try:
            row.schedule()
        except ScheduleError as error:
            yield error.field, schedule_error(error, row)
    if row.kind != "cron":
        yield from _check_timezone(row)


def _check_timezone(row: "ScheduledTask") -> Found:
    from scheduling.schedules.zones import zone

    try:
        zone(row.timezone)
    except ScheduleError as error:
        yield error.field, schedule_error(error, row)


def _next_slot(row: "ScheduledTask", now: datetime | None) -> Found:
    """A schedule that is enabled and new, re-enabled or re-timed must have a slot to come."""
    if not row.enabled or not _is_retimed(row):
        return
    now = now or database_now()
    if row.window().next_after(now) is None:
        yield _no_slot_error(row, now)
    elif row.max_runs is not None and row.slots_used >= row.max_runs:
        message = _("All of these slots are used. Raise the number, or leave the job disabled.")
        yield "max_runs", ValidationError(message, code="no_further_slot")


def _is_retimed(row: "ScheduledTask") -> bool:
    return row._state.adding or any(map(row.is_changed, RULE))


def _no_slot_error(row: "ScheduledTask", now: datetime) -> tuple[str, ValidationError]:
    if row.kind == "one_time" and row.run_at is not None and row.run_at <= now:
        message = _("This time is past. Choose one to come, or disable the job.")
        return "run_at", ValidationError(message, code="past")
    if row.ends_at is not None:
        message = _("The schedule has no slot before it ends. Choose a later end.")
        return "ends_at", ValidationError(message, code="no_further_slot")
    field = KIND_FIELDS[row.kind][0]
    return field, ValidationError(_("The schedule has no slot to come."), code="no_further_slot")


_CHECKS: tuple[Callable[["ScheduledTask"], Found], ...] = (
    _check_texts,
    _check_nothing,
    _check_name,
    _check_task,
    _check_arguments,
    _check_moments,
    _check_limits,
    _check_queue,
    _check_schedule,
)
