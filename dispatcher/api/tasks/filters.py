"""Which scheduled tasks of a list: filters, search and order."""

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy
from django_filters import rest_framework as filters

from dispatcher.api.kernel.filters import FilledFilter, YesNoFilter
from dispatcher.models import Status
from dispatcher.models.status import UNSTARTED
from dispatcher.watch.recent_runs import whose_last_is
from scheduling.models import Kind, MisfirePolicy, OverlapPolicy, ScheduledTask, State
from scheduling.models.queryset import ScheduledTaskQuerySet

#: States of a run that has started or ended.
BEGUN = [choice for choice in Status.choices if choice[0] not in UNSTARTED]

#: Columns with an index, besides the name. Not `next_run_at`: what is shown as that is computed.
ORDERED_BY = ("id", "task", "queue", "group", "owner")


class OrderingFilter(filters.OrderingFilter):
    """Rows of the same value are ordered by name, in the same direction: as the indexes are. Names
    that were searched for keep the order of the index that found them."""

    def filter(self, rows: Any, value: Any) -> Any:
        names = [self.get_ordering_value(name) for name in value or ()]
        if not names:
            return rows
        if self.parent.form.cleaned_data["search"] and names[0] in ("name_key", "-name_key"):
            return rows.reverse() if names[0].startswith("-") else rows
        if {"id", "name_key"}.isdisjoint(name.lstrip("-") for name in names):
            names.append("-name_key" if names[-1].startswith("-") else "name_key")
        return rows.order_by(*names)


class ScheduledTaskFilters(filters.FilterSet):
    """Filters, search and order of a list of scheduled tasks."""

    search = filters.CharFilter(method="named_from", label=gettext_lazy("The name begins so."))
    state = filters.ChoiceFilter(choices=State.choices, method="in_state", null_label=None)
    kind = filters.ChoiceFilter(choices=Kind.choices)
    enabled = YesNoFilter()
    task = filters.CharFilter()
    queue = filters.CharFilter()
    group = filters.CharFilter()
    owner = filters.CharFilter()
    has_queue = FilledFilter(field_name="queue")
    has_group = FilledFilter(field_name="group")
    has_owner = FilledFilter(field_name="owner")
    misfire_policy = filters.ChoiceFilter(choices=MisfirePolicy.choices)
    overlap_policy = filters.ChoiceFilter(choices=OverlapPolicy.choices)
    last_status = filters.ChoiceFilter(
        choices=BEGUN,
        method="whose_newest_is",
        label=gettext_lazy("Of the newest run that has started or ended."),
    )
    ordering = OrderingFilter(fields=(("name_key", "name"), *((name, name) for name in ORDERED_BY)))

    class Meta:
        model = ScheduledTask
        fields: tuple[str, ...] = ()

    def named_from(
        self, rows: ScheduledTaskQuerySet, name: str, value: str
    ) -> ScheduledTaskQuerySet:
        return rows.named_from(value)

    def in_state(self, rows: ScheduledTaskQuerySet, name: str, value: str) -> ScheduledTaskQuerySet:
        return rows.in_state(value)

    def whose_newest_is(self, rows: "QuerySet[Any]", name: str, value: str) -> "QuerySet[Any]":
        return whose_last_is(rows, value)
