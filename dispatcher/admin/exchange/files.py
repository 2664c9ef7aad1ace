"""The files that scheduled tasks are exported to and imported from: CSV and JSON.

A cell of a CSV file that a spreadsheet would take for a formula gets an apostrophe in front, which
the import takes away again: to drop the sign itself, as is common, would change the value.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable
from typing import Any

from django.utils.translation import gettext as _
from tablib import Dataset

from dispatcher.admin.exchange.resource import COLUMNS, MISSING, RefusedFile, check_file

#: Begins a formula in a spreadsheet, by the list of OWASP; the wide ones too, in East Asia.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_GUARDED = (*FORMULA, "'")


def to_csv(rows: Iterable[list[Any]]) -> bytes:
    """The rows as CSV, with the mark at its beginning by which a spreadsheet knows UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([guarded(_cell(value)) for value in row] for row in rows)
    return text.getvalue().encode("utf-8-sig")


def from_csv(content: bytes) -> Dataset:
    heads, *rows = list(csv.reader(io.StringIO(_text(content), newline=""), strict=True)) or [[]]
    dataset = Dataset(headers=heads)
    for row in rows:
        if len(row) > len(heads):
            raise RefusedFile(
                _("A row has more cells than there are columns. Quote texts with commas.")
            )
        if row:
            cells = [unguarded(cell) for cell in row]
            dataset.append([*cells, *[MISSING] * (len(heads) - len(row))])
    return dataset


def to_json(rows: Iterable[list[Any]]) -> bytes:
    listed = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    return json.dumps(listed, ensure_ascii=False, indent=2).encode()


def from_json(content: bytes) -> Dataset:
    rows = json.loads(_text(content))
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise RefusedFile(
            _('The file is no list of objects. Write it as an export does: [{"name": …}, …].')
        )
    heads = list(dict.fromkeys(name for row in rows for name in row))
    dataset = Dataset(headers=heads)
    for row in rows:
        dataset.append([row.get(name, MISSING) for name in heads])
    return dataset


WRITERS: dict[str, Callable[[Iterable[list[Any]]], bytes]] = {"csv": to_csv, "json": to_json}
READERS: dict[str, Callable[[bytes], Dataset]] = {"csv": from_csv, "json": from_json}
TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


def read(name: str, content: bytes) -> Dataset:
    """The rows of a file, known by the end of its name; `RefusedFile` where there are none."""
    reader = READERS.get(name.rpartition(".")[2].lower())
    if reader is None:
        raise RefusedFile(_("Choose a file whose name ends in .csv or .json."))
    try:
        dataset = reader(content)
    except UnicodeDecodeError as error:
        raise RefusedFile(_("The file is not UTF-8. In Excel, save it as “CSV UTF-8”.")) from error
    except RefusedFile:
        raise
    except (csv.Error, ValueError, RecursionError) as error:
        texts = {"problem": str(error)[:200]}
        raise RefusedFile(_("The file cannot be read: %(problem)s") % texts) from error
    check_file(dataset)
    return dataset


def guarded(text: str) -> str:
    return f"'{text}" if text.startswith(_GUARDED) else text


def unguarded(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(_GUARDED) else text


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)


def _text(content: bytes) -> str:
    return content.decode("utf-8-sig")
