"""A call of a Celery task as code gives it: a task, its name, or a signature with its own arguments
and options. What cannot be used is refused by its name."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from celery.canvas import Signature
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from kombu import Queue


class Call(NamedTuple):
    """What is called, and what a signature says of how: `columns` by the names of ours."""

    task: str
    args: Any
    kwargs: Any
    columns: dict[str, Any]
    #: Seconds from the slot, an instant, or None: its `expires`.
    expires: float | datetime | None = None


def called(task: Any, args: Any = (), kwargs: Any = None) -> Call:
    """The call that `task` means with these arguments, which come before those of a signature, as
    in Celery. `ValidationError` names what of a signature cannot be used."""
    args = [] if args is None else list(args) if isinstance(args, tuple) else args
    kwargs = {} if kwargs is None else kwargs
    if not isinstance(task, Signature):
        return Call(_name_of(task), args, kwargs, {})
    _check_kind(task)
    args, kwargs = _joined(task, args, kwargs)
    columns = _options_of(task)
    return Call(str(task.task), args, kwargs, columns, columns.pop("expires", None))


def _options_of(signature: Signature) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    errors: dict[str, ValidationError] = {}
    for name, value in signature.options.items():
        if _says_nothing(name, value):
            continue
        try:
            columns[name] = _READ.get(name, _refused)(name, value)
        except ValidationError as error:
            errors[name] = error
    if columns.get("soft_time_limit", 0) >= columns.get("time_limit", math.inf):
        message = _("The soft time limit must be shorter than the time limit.")
        errors["soft_time_limit"] = ValidationError(message, code="soft_not_shorter")
    if errors:
        raise ValidationError(errors)
    return columns


def queue_name(queue: Any) -> Any:
    """The name of a queue that is given as kombu's `Queue`; anything else as it is."""
    return queue.name if isinstance(queue, Queue) else queue


def whole_expiry(call: Call) -> dict[str, Any]:
    """The column that keeps the call's `expires`: a schedule counts it from each of its slots."""
    if call.expires is None:
        return {}
    if isinstance(call.expires, datetime):
        message = _("Give “expires” in seconds: each slot expires at a time of its own.")
        raise ValidationError({"expires": ValidationError(message, code="not_a_duration")})
    try:
        return {"expires_seconds": _whole("expires", call.expires)}
    except ValidationError as error:
        raise ValidationError({"expires": error}) from error


def _name_of(task: Any) -> Any:
    if task is None:
        raise ValidationError({"task": ValidationError(_("Choose a task."), code="blank")})
    name = task if isinstance(task, str) else getattr(task, "name", None)
    if not isinstance(name, str):
        message = _("This is no Celery task, no name of one and no signature: %(value)s.")
        error = ValidationError(message % {"value": repr(task)[:60]}, code="no_task")
        raise ValidationError({"task": error})
    return name


def _check_kind(signature: Signature) -> None:
    kind = signature.get("subtask_type")
    if kind:
        message = _("A %(kind)s cannot be used here, only the signature of one task.")
        error = ValidationError(message % {"kind": kind}, code="several_tasks")
        raise ValidationError({"task": error})


def _joined(signature: Signature, args: Any, kwargs: Any) -> tuple[Any, Any]:
    if signature.immutable and (args or kwargs):
        message = _("The signature is immutable: it takes no further arguments.")
        field = "args" if args else "kwargs"
        raise ValidationError({field: ValidationError(message, code="immutable")})
    fits = isinstance(args, Sequence) and not isinstance(args, str)
    args = [*args, *signature.args] if fits else args
    return args, {**signature.kwargs, **kwargs} if isinstance(kwargs, Mapping) else kwargs


def _says_nothing(name: str, value: Any) -> bool:
    """As Celery's own methods leave an option behind; our runs are sent without a result anyway."""
    empty = value is None or (isinstance(value, (str, list, tuple, dict)) and not value)
    return empty or (name == "ignore_result" and value is True)


def _queue(name: str, value: Any) -> Any:
    return queue_name(value)


def _priority(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 9:
        raise ValidationError(_("The priority is 0 to 9."), code="invalid")
    return value


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 1 or value % 1:
        message = _("Give “%(option)s” as a whole number of seconds, at least 1.")
        raise ValidationError(message % {"option": name}, code="not_a_duration")
    return int(value)


def _expires(name: str, value: Any) -> float | datetime:
    instant = isinstance(value, datetime) and timezone.is_aware(value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (instant or (number and 0 < value <= _LONGEST)):
        message = _("Give “expires” as seconds, or as a date and time with its time zone.")
        raise ValidationError(message, code="not_a_duration")
    return value  # type: ignore[no-any-return]


def _refused(name: str, value: Any) -> Any:
    message = _("The option “%(option)s” of a signature cannot be used here.")
    raise ValidationError(message % {"option": name}, code="unusable_option")


#: Ten years, in seconds: as the columns have it.
_LONGEST = 10 * 366 * 24 * 3600

_READ: dict[str, Callable[[str, Any], Any]] = {
    "queue": _queue,
    "priority": _priority,
    "expires": _expires,
    "time_limit": _whole,
    "soft_time_limit": _whole,
}
