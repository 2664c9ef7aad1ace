"""A body that is not saved, complete or not, right or not: the row that it would make."""

import copy
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError as ModelError
from rest_framework.exceptions import ValidationError

from dispatcher.api.kernel.problems import errors_of, invalid
from dispatcher.api.tasks.serializers import apply, problems_of
from scheduling.models import ScheduledTask

#: One thing that is wrong, as every error is told: `{"code", "field", "detail"}`.
Problem = dict[str, str]


def row_of(
    serializer_of: Callable[..., Any], stored: ScheduledTask | None, body: Any
) -> tuple[ScheduledTask, list[Problem]]:
    """The row that the body of a PATCH of `stored`, or of a new scheduled task, would make, and
    what saving it would refuse. Fields that cannot be read stay as they are stored."""
    serializer = serializer_of(stored, data=body, partial=stored is not None)
    errors = {}
    if not serializer.is_valid():
        if not isinstance(body, dict):  # not even a form half filled in
            raise ValidationError(serializer.errors)
        errors = serializer.errors
        readable = {name: value for name, value in body.items() if name not in errors}
        serializer = serializer_of(stored, data=readable, partial=True)
        serializer.is_valid(raise_exception=True)
    row = copy.copy(stored) if stored is not None else ScheduledTask()
    apply(row, serializer.validated_data)
    return row, [*_of_fields(errors), *_of_model(row, errors)]


def columns_of(problems: list[Problem]) -> set[str]:
    """The columns that the problems are about; "" for the row as a whole."""
    return {problem["field"].partition(".")[0] for problem in problems}


def _of_fields(errors: Any) -> list[Problem]:
    return list(errors_of(ValidationError(errors))) if errors else []


def _of_model(row: ScheduledTask, errors: Any) -> list[Problem]:
    """What the model says, but of fields that could not be read."""
    others = {name: error for name, error in problems_of(row).items() if name not in errors}
    return list(errors_of(invalid(ModelError(others)))) if others else []
