"""How a scheduled task changes: the transaction of an edit."""

from scheduling.edits.many import bulk_update_each, update_each
from scheduling.edits.settle import next_slot
from scheduling.edits.transaction import create, delete, note_created, save
from scheduling.edits.verbs import pause, resume, skip_next, unskip
from scheduling.signals import Change, everything_resumed, schedule_changed

__all__ = [
    "Change",
    "bulk_update_each",
    "create",
    "delete",
    "everything_resumed",
    "next_slot",
    "note_created",
    "pause",
    "resume",
    "save",
    "schedule_changed",
    "skip_next",
    "unskip",
    "update_each",
]
