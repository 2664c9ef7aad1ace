"""Pages of a list that may have a million rows: what it takes to count them all is not spent.

Up to a limit the count is exact. Beyond it says the limit and that it is not exact, and whether
there is a further page is known from one row more than the page shows: every page can be reached.
What a page costs grows with its depth, as the database walks over the rows before it, or over the
index alone where they are ordered by one unique column.
"""

from functools import cached_property
from typing import Any

from django.core.paginator import EmptyPage, Page, Paginator

#: Up to which a list is counted, and one whose rows are slow to find.
LIMIT, SLOW_LIMIT = 10_000, 1_000

#: So many found rows are put in order, where PostgreSQL might look for them in theirs. Where it is
#: as large as the limit, the rows are counted as they are read.
FEW = 2_000

#: From this offset on the first value of a page is looked up before the page.
DEEP = 1_000

#: Columns of which no two rows have the same value.
UNIQUE = frozenset(("id", "name_key"))

#: Larger offsets are an empty page, and no question to a database that may not know such numbers.
DEEPEST = 2**31


class CountedPage(Page):  # type: ignore[type-arg]
    """A page that knows from one row more than it shows whether there is a further one."""

    def __init__(self, rows: Any, number: int, paginator: Any, has_more: bool) -> None:
        super().__init__(rows, number, paginator)
        self.has_more = has_more

    def has_next(self) -> bool:
        return self.has_more

    def next_page_number(self) -> int:
        return self.number + 1

    def previous_page_number(self) -> int:
        return self.number - 1


class CountingPaginator(Paginator):  # type: ignore[type-arg]
    """Counts the rows up to `limit`; up to `few` of them are put in order here."""

    def __init__(self, rows: Any, size: int, limit: int, few: int) -> None:
        super().__init__(rows, size)
        self.limit, self.few = limit, few

    @cached_property
    def count(self) -> int:
        return min(self._count, self.limit)

    @cached_property
    def _count(self) -> int:
        if self.few >= self.limit:
            return len(self._counted)
        rows: Any = self.object_list
        return int(rows.order_by()[: self.limit + 1].count())

    @cached_property
    def _counted(self) -> list[Any]:
        """All rows that are counted, in their order: to count them and to look at them again would
        be to look for them twice."""
        rows: Any = self.object_list
        return list(rows[: self.limit + 1])

    @property
    def count_is_exact(self) -> bool:
        return self._count <= self.limit

    def page(self, number: Any) -> CountedPage:
        first = (number - 1) * self.per_page
        if first >= (max(self.count, 1) if self.count_is_exact else DEEPEST):
            raise EmptyPage
        rows = self._rows(first, first + self.per_page + 1)
        if number > 1 and not rows:
            raise EmptyPage
        return CountedPage(rows[: self.per_page], number, self, len(rows) > self.per_page)

    def _rows(self, first: int, end: int) -> list[Any]:
        """The rows from `first` to before `end`. Where few are found, all of them are read: told
        that it needs only a hundred, PostgreSQL looks for the few among all rows in their order."""
        if self.few >= self.limit and (self.count_is_exact or end <= self.limit):
            return self._counted[first:end]
        rows: Any = self.object_list
        is_filtered = bool(rows.query.where)
        if is_filtered and self.count_is_exact and self.count <= self.few:
            return list(rows)[first:end]
        if first >= DEEP and (column := _only_column(rows)):
            return list(_from(rows, column, first)[: end - first])
        return list(rows[first:end])


def _only_column(rows: Any) -> str:
    """The unique column that orders the rows, “-” before it where backwards; or nothing."""
    columns = rows.query.order_by
    named = len(columns) == 1 and isinstance(columns[0], str)
    return columns[0] if named and columns[0].removeprefix("-") in UNIQUE else ""


def _from(rows: Any, column: str, first: int) -> Any:
    """The rows from this offset on, found in the index: an OFFSET reads each row before it."""
    name = column.removeprefix("-")
    values = list(rows.values_list(name, flat=True)[first : first + 1])
    if not values:
        return rows.none()
    return rows.filter(**{f"{name}__{'lte' if column.startswith('-') else 'gte'}": values[0]})
