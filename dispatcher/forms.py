"""The forms of pages that start runs."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dispatcher.models import TaskRun
from scheduling import masking, registry
from scheduling.forms import ArgumentsField


class ArgumentsForm(forms.Form):
    """Other arguments for one run. The secrets of the present ones are shown masked, and a mask
    that comes back stands for what it hid."""

    args = ArgumentsField(
        label=gettext_lazy("Positional arguments"),
        required=False,
        widget=forms.Textarea({"rows": 2, "cols": 60, "class": "mh-code"}),
    )
    kwargs = ArgumentsField(
        label=gettext_lazy("Keyword arguments"),
        required=False,
        widget=forms.Textarea({"rows": 6, "cols": 60, "class": "mh-code"}),
    )

    def __init__(self, task: str, args: Any, kwargs: Any, data: Any = None) -> None:
        self.stored = {"args": args, "kwargs": kwargs}
        shown = {name: masking.masked(value) for name, value in self.stored.items()}
        super().__init__(data, initial=shown)
        if info := registry.describe(task):
            self.fields["kwargs"].help_text = f"{info.name.rpartition('.')[2]}{info.signature}"

    def clean_args(self) -> Any:
        return self._unmasked("args", [])

    def clean_kwargs(self) -> Any:
        return self._unmasked("kwargs", {})

    def _unmasked(self, name: str, empty: Any) -> Any:
        value = self.cleaned_data[name]
        try:
            return empty if value is None else masking.restored(value, self.stored[name])
        except masking.Unrestorable as error:
            message = _("The value of “%(key)s” was hidden. Give it anew.")
            raise ValidationError(message, code="masked", params={"key": error.key}) from error

    def start(self, verb: Callable[..., TaskRun]) -> TaskRun | None:
        """What `verb(args=…, kwargs=…)` started; None where that is not valid, with the errors."""
        if not self.is_valid():
            return None
        try:
            return verb(**self.cleaned_data)
        except ValidationError as error:
            self.add_error(None, error)
            return None
