"""What the pages of this app share: they only show, and they do not count for seconds."""

from datetime import datetime
from functools import cached_property
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from dispatcher.models import Status
from scheduling.pieces import badge
from scheduling.wording import moment_text

#: Columns that may be large, and that a list does not need.
LARGE = ("args", "kwargs", "result", "exception", "traceback", "log")


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


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # no generic at run time
    """Rows that only the scheduler writes."""

    empty_value_display = "–"
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    class Media:
        css = {"all": ("scheduling/admin.css",)}

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than `LIMIT`: to count every run of a month takes seconds."""

    LIMIT = 10_000

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        found: int = rows.order_by().values("pk")[: self.LIMIT + 1].count()
        self.capped = found > self.LIMIT
        return min(found, self.LIMIT)
