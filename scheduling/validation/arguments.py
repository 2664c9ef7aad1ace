"""What arguments are valid: JSON, and such that the Celery task can be called with them."""

from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from scheduling import registry

#: The field that is wrong, and what is wrong with it.
Found = Iterator[tuple[str, ValidationError]]


def check_arguments(task: Any, args: Any, kwargs: Any) -> Found:
    """What is wrong with `args` (a JSON list) or `kwargs` (a JSON object) for the task of this
    name, where the task is known."""
    shapes: tuple[tuple[str, Any, Any, str], ...] = (
        ("args", args, list, _("Give a JSON list, for example [1, 2].")),
        ("kwargs", kwargs, dict, _('Give a JSON object, for example {"region": "eu"}.')),
    )
    fits = isinstance(task, str)
    for field, value, shape, message in shapes:
        if not isinstance(value, shape):
            yield field, ValidationError(message, code="wrong_shape")
            fits = False
    if isinstance(args, list) and isinstance(kwargs, dict):
        for wrong in registry.argument_problems(args, kwargs):
            yield wrong.field, ValidationError(wrong.sentence, code=wrong.code)
            fits = False
    if fits and (problem := registry.binding_error(task, args, kwargs)):
        message = _("These arguments do not fit the task: %(problem)s.")
        error = ValidationError(message % {"problem": problem}, code="arguments")
        yield "kwargs" if kwargs else "args", error
