"""Who changed a scheduled task, when, from where, and what: the audit trail in JSON."""

from typing import Any

from rest_framework import serializers

from dispatcher.api.kernel.fields import Moment
from scheduling import trail
from scheduling.audit import differences
from scheduling.models import ScheduledTask

KINDS = ((trail.CREATED, "created"), (trail.CHANGED, "changed"), (trail.DELETED, "deleted"))


class FieldChangeSerializer(serializers.Serializer):
    """One column of a change, in words; secrets are masked."""

    field = serializers.CharField(source="name")
    label = serializers.CharField(help_text="Its name as the admin shows it.")
    old = serializers.CharField(help_text="Empty for nothing.")
    new = serializers.CharField(help_text="Empty for nothing.")


class ChangeSerializer(serializers.Serializer):
    """One edit of a scheduled task."""

    id = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=[name for _sign, name in KINDS])
    at = Moment()
    by = serializers.CharField(help_text="The user, and the token; empty for the scheduler.")
    via = serializers.ChoiceField(choices=trail.Via.choices, help_text="From where.")
    changes = FieldChangeSerializer(many=True)


def told(entries: list[Any], row: ScheduledTask) -> list[dict[str, Any]]:
    """Rows of the trail of one scheduled task, newest first, each against the one before it."""
    before = _before(entries[-1]) if entries else None
    kinds = dict(KINDS)
    words = differences.told(entries, before, row.timezone)
    return [
        {
            "id": entry.history_id,
            "kind": kinds[entry.history_type],
            "at": entry.history_date,
            "by": entry.by,
            "via": entry.via,
            "changes": said.changes,
        }
        for entry, said in zip(entries, words, strict=True)
    ]


def _before(entry: Any) -> Any:
    older = ScheduledTask.history.filter(id=entry.id, history_id__lt=entry.history_id)
    return older.first()
