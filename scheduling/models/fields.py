"""The two kinds of column that a `ScheduledTask` has many of."""

from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

TEN_YEARS = 10 * 366 * 24 * 3600


def seconds_field(label: Any, help_text: Any, *, low: int = 0, **options: Any) -> Any:
    """A column of whole seconds, `low` up to ten years."""
    limits = [MinValueValidator(low), MaxValueValidator(TEN_YEARS)]
    return models.PositiveIntegerField(label, help_text=help_text, validators=limits, **options)


def choice_field(
    label: Any, choices: type[models.TextChoices], default: str, help_text: Any
) -> Any:
    """A column with one of the choices, `default` also where SQL names none."""
    return models.CharField(
        label,
        max_length=20,
        choices=choices.choices,
        default=default,
        db_default=default,
        help_text=help_text,
    )
