"""Admins that only show, and that do not count for seconds."""

from functools import cached_property
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.http import HttpRequest


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # no generic at run time
    """Rows that only the scheduler writes."""

    empty_value_display = "–"
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    class Media:
        css = {"all": ("dispatcher/admin.css",)}

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
        counted: int = rows.order_by().values("pk")[: self.LIMIT + 1].count()
        self.capped = counted > self.LIMIT
        return min(counted, self.LIMIT)
