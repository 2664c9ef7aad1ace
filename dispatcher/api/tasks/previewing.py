"""What saving a body would lead to: asked while a person types, and saves nothing."""

import copy
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError as ModelError
from rest_framework.exceptions import ValidationError

from dispatcher.api.kernel.problems import errors_of, invalid
from dispatcher.api.tasks.planned import preview
from dispatcher.api.tasks.serializers import apply, problems_of
from scheduling.models import ScheduledTask
from scheduling.words import SCHEDULE_FIELDS


def preview_of(
    serializer_of: Callable[..., Any],
    stored: ScheduledTask | None,
    body: Any,
    n: int,
    now: datetime,
) -> dict[str, Any]:
    """For the body of a PATCH of `stored`, or of a new scheduled task. Fields that are wrong or
    missing are told in `errors`; they leave the runs empty only if they decide when it runs."""
    serializer = serializer_of(stored, data=body, partial=stored is not None)
    errors = {}
    if not serializer.is_valid():
        if not isinstance(body, dict):  # not even a form half filled in
            raise ValidationError(serializer.errors)
        errors = serializer.errors
        body = {name: value for name, value in body.items() if name not in errors}
        serializer = serializer_of(stored, data=body, partial=True)
        serializer.is_valid(raise_exception=True)
    row = copy.copy(stored) if stored is not None else ScheduledTask()
    apply(row, serializer.validated_data)
    found = [*_of_fields(errors), *_of_model(row, errors)]
    wrong = {error["field"].partition(".")[0] for error in found}
    return preview(row, found, wrong.isdisjoint({*SCHEDULE_FIELDS, ""}), n, now)


def _of_fields(errors: Any) -> list[dict[str, str]]:
    return list(errors_of(ValidationError(errors))) if errors else []


def _of_model(row: ScheduledTask, errors: Any) -> list[dict[str, str]]:
    """What the model says, but of fields that could not be read."""
    found = {name: error for name, error in problems_of(row).items() if name not in errors}
    return list(errors_of(invalid(ModelError(found)))) if found else []
