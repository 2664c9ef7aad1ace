"""Scheduled tasks by what became of their newest run, and the count of such a list."""

from functools import cached_property
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from dispatcher.admin.reading import CappedPaginator
from dispatcher.models import Status
from dispatcher.newest import whose_last_is


class LastStatusFilter(admin.SimpleListFilter):
    """By the newest run that has begun or ended."""

    title = gettext_lazy("last outcome")
    parameter_name = "last_status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        unstarted = (Status.PLANNED, Status.PUBLISHED)
        return [(status.value, status.label) for status in Status if status not in unstarted]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return whose_last_is(queryset, self.value() or "") if self.value() else queryset


class FoundPaginator(CappedPaginator):
    """Looks for the rows once. To find a few of a hundred thousand by their runs, or by a part of
    a text, takes most of the time of the page: who counts them may as well note which they are."""

    LIMIT = 1_000

    def __init__(self, everything: Any, found: Any, *args: Any, **options: Any) -> None:
        """`everything`: the list without what `found` is filtered by."""
        super().__init__(found, *args, **options)
        self.everything = everything

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        found = list(rows.order_by().values_list("pk", flat=True)[: self.LIMIT + 1])
        self.capped = len(found) > self.LIMIT
        if not self.capped:
            listed = self.everything.filter(pk__in=found)
            self.object_list = listed.order_by(*rows.query.order_by)
        return min(len(found), self.LIMIT)


class FoundChangeList(ChangeList):
    """Lists what its paginator has found: Django's would look for it again where it is one page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if isinstance(self.paginator, FoundPaginator) and not self.multi_page:
            self.result_list: Any = self.paginator.object_list
