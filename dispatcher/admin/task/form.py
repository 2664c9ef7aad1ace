"""The form of a scheduled task: how what a person types becomes columns. It decides nothing of
what is valid: `ScheduledTask.clean()` does."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django import forms
from django.db import connection
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dispatcher.admin.kit.fields import ArgumentsField, HiddenValues, name_parts
from dispatcher.admin.task.widgets import ArgumentsInput, CronInput, TaskInput, ZoneInput
from scheduling.audit import differences
from scheduling.database import locked
from scheduling.models import ScheduledTask
from scheduling.registry import masking
from scheduling.schedules import ScheduleError, utc_of_local
from scheduling.schedules.zones import zone
from scheduling.validation import KIND_FIELDS, schedule_error, with_tied
from scheduling.words import in_zone

#: Wall times in the zone of the task.
WALL_TIMES = ("run_at", "starts_at", "ends_at")
ARGUMENTS = frozenset(("args", "kwargs"))


class ScheduledTaskForm(HiddenValues, forms.ModelForm):  # type: ignore[type-arg]
    """The form of a scheduled task. Which fields it has, the admin says."""

    instance: ScheduledTask

    #: The newest row of the audit trail when the page was made: whoever saves has seen it.
    seen = forms.IntegerField(label="", required=False, widget=forms.HiddenInput)

    class Meta:
        field_classes = {"args": ArgumentsField, "kwargs": ArgumentsField}
        widgets = {
            "task": TaskInput(),
            "timezone": ZoneInput(),
            "cron_expression": CronInput(),
            "args": ArgumentsInput(rows=2),
            "kwargs": ArgumentsInput(rows=4, complete=True),
        }
        help_texts = {
            "kind": gettext_lazy(
                "One time: at one moment. Interval: every so many seconds. Cron: by clock and "
                "calendar, such as nine o'clock on weekdays."
            ),
            "cron_expression": gettext_lazy(
                "For the kind cron: minute, hour, day of month, month, day of week; or six fields "
                "with the seconds first, as in Quartz. “0 9 * * MON-FRI” is nine o'clock on "
                "weekdays."
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hidden = {name: getattr(self.instance, name) for name in self.fields if name != "seen"}
        self.initial["seen"] = self._trail().values_list("history_id", flat=True).first() or 0
        for field in self.fields.values():
            field.show_hidden_initial = False  # Django's guess for defaults that are functions
        for name in {*WALL_TIMES} & {*self.fields}:
            self._show_in_zone(name)
        for name in ARGUMENTS & {*self.fields}:
            self.initial[name] = masking.masked(self.initial.get(name, self.hidden[name]))

    def _show_in_zone(self, name: str) -> None:
        value = self.initial.get(name)
        if isinstance(value, datetime) and value.tzinfo is not None:
            self.initial[name] = in_zone(value, self.instance.timezone).replace(tzinfo=None)
        field = self.fields[name]
        named = format_html('<span class="mh-zone">{}</span>', self["timezone"].value())
        texts = {"help": field.help_text, "zone": named}
        field.help_text = _("%(help)s In the time zone of the job: %(zone)s.") % texts
        name_parts(field)

    # Reading ------------------------------------------------------------------------------------

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        for kind, (name, _message) in KIND_FIELDS.items():
            if kind != data.get("kind"):
                data[name] = "" if name == "cron_expression" else None
                self.errors.pop(name, None)
        for name in WALL_TIMES:
            if data.get(name) is not None:
                self._read_in_zone(name)
        self._refuse_if_stale()
        return data

    def _read_in_zone(self, name: str) -> None:
        """A wall time becomes an instant. An untouched one stays what it was: shown again, the
        second pass of a repeated hour looks like the first."""
        data = self.cleaned_data
        if not {name, "timezone"} & set(self.changed_data):
            data[name] = self.hidden[name]
            return
        try:
            data[name] = utc_of_local(data[name], self._zone_to_read(), name)
        except ScheduleError as error:
            self.add_error(name, schedule_error(error))

    def _zone_to_read(self) -> str:
        """The zone that was typed; UTC where it is none, which the model then says."""
        name = self.cleaned_data.get("timezone")
        try:
            return zone(name).key
        except ScheduleError:
            return "UTC"

    def add_error(self, field: str | None, error: Any) -> None:
        """Add the error unless its field has one: of a value that could not be read, what the
        model says about its absence is noise."""
        if field is None and hasattr(error, "error_dict"):
            unread = {*self.errors}
            if unread & ARGUMENTS:
                unread |= ARGUMENTS  # half of the arguments cannot be held against the signature
            for name in [*error.error_dict]:
                if name in unread:
                    del error.error_dict[name]
                else:
                    del error.error_dict[name][1:]
        super().add_error(field, error)

    # What others changed meanwhile ----------------------------------------------------------------

    def _trail(self) -> Any:
        """The rows of the audit trail about this task, newest first."""
        return ScheduledTask.history.filter(id=self.instance.pk or 0)

    def _refuse_if_stale(self) -> None:
        """Refuse to undo what was changed since the page was made, and say who changed what.

        Nothing is lost: shown again, the form has what was typed, and the others' values where
        nothing was. Saved then, it is saved by somebody who knows.
        """
        seen = self.cleaned_data.get("seen")
        if seen is None or self.instance.pk is None:
            return
        if connection.in_atomic_block:  # of two who save at the same time, one is the first
            locked(ScheduledTask.objects.filter(pk=self.instance.pk).values_list("pk")).first()
        newer = list(self._trail().filter(history_id__gt=seen))
        if not newer:
            return
        before = self._trail().filter(history_id=seen).first()
        entries = differences.in_words(newer, before, self.instance.timezone)
        names = {change.name for entry in entries for change in entry.changes} & {*self.hidden}
        if names:
            self._show_theirs(names, self._page_of(before), self._page_of(newer[0]))
            self.add_error(None, [_("This job was changed while you had it open:")])
            self.add_error(None, [_sentence(entry) for entry in entries if entry.changes])
            self.add_error(None, _("Nothing is saved yet. Look at the form and save it again."))

    def _page_of(self, entry: Any) -> "ScheduledTaskForm":
        """The form as it showed the task when it stood so."""
        return type(self)(instance=entry.history_object if entry else ScheduledTask())

    def _show_theirs(
        self, names: Iterable[str], seen: "ScheduledTaskForm", newest: "ScheduledTaskForm"
    ) -> None:
        for name in names:
            field = self.fields[name]
            if not field.has_changed(seen.get_initial_for_field(field, name), self[name].data):
                self._show(name, newest)
        self._show("seen", newest)

    def _show(self, name: str, page: "ScheduledTaskForm") -> None:
        value = page.get_initial_for_field(page.fields[name], name)
        self.fields[name].bound_data = lambda data, initial: value  # type: ignore[method-assign]

    # Writing ------------------------------------------------------------------------------------

    def written_columns(self) -> list[str]:
        """The columns that the person changed, and those that a constraint ties to them."""
        row = self.instance
        changed = {name for name, value in self.hidden.items() if getattr(row, name) != value}
        return with_tied(changed)


def _sentence(entry: differences.WordedEntry) -> str:
    """`2026-11-21 09:00:00 CET, ada (admin): Description: “a” → “b”`"""
    shown = _("%(field)s: “%(old)s” → “%(new)s”")
    said = (shown % {"field": c.label, "old": c.old, "new": c.new} for c in entry.changes)
    texts = {
        "when": entry.when,
        "who": entry.by or "–",
        "via": entry.via,
        "fields": _("; ").join(said),
    }
    return _("%(when)s, %(who)s (%(via)s): %(fields)s") % texts
