"""How values stand in JSON: of exactly their type when they come in, and whatever raw SQL left in
a row when they go out."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from django.core.exceptions import ValidationError as FormError
from django.db import models
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail

from scheduling.registry import masking, sendable


def moment_of(text: str) -> datetime:
    """The instant of an ISO 8601 text, in UTC; Django's `ValidationError` without an offset."""
    try:
        moment = parse_datetime(text)
        if moment is None:
            raise ValueError(text)
        if moment.tzinfo is None:
            message = _("Give a date and time with its offset, such as 2026-11-21T09:00:00+08:00.")
            raise FormError(message, code="naive")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        message = _("Give a date and time in ISO 8601, such as 2026-11-21T09:00:00+08:00.")
        raise FormError(message, code="invalid") from error


def iso(moment: datetime | None) -> str | None:
    """`2026-11-21T01:00:00Z`: always UTC."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Moment(serializers.DateTimeField):
    """ISO 8601: with any offset when it comes in, in UTC when it goes out."""

    def to_internal_value(self, value: Any) -> datetime:
        if not isinstance(value, str):
            self.fail("invalid", format="YYYY-MM-DDThh:mm:ss±hh:mm")
        try:
            return moment_of(value)
        except FormError as error:
            raise serializers.ValidationError(error.message, error.code) from error

    def to_representation(self, value: Any) -> str | None:
        return iso(value)


class Number(serializers.IntegerField):
    """A whole number, and no text of one."""

    def to_internal_value(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail("invalid")
        return int(super().to_internal_value(value))

    def to_representation(self, value: Any) -> Any:
        return value


class YesNo(serializers.BooleanField):
    def to_internal_value(self, value: Any) -> bool:
        if not isinstance(value, bool):
            self.fail("invalid", input=value)
        return bool(value)

    def to_representation(self, value: Any) -> Any:
        return value


class Text(serializers.CharField):
    def to_internal_value(self, value: Any) -> str:
        if not isinstance(value, str):
            self.fail("invalid")
        return str(super().to_internal_value(value))


class _Arguments(serializers.JSONField):
    """Secrets go out masked. The mask that comes back is restored by the serializer."""

    shape: ClassVar[Any] = object
    wrong_shape: ClassVar[Any] = ""

    def to_internal_value(self, data: Any) -> Any:
        try:
            value = super().to_internal_value(data)
        except RecursionError as error:
            problem = sendable.json_problem(data, self.field_name, sendable.DEEPEST)
            code, sentence = problem or ("invalid", "")
            raise serializers.ValidationError(sentence, code) from error
        if not isinstance(value, self.shape):
            raise serializers.ValidationError(self.wrong_shape, "wrong_shape")
        return value

    def to_representation(self, value: Any) -> Any:
        if not value:
            return value
        return masking.masked(value) if sendable.is_json(value) else None


@extend_schema_field({"type": "array", "items": {}})
class Positional(_Arguments):
    shape = list
    wrong_shape = gettext_lazy("Give a JSON list, for example [1, 2].")


@extend_schema_field({"type": "object", "additionalProperties": {}})
class Named(_Arguments):
    shape = dict
    wrong_shape = gettext_lazy('Give a JSON object, for example {"region": "eu"}.')


@extend_schema_field({"type": "array", "items": {"type": "string", "format": "date-time"}})
class Slots(_Arguments):
    pass


class Result(_Arguments):
    """Any JSON."""


#: For columns of models.
MAPPING = {
    models.DateTimeField: Moment,
    models.PositiveIntegerField: Number,
    models.PositiveSmallIntegerField: Number,
    models.BooleanField: YesNo,
    models.CharField: Text,
    models.TextField: Text,
}


def restored(name: str, value: Any, hidden: Any) -> Any:
    """The arguments with each mask replaced by what it hid; DRF's `ValidationError` if nothing
    was hidden there."""
    try:
        return masking.restored(value, hidden)
    except masking.Unrestorable as error:
        detail = ErrorDetail(error.sentence, "masked")
        raise serializers.ValidationError({name: [detail]}) from error
