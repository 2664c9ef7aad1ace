"""The small pieces of HTML of which the admin's pages are made."""

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from dispatcher.models import Status
from scheduling.registry import masking
from scheduling.words import moment_text, wording


def badge(state: str, label: Any) -> str:
    """A state as a coloured word; the colours are in static/dispatcher/admin.css."""
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


def run_url(pk: Any) -> str:
    return reverse("admin:dispatcher_taskrun_change", args=[pk])


def status_badge(status: str) -> str:
    return badge(status, Status(status).label if status in Status.values else status)


def status_link(status: str, run_id: Any) -> str:
    return format_html('<a href="{}">{}</a>', run_url(run_id), status_badge(status))


def moment_span(moment: datetime | None) -> str:
    return format_html('<span class="mh-moment">{}</span>', moment_text(moment) or "–")


def text_block(text: str) -> str:
    return format_html('<pre class="mh-block">{}</pre>', text)
