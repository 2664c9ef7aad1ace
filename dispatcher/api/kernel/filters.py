"""Filters that any list may have. A parameter that does not exist is refused."""

import difflib
from typing import Any

from django import forms
from django.core.exceptions import ValidationError as FormError
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_filters import rest_framework as filters
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request


class YesNoField(forms.NullBooleanField):
    """`true` or `false`; Django's own takes anything else for “no answer”."""

    widget = forms.TextInput

    def to_python(self, value: Any) -> Any:
        if value in (None, ""):
            return None
        if value not in ("true", "false"):
            raise FormError(_("Give true or false."), code="invalid")
        return bool(value == "true")


class YesNoFilter(filters.BooleanFilter):
    field_class = YesNoField

    def __init__(self, *args: Any, **options: Any) -> None:
        options["widget"] = forms.TextInput
        super().__init__(*args, **options)


class FilledFilter(YesNoFilter):
    """Whether a column of text says something: an empty parameter is refused."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, label=gettext_lazy("Whether it is not empty."), **options)

    def filter(self, rows: Any, value: bool | None) -> Any:
        if value is None:
            return rows
        empty = Q(**{self.field_name: ""})
        return rows.filter(~empty if value else empty)


class MomentField(forms.CharField):
    """ISO 8601 with an offset."""

    def to_python(self, value: Any) -> Any:
        from dispatcher.api.kernel.fields import moment_of

        text = super().to_python(value)
        return moment_of(text.replace(" ", "+")) if text else None  # a plus that nobody quoted


class MomentFilter(filters.IsoDateTimeFilter):
    field_class = MomentField


class WholeFilter(filters.NumberFilter):
    """A whole number, such as an id."""

    field_class = forms.IntegerField

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, min_value=0, max_value=2**63 - 1, **options)

    def get_max_validator(self) -> None:
        """Add no validator: the field has its own."""


# Parameters that mean nothing ---------------------------------------------------------------------


#: As a field that somebody has just begun to type into.
MAY_BE_EMPTY = frozenset(("search",))


def check_parameters(view: Any, request: Request) -> None:
    """Refuse each query parameter that means nothing here, is empty, or stands there twice: a
    typing error, or a variable without a value, must not show other rows than were asked for."""
    known = _known(view)
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        raise ValidationError({name: [_unknown(name, known)] for name in unknown})
    repeated = [name for name, values in request.query_params.lists() if len(values) > 1]
    if wrong := [name for name in repeated if not _is_multiple(view, name)]:
        message = _("Give this parameter only once.")
        raise ValidationError({name: [ErrorDetail(message, "repeated")] for name in wrong})
    empty = [name for name, value in request.query_params.items() if not value]
    if wrong := [name for name in empty if name not in MAY_BE_EMPTY]:
        message = _("Give a value, or leave the parameter out.")
        raise ValidationError({name: [ErrorDetail(message, "empty")] for name in wrong})


def _known(view: Any) -> set[str]:
    action = getattr(view, "action", None) or ""
    known = set(view.parameters.get(action, ()))
    if action in getattr(view, "list_actions", ("list",)):
        known |= _of_pages(view)
        filterset = getattr(view, "filterset_class", None)
        known |= set(filterset.base_filters) if filterset else set()
    return known


def _is_multiple(view: Any, name: str) -> bool:
    filterset = getattr(view, "filterset_class", None)
    named = filterset.base_filters.get(name) if filterset else None
    return isinstance(named, filters.MultipleChoiceFilter)


def _of_pages(view: Any) -> set[str]:
    paginator = view.paginator
    names = ("page_query_param", "page_size_query_param", "cursor_query_param")
    return {getattr(paginator, name) for name in names if getattr(paginator, name, None)}


def _unknown(name: str, known: set[str]) -> ErrorDetail:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    if close:
        text = _("There is no parameter “%(name)s”. Did you mean “%(close)s”?")
        return ErrorDetail(text % {"name": name, "close": close[0]}, "unknown_parameter")
    return ErrorDetail(
        _("There is no parameter “%(name)s” here.") % {"name": name}, "unknown_parameter"
    )
