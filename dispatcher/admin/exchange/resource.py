"""Scheduled tasks as rows of a file, and back: what people set, matched by name.

Nothing that the scheduler keeps is written or read. Secrets leave masked, as in every view; a mask
that comes back stands for what it hid, and one with nothing behind it is refused. Validation is
`ScheduledTask.clean()`. A file is taken whole or not at all.
"""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext as _
from import_export.fields import Field
from import_export.resources import ModelResource
from tablib import Dataset

from scheduling.database import locked
from scheduling.models import ScheduledTask
from scheduling.registry import masking
from scheduling.schedules import ScheduleError, utc_of_local
from scheduling.schedules.zones import zone
from scheduling.validation import DECIDING, OTHERS, schedule_error, with_tied
from scheduling.words import in_zone

#: The columns of a file, in order. The zone comes before the times that are read in it.
COLUMNS = tuple(
    field.name
    for field in ScheduledTask._meta.concrete_fields
    if field.name in {*DECIDING, *OTHERS} - {"skip_slots"}
)
#: A file may have no more rows: each is an edit of its own, and all are one transaction.
MOST_ROWS = 500
#: Stands for the value of a column that a row of a file does not have.
MISSING = object()


class RefusedFile(ValueError):
    """The file as a whole cannot be imported; the message says why, in the reader's language."""


class Column(Field):
    """A column of a file. An empty cell is the default of the column, or nothing."""

    def __init__(self, column: str) -> None:
        super().__init__(attribute=column, column_name=column)
        self.model_field: Any = ScheduledTask._meta.get_field(column)

    def save(self, instance: Any, row: Any, is_m2m: bool = False, **options: Any) -> None:
        """Raise `ValueError` where the cell cannot be read; the message is for the person."""
        value = row[self.column_name]
        if value is not MISSING:
            setattr(instance, self.attribute, self.read(value, instance))

    def export(self, instance: Any, **options: Any) -> Any:
        return self.written(getattr(instance, self.attribute), instance)

    def read(self, value: Any, instance: Any) -> Any:
        if value is None or (isinstance(value, str) and not value.strip()):
            return self.empty()
        if isinstance(value, (list, dict)) or self._is_rounded(value):
            raise ValueError(_("“%(value)s” is no value of this column.") % {"value": value})
        if isinstance(self.model_field, models.BooleanField) and isinstance(value, str):
            value = value.strip().capitalize()  # a spreadsheet writes TRUE
        try:
            return self.model_field.to_python(value)
        except ValidationError as error:
            raise ValueError(" ".join(error.messages)) from error

    def _is_rounded(self, value: Any) -> bool:
        """Whether Django would make another number of it: of 1.5, or of true."""
        is_number = isinstance(self.model_field, models.IntegerField)
        return is_number and not isinstance(value, str) and type(value) is not int

    def empty(self) -> Any:
        """The value of an empty cell: of a text the empty one, whatever its default, as no other
        cell could give it; of anything else the default."""
        field = self.model_field
        if field.null:
            return None
        return "" if field.blank and field.empty_strings_allowed else field.get_default()

    def written(self, value: Any, instance: Any) -> Any:
        return value


class MomentColumn(Column):
    """A time, written on the clock of the job with its offset. One without an offset is read on
    that clock, as in the form."""

    def written(self, value: Any, instance: Any) -> Any:
        return None if value is None else in_zone(value, instance.timezone).isoformat()

    def read(self, value: Any, instance: Any) -> datetime | None:
        text = str(value or "").strip()
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            message = _("Give a date and time such as 2026-11-21 09:00:00.")
            raise ValueError(message) from error
        return moment if moment.tzinfo else self._on_the_clock(moment, instance.timezone)

    def _on_the_clock(self, moment: datetime, name: str) -> datetime:
        try:
            return utc_of_local(moment, zone(name).key, self.attribute)
        except ScheduleError as error:
            raise ValueError(" ".join(schedule_error(error).messages)) from error


