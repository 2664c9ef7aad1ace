"""The bodies of actions on runs."""

from typing import Any

from rest_framework import serializers

from dispatcher.api.kernel import fields
from dispatcher.api.kernel.strict import Strict


class ArgumentsSerializer(Strict, serializers.Serializer):
    """Other arguments for this one run. What is left out stays as it is."""

    args = fields.Positional(required=False, help_text="A JSON list.")
    kwargs = fields.Named(required=False, help_text="A JSON object; a mask stands for what it hid.")

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        """Replace each mask by what it hid in `instance`, which has the present arguments."""
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
