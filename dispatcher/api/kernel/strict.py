"""Bodies that are refused where they say anything unknown."""

from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail


class Strict:
    """A mixin: a field that does not exist is refused, and so is anything but an object."""

    def to_internal_value(self, data: Any) -> Any:
        refused = {}
        if isinstance(data, dict):
            refused = {name: [self.refused(name)] for name in data if self.is_refused(name)}
        try:
            value = super().to_internal_value(data)  # type: ignore[misc]
        except serializers.ValidationError as error:
            raise serializers.ValidationError(refused | error.detail) from error
        if refused:
            raise serializers.ValidationError(refused)
        return value

    def is_refused(self, name: str) -> bool:
        return name not in self.fields  # type: ignore[attr-defined]

    def refused(self, name: str) -> ErrorDetail:
        if name in self.fields:  # type: ignore[attr-defined]
            return ErrorDetail(_("This cannot be set."), "read_only")
        return ErrorDetail(_("There is no such field."), "unknown_field")


class NothingSerializer(Strict, serializers.Serializer):
    """An empty object, or no body at all."""
