"""What is wrong with the values of a rule, as a `ValidationError` in the language of the reader."""

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from scheduling.schedules import ScheduleError, ScheduleWarning
from scheduling.schedules.advice import Suggestion
from scheduling.schedules.errors import with_advice

if TYPE_CHECKING:
    from scheduling.models import ScheduledTask


class AdvisedError(ValidationError):
    """The error of a schedule value, with what it probably meant in a row of this rule."""

    suggestions: tuple[Suggestion, ...] = ()
    expression = ""
    timezone = ""


def schedule_error(error: ScheduleError, row: "ScheduledTask | None" = None) -> ValidationError:
    """The error of a schedule value, in the language of the reader."""
    advised = AdvisedError(in_words(error), code=error.code)
    if row is not None and error.suggestions:
        advised.suggestions = error.suggestions
        advised.expression, advised.timezone = row.cron_expression, row.timezone
    return advised


def in_words(problem: ScheduleError | ScheduleWarning) -> str:
    """The message in the language of the reader, who also reads the name of the cron field."""
    params = with_advice(problem, problem.suggestions, _) if problem.suggestions else problem.params
    if part := params.get("part"):
        params = params | {"part": _(part)}
    return _(problem.message_template) % params


def unknown_kind(kind: Any) -> ScheduleError:
    return ScheduleError("unknown_kind", "kind", text=str(kind)[:60])
