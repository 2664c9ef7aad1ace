"""The form that takes a file with scheduled tasks."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy


class FileForm(forms.Form):
    """A file with scheduled tasks."""

    #: Bytes. It travels through the page that asks, whose form Django limits.
    LARGEST = 2_000_000

    file = forms.FileField(label=gettext_lazy("File"))

    def clean_file(self) -> Any:
        upload = self.cleaned_data["file"]
        if upload.size > self.LARGEST:
            raise ValidationError(_("The file is larger than 2 MB."), code="too_large")
        return upload
