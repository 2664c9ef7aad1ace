"""The bodies of actions."""

from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers

from scheduling.api import fields
from scheduling.api.serializers import Strict
from scheduling.clock import database_now


class NothingSerializer(Strict, serializers.Serializer):
    """An empty object, or no body at all."""


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
