"""Who changed a scheduled task, when, from where, and what: the audit trail in JSON.

`history` is an action of `ScheduledTaskViewSet`.
"""

from typing import TYPE_CHECKING, Any

from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from dispatcher.api.kernel.fields import Moment
from dispatcher.api.kernel.pagination import NumberedCursors
from dispatcher.api.kernel.schema import described
from scheduling import trail
from scheduling.audit import differences
from scheduling.models import ScheduledTask

if TYPE_CHECKING:
    from dispatcher.api.tasks.views import ScheduledTaskViewSet

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


@described(
    summary="Who changed it, when and what",
    description="Newest first, from the audit trail.",
    responses=ChangeSerializer(many=True),
    filters=False,
)
@action(detail=True, filter_backends=(), filterset_class=None, pagination_class=NumberedCursors)
def history(view: "ScheduledTaskViewSet", request: Request, **kwargs: Any) -> Response:
    row = view.row()
    page = view.paginate_queryset(ScheduledTask.history.filter(id=row.pk))
    return view.get_paginated_response(ChangeSerializer(_changes(page, row), many=True).data)


def _changes(entries: list[Any], row: ScheduledTask) -> list[dict[str, Any]]:
    """Rows of the trail of one scheduled task, newest first, each against the one before it."""
    before = _before(entries[-1]) if entries else None
    kinds = dict(KINDS)
    words = differences.in_words(entries, before, row.timezone)
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
