"""What may be saved, and the columns of a scheduled task by what it means to change them."""

from scheduling.validation.arguments import check_arguments
from scheduling.validation.calls import Call, called
from scheduling.validation.columns import (
    DECIDING,
    JSON,
    KEPT,
    OTHERS,
    RULE,
    TIMING,
    differing,
    is_edit,
    is_expression,
    is_same,
    snapshot,
    stored_form,
    with_tied,
)
from scheduling.validation.errors import (
    AdvisedError,
    in_words,
    schedule_error,
    unknown_kind,
)
from scheduling.validation.options import columns_of
from scheduling.validation.row import (
    KIND_FIELDS,
    check_values,
    clean,
    interval_of,
    whole_seconds,
)

__all__ = [
    "DECIDING",
    "JSON",
    "KEPT",
    "KIND_FIELDS",
    "OTHERS",
    "RULE",
    "TIMING",
    "AdvisedError",
    "Call",
    "called",
    "check_arguments",
    "check_values",
    "clean",
    "columns_of",
    "differing",
    "in_words",
    "interval_of",
    "is_edit",
    "is_expression",
    "is_same",
    "schedule_error",
    "snapshot",
    "stored_form",
    "unknown_kind",
    "whole_seconds",
    "with_tied",
]
