"""Fields of forms that take times on the clock of a zone, and arguments whose secrets are
masked."""

from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from scheduling.registry import argument_text, masking


class WallTimeWidget(forms.SplitDateTimeWidget):
    """The browser's own pickers: Django's would offer “now” on the clock of another zone."""

    def __init__(self, attrs: Any = None) -> None:
        super().__init__(
            attrs,
            date_format="%Y-%m-%d",
            time_format="%H:%M:%S",
            date_attrs={"type": "date", "class": "mh-date"},
            time_attrs={"type": "time", "step": "1", "class": "mh-time"},
        )


class WallTimeField(forms.SplitDateTimeField):
    """A date and a time as a naive datetime: what a clock on the wall shows."""

    widget = WallTimeWidget

    def __init__(self, **options: Any) -> None:
        super().__init__(
            input_date_formats=["%Y-%m-%d"],
            input_time_formats=["%H:%M:%S", "%H:%M"],
            **options,
        )

    def compress(self, data_list: Any) -> datetime | None:
        if not data_list:
            return None
        if data_list[0] in self.empty_values:
            raise ValidationError(self.error_messages["invalid_date"], code="invalid_date")
        if data_list[1] in self.empty_values:
            raise ValidationError(self.error_messages["invalid_time"], code="invalid_time")
        return datetime.combine(data_list[0], data_list[1])


def name_parts(field: Any) -> None:
    """Tell those who do not see the label which of the two inputs is the date, which the time."""
    for part, label in zip(field.widget.widgets, (_("date"), _("time")), strict=True):
        part.attrs["aria-label"] = f"{capfirst(field.label)}, {label}"


class ArgumentsField(forms.JSONField):
    """JSON of any shape, in readable characters. What Python's parser refuses in other ways than
    bad syntax (nesting too deep, a number too long) is invalid too, not a server error."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except (ValidationError, ValueError, RecursionError) as error:
            message = argument_text.json_error(value) or self.error_messages["invalid"]
            raise ValidationError(message, code="invalid") from error

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            return super().bound_data(data, initial)
        except (ValueError, RecursionError):
            return InvalidJSONInput(data)

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, InvalidJSONInput):
            return value
        return argument_text.json_line(value)


class HiddenValues:
    """A form that shows arguments with their secrets masked, and takes a mask for what it hides."""

    cleaned_data: dict[str, Any]
    #: What is behind the masks, by the name of the field.
    hidden: dict[str, Any]

    def clean_args(self) -> Any:
        return self._unmasked("args", [])

    def clean_kwargs(self) -> Any:
        return self._unmasked("kwargs", {})

    def _unmasked(self, name: str, empty: Any) -> Any:
        value = self.cleaned_data[name]
        try:
            return empty if value is None else masking.restored(value, self.hidden[name])
        except masking.Unrestorable as error:
            raise ValidationError(error.sentence, code="masked") from error
