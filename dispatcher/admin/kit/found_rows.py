"""Lists that look for their rows once: the paginator that counts them notes which they are."""

from functools import cached_property
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from dispatcher.admin.kit.read_only import CappedPaginator


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