class ArgumentsColumn(Column):
    """JSON. What it hides stays hidden: `masking` puts the stored value back."""

    def written(self, value: Any, instance: Any) -> Any:
        return masking.masked(value)

    def read(self, value: Any, instance: Any) -> Any:
        if isinstance(value, str):
            value = self._parsed(value) if value.strip() else self.model_field.get_default()
        if value is None:
            value = self.model_field.get_default()
        try:
            return masking.restored(value, getattr(instance, self.attribute))
        except masking.Unrestorable as error:
            raise ValueError(error.sentence) from error

    def _parsed(self, text: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(_("This is not valid JSON.")) from error


def _column(name: str) -> Column:
    field = ScheduledTask._meta.get_field(name)
    if isinstance(field, models.JSONField):
        return ArgumentsColumn(name)
    return MomentColumn(name) if isinstance(field, models.DateTimeField) else Column(name)


class TaskResource(ModelResource):
    """The scheduled tasks as django-import-export knows them."""

    #: The rows that a file is about, by their names in lower case.
    known: dict[str, ScheduledTask]

    class Meta:
        model = ScheduledTask
        fields = ()
        import_id_fields = ("name",)
        import_order = export_order = ("name", "timezone")
        clean_model_instances = True
        skip_unchanged = True
        report_skipped = True
        skip_html_diff = True  # ours is in words, and masked: scheduling/audit/differences.py
        store_instance = True

    def __init__(self, *, dry: bool = False) -> None:
        """`dry`: validate, and write nothing."""
        super().__init__()
        self.dry = dry
        self.fields = {name: _column(name) for name in COLUMNS}

    def before_import(self, dataset: Dataset, **options: Any) -> None:
        keys = {name.lower() for name in dataset["name"] if isinstance(name, str)}
        rows = ScheduledTask.objects.filter(name_key__in=keys).order_by("pk")
        rows = rows if self.dry else locked(rows)
        self.known = {row.name.lower(): row for row in rows}

    def get_instance(self, instance_loader: Any, row: Any) -> ScheduledTask | None:
        return self.known.get(str(row["name"]).lower())

    def validate_instance(
        self, instance: Any, import_validation_errors: Any = None, validate_unique: bool = True
    ) -> None:
        """Ask the model only where every cell could be read: what it says about the absence of one
        that could not is noise."""
        if import_validation_errors:
            raise ValidationError(import_validation_errors)
        super().validate_instance(instance, None, validate_unique)

    def save_instance(self, instance: Any, is_create: bool, row: Any, **options: Any) -> None:
        if self.dry:
            return
        if is_create:
            instance.save(force_insert=True)
        else:
            instance.save(update_fields=written_columns(instance))


def written_columns(row: ScheduledTask) -> list[str]:
    """The columns in which the row differs from the stored one, and those tied to them."""
    stored = ScheduledTask.objects.get(pk=row.pk)
    changed = {name for name in COLUMNS if getattr(stored, name) != getattr(row, name)}
    return with_tied(changed)


def check_file(dataset: Dataset) -> None:
    """Raise `RefusedFile` for what is wrong with the file as a whole."""
    headers = list(dataset.headers or ())
    if "name" not in headers:
        message = _("The file has no column “name”, by which the rows are matched. Add one.")
        raise RefusedFile(message)
    if unknown := [str(name) for name in headers if name not in COLUMNS]:
        message = _("These columns cannot be imported: %(names)s. Rename or remove them.")
        raise RefusedFile(message % {"names": ", ".join(unknown)[:200]})
    if len(set(headers)) < len(headers):
        raise RefusedFile(_("A column is there twice. Remove one."))
    if not len(dataset):
        raise RefusedFile(_("The file has no rows. Write one for each scheduled task."))
    if len(dataset) > MOST_ROWS:
        message = _("A file may have %(n)d rows at most. Split it.")
        raise RefusedFile(message % {"n": MOST_ROWS})
    if twice := _twice(str(name or "").lower() for name in dataset["name"]):
        message = _("The name “%(name)s” is there twice. Keep one of the rows.")
        raise RefusedFile(message % {"name": twice})


def _twice(names: Iterable[str]) -> str:
    return next((name for name, count in Counter(names).items() if name and count > 1), "")
