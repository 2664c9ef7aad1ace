"""Edits of many rows: `QuerySet.update` and `bulk_update` of what people set.

They validate nothing, as Django's.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from django.db import transaction

from scheduling import trail
from scheduling.database import retry_contention
from scheduling.edits.transaction import Edit, evaluated, read_locked

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from scheduling.models import ScheduledTask

#: Rows edited in one transaction.
EDITED_AT_ONCE = 200


def update_each(rows: "QuerySet[ScheduledTask]", columns: dict[str, Any]) -> int:
    """`QuerySet.update` of what people set: an edit of each row, batch by batch."""
    ids = list(rows.order_by("pk").values_list("pk", flat=True))
    return sum(
        _update_batch(rows.model, ids[start : start + EDITED_AT_ONCE], columns)
        for start in range(0, len(ids), EDITED_AT_ONCE)
    )


@retry_contention
def _update_batch(
    model: type["ScheduledTask"], ids: Collection[int], columns: dict[str, Any]
) -> int:
    with transaction.atomic():
        olds, now = read_locked(model.objects.filter(pk__in=ids))
        values = evaluated(model, [old.pk for old in olds], columns)
        edits = [Edit(old, now) for old in olds]
        for edit in edits:
            edit.put(values.get(edit.old.pk, columns))
            edit.finish(_keep)
        trail.note_changed([(edit.old, edit.new) for edit in edits], now)
        return len(edits)


def _keep(new: "ScheduledTask", names: set[str]) -> None:
    type(new).objects.filter(pk=new.pk).keep(**{name: getattr(new, name) for name in names})


def bulk_update_each(objs: list["ScheduledTask"], names: list[str]) -> int:
    """`bulk_update` of what people set: an edit of each row."""
    written = 0
    for obj in objs:
        written += _update_batch(type(obj), [obj.pk], {name: getattr(obj, name) for name in names})
        obj.remember(names)
    return written
