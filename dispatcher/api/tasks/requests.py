"""The bodies of actions on scheduled tasks, and what they answer."""

from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers

from dispatcher.api.kernel import fields
from dispatcher.api.kernel.strict import Strict
from scheduling.database import database_now


class DraftSerializer(serializers.Serializer):
    """The fields of a scheduled task, complete or not, right or not."""


class PauseSerializer(Strict, serializers.Serializer):
    until = fields.Moment(
        required=False, allow_null=True, help_text="When it resumes by itself; never without."
    )
    reason = fields.Text(
        required=False, allow_blank=True, max_length=500, help_text="Shown as the reason."
    )

    def validate_until(self, until: Any) -> Any:
        if until is not None and until <= database_now():
            raise serializers.ValidationError(_("This time is past."), "past")
        return until


class SkippedSerializer(serializers.Serializer):
    skipped = fields.Moment(help_text="The slot that will not run.")


class RangeSerializer(Strict, serializers.Serializer):
    """A range of the past: from `start`, itself included, to before `end`."""

    start = fields.Moment()
    end = fields.Moment()
    dry_run = fields.YesNo(default=False, help_text="Only say which slots that would run.")

    def validate_end(self, end: Any) -> Any:
        if end > database_now():
            message = _("A backfill is of the past: choose an end before now.")
            raise serializers.ValidationError(message, "not_past")
        return end


class BackfilledRunSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    scheduled_for = fields.Moment()


class BackfillSerializer(serializers.Serializer):
    slots = serializers.ListField(child=fields.Moment(), help_text="Oldest first.")
    runs = BackfilledRunSerializer(many=True, help_text="Empty where it was a dry run.")
