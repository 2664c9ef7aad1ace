"""Many rows, a part at a time."""

from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet


def in_batches(rows: "QuerySet[Any, Any]", size: int = 500) -> Iterator[Any]:
    """The rows in their order, with never more than `size` of them in memory.

    `QuerySet.iterator` takes a server-side cursor for it, which under PgBouncer in transaction mode
    stays behind in a session that is somebody else's by the next statement. A row that does not
    match any more when its part is read is left out. `rows` must not be a slice.
    """
    keys = list(rows.values_list("pk", flat=True))
    for start in range(0, len(keys), size):
        yield from rows.filter(pk__in=keys[start : start + size])
