"""The bodies of actions on runs, and what they answer."""

from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers

from scheduling.api import fields
from scheduling.api.serializers import Strict
from scheduling.clock import database_now


class ArgumentsSerializer(Strict, serializers.Serializer):
    """Other arguments for this one run. What is left out stays as it is."""

    args = fields.Positional(required=False, help_text="A JSON list.")
    kwargs = fields.Named(required=False, help_text="A JSON object; a mask stands for what it hid.")

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        """`instance`: what the present arguments are."""
        if self.instance is None:
            return data
        return {
            name: fields.restored(name, value, getattr(self.instance, name))
            for name, value in data.items()
        }


class RunTaskSerializer(Strict, serializers.Serializer):
    """A run without a definition."""

    task = fields.Text(max_length=255, help_text="The registered name of the Celery task.")
    args = fields.Positional(default=list, help_text="A JSON list.")
    kwargs = fields.Named(default=dict, help_text="A JSON object.")
    at = fields.Moment(required=False, allow_null=True, help_text="When; at once without.")


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
