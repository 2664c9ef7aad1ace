"""The small pieces of HTML of which the admin's pages are made."""

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.html import format_html, format_html_join

from scheduling import masking, wording


def badge(state: str, label: Any) -> str:
    """A state as a coloured word; the colours are in static/scheduling/admin.css."""
    return format_html('<span class="mh-badge mh-{}">{}</span>', state, label)


def json_block(value: Any) -> str:
    """JSON as people read it, with its secrets masked."""
    return format_html('<pre class="mh-block">{}</pre>', wording.json_text(masking.masked(value)))


def complaint(error: Exception) -> str:
    """What an error of one row says to the person who asked."""
    return " ".join(error.messages) if isinstance(error, ValidationError) else str(error)


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A small table of plain or safe texts; without heads it has none."""
    head = format_html_join("", "<th>{}</th>", ((text,) for text in heads))
    return format_html(
        '<table class="mh-table">{}<tbody>{}</tbody></table>',
        format_html("<thead><tr>{}</tr></thead>", head) if heads else "",
        format_html_join("", "<tr>{}</tr>", ((_cells(row),) for row in rows)),
    )


def _cells(row: list[str]) -> str:
    return format_html_join("", "<td>{}</td>", ((cell,) for cell in row))
