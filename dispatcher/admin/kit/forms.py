"""The forms of pages that ask: other arguments for a run, and times."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dispatcher.admin.kit.fields import ArgumentsField, HiddenValues, WallTimeField, name_parts
from dispatcher.models import TaskRun
from scheduling import registry
from scheduling.models import ScheduledTask
from scheduling.registry import masking
from scheduling.schedules import ScheduleError, utc_of_local
from scheduling.validation import schedule_error
from scheduling.words import in_zone


class ArgumentsForm(HiddenValues, forms.Form):
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
        self.hidden = {"args": args, "kwargs": kwargs}
        shown = {name: masking.masked(value) for name, value in self.hidden.items()}
        super().__init__(data, initial=shown)
        if info := registry.describe(task):
            self.fields["kwargs"].help_text = f"{info.name.rpartition('.')[2]}{info.signature}"

    def start(self, verb: Callable[..., TaskRun]) -> TaskRun | None:
        """What `verb(args=…, kwargs=…)` started; None where that is not valid, with the errors."""
        if not self.is_valid():
            return None
        try:
            return verb(**self.cleaned_data)
        except ValidationError as error:
            self.add_error(None, error)
            return None


class WallTimesForm(forms.Form):
    """Times on the clock of a scheduled task, as its own form takes them. Cleaned they are UTC."""

    def __init__(self, task: ScheduledTask, now: datetime, data: Any = None) -> None:
        self.task, self.now = task, now
        super().__init__(data, initial=self.first_guess())
        for field in self.fields.values():
            if not isinstance(field, WallTimeField):
                continue
            field.help_text = _("In the time zone of the job: %(zone)s.") % {"zone": task.timezone}
            name_parts(field)

    def first_guess(self) -> dict[str, Any]:
        return {}

    def instant(self, name: str) -> datetime | None:
        """The field as an instant; a time that the clock skips is an error of the field."""
        value = self.cleaned_data.get(name)
        try:
            return None if value is None else utc_of_local(value, self.task.timezone, name)
        except ScheduleError as error:
            raise schedule_error(error) from error


def _why() -> forms.CharField:
    return forms.CharField(
        label=gettext_lazy("Why"),
        required=False,
        max_length=200,
        widget=forms.TextInput({"class": "vTextField"}),
        help_text=gettext_lazy("Shown beside its state, for example “until the new server is up”."),
    )


class WhyForm(forms.Form):
    """Asks for a reason."""

    why = _why()


class PauseForm(WallTimesForm):
    """Until when to pause, and why."""

    until = WallTimeField(
        label=gettext_lazy("Until (empty: until somebody resumes it)"), required=False
    )
    why = _why()

    def clean_until(self) -> datetime | None:
        until = self.instant("until")
        if until is not None and until <= self.now:
            raise ValidationError(_("This time is past."), code="past")
        return until


class BackfillForm(WallTimesForm):
    """A range of the past: from `start`, itself included, to before `end`."""

    start = WallTimeField(label=gettext_lazy("From (itself included)"))
    end = WallTimeField(label=gettext_lazy("To (itself not included)"))

    def first_guess(self) -> dict[str, Any]:
        """The day before, on the clock of the task."""
        local = in_zone(self.now, self.task.timezone).replace(tzinfo=None)
        today = local.replace(hour=0, minute=0, second=0, microsecond=0)
        return {"start": today - timedelta(days=1), "end": today}

    def clean_start(self) -> datetime | None:
        return self.instant("start")

    def clean_end(self) -> datetime | None:
        end = self.instant("end")
        if end is not None and end > self.now:
            raise ValidationError(_("A backfill is of the past: choose an end before now."))
        return end
