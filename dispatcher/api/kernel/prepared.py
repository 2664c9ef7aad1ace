"""Serializers whose fields are derived from the model once, not at every request.

Django REST framework asks the model for each field's limits, choices and texts whenever a
serializer is used: a third of the time that a request with one took.
"""

import copy
from typing import Any, ClassVar

from rest_framework import serializers


class Prepared:
    """A mixin for a ModelSerializer: each instance gets new fields, made of the same arguments."""

    _prepared: ClassVar[dict[str, Any]]

    def get_fields(self) -> dict[str, Any]:
        if "_prepared" not in type(self).__dict__:
            type(self)._prepared = super().get_fields()  # type: ignore[misc]
        return {name: _another(field) for name, field in self._prepared.items()}


def _another(field: Any) -> Any:
    """What the arguments hold is shared, as nobody changes it: but for serializers in serializers,
    which know their parents."""
    if isinstance(field, serializers.BaseSerializer):
        return copy.deepcopy(field)
    return type(field)(*field._args, **field._kwargs)
