"""How a scheduled task changes: what is valid, and the transaction of an edit."""

from scheduling.edits.columns import DECIDING, OTHERS, TIMING, is_edit, with_tied
from scheduling.edits.signals import Change, everything_resumed, schedule_changed
from scheduling.edits.transaction import (
    BATCH,
    bulk_update_each,
    create,
    delete,
    give_back,
    pause,
    record_creation,
    resume,
    save,
    skip_next,
    unskip,
    update_each,
)
from scheduling.edits.validation import KIND_FIELDS, AdvisedError, in_words, schedule_error

__all__ = [
    "BATCH",
    "DECIDING",
    "KIND_FIELDS",
    "OTHERS",
    "TIMING",
    "AdvisedError",
    "Change",
    "bulk_update_each",
    "create",
    "delete",
    "everything_resumed",
    "give_back",
    "in_words",
    "is_edit",
    "pause",
    "record_creation",
    "resume",
    "save",
    "schedule_changed",
    "schedule_error",
    "skip_next",
    "unskip",
    "update_each",
    "with_tied",
]
