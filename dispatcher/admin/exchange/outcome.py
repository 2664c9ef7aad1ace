"""The outcome of an import, planned or done, as a page tells it: row by row, in words."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.core import signing
from django.core.exceptions import ValidationError
from django.utils.text import capfirst
from import_export.results import Result, RowResult

from dispatcher.admin.exchange import files as task_files
from dispatcher.admin.exchange.resource import COLUMNS, TaskResource
from scheduling.audit import differences
from scheduling.models import ScheduledTask
from scheduling.words import task_advice

#: So long (seconds) the file waits in the page that asks.
PATIENCE = 3600
_SALT = "scheduling.import"


@dataclass(frozen=True)
class Accepted:
    """What becomes of one row of a file: `new`, `changed` or `unchanged`."""

    number: int
    name: str
    kind: str
    changes: list[differences.FieldChange]
    advice: str


@dataclass(frozen=True)
class Refused:
    """Why a row cannot be imported: (label of the column, message) of each error."""

    number: int
    name: str
    errors: list[tuple[str, str]]


@dataclass(frozen=True)
class Outcome:
    """What becomes of the rows of a file: all of them are accepted, or nothing is imported."""

    accepted: list[Accepted]
    refused: list[Refused]

    @property
    def counts(self) -> Counter[str]:
        return Counter(row.kind for row in self.accepted)

    @property
    def to_show(self) -> list[Accepted]:
        """The rows that change something."""
        return [row for row in self.accepted if row.kind != "unchanged"]

    @property
    def digest(self) -> str:
        """SHA-256 of the outcome in hexadecimal: what a person has seen is what they agree to."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


def run(name: str, content: bytes, *, dry: bool) -> tuple[Outcome, Result]:
    """Import the file, or find out what that would do. Nothing is written where a row is refused.
    Raises `RefusedFile` if it cannot be read at all."""
    dataset = task_files.read(name, content)
    result = TaskResource(dry=dry).import_data(
        dataset, dry_run=dry, use_transactions=True, rollback_on_validation_errors=True
    )
    for problem in result.base_errors:  # ours: what a file may have is told row by row
        raise problem.error
    return Outcome(_accepted(result), _refused(result, dataset["name"])), result


def _accepted(result: Result) -> list[Accepted]:
    rows = (row for row in result.rows if not (row.errors or row.validation_error))
    return [_accept(number, row) for number, row in enumerate(rows, 1)]


_KINDS = {
    RowResult.IMPORT_TYPE_NEW: "new",
    RowResult.IMPORT_TYPE_UPDATE: "changed",
    RowResult.IMPORT_TYPE_SKIP: "unchanged",
}


def _accept(number: int, row: Any) -> Accepted:
    task, kind = row.instance, _KINDS[row.import_type]
    if kind == "new":
        given = differences.field_changes(ScheduledTask(), task)
        changes = [replace(change, old="") for change in given if change.new]
    else:
        changes = differences.field_changes(row.original, task)
    advice = "" if kind == "unchanged" else task_advice(task.task)
    return Accepted(number, task.name, kind, changes, advice)


def _refused(result: Result, names: Sequence[Any]) -> list[Refused]:
    """Number as in the file, the heads not counted."""
    errors_of = {row.number: _errors(row.error) for row in result.invalid_rows}
    for row in result.error_rows:
        errors_of[row.number] = [("", str(error.error)) for error in row.errors]
    rows = ((n, names[n - 1], errors) for n, errors in sorted(errors_of.items()))
    return [Refused(n, name if isinstance(name, str) else "", errors) for n, name, errors in rows]


def _errors(error: ValidationError) -> list[tuple[str, str]]:
    messages = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
    return [
        (_label(name), text) for name, texts in messages.items() for text in dict.fromkeys(texts)
    ]


def _label(name: str) -> str:
    if name not in COLUMNS:
        return ""
    field: Any = ScheduledTask._meta.get_field(name)
    return capfirst(str(field.verbose_name))


# The file between the two pages -------------------------------------------------------------------


def sealed(user: Any, name: str, content: bytes, digest: str) -> str:
    """The file as a text for a form, signed for the user: no file stays behind on any machine."""
    value = {"name": name, "text": content.decode("utf-8-sig"), "seen": digest}
    return signing.dumps(value, salt=f"{_SALT}.{user.pk}", compress=True)


def unsealed(user: Any, text: str) -> tuple[str, bytes, str] | None:
    """Name, content and what was seen of it; None where the text is not ours, or too old."""
    try:
        value = signing.loads(text, salt=f"{_SALT}.{user.pk}", max_age=PATIENCE)
    except signing.BadSignature:
        return None
    return value["name"], value["text"].encode(), value["seen"]
