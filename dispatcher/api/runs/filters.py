"""Which runs of a list."""

from operator import itemgetter
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field

from dispatcher.api.kernel.filters import MomentFilter, WholeFilter
from dispatcher.models import Status, TaskRun, Trigger
from dispatcher.models.run import run_id_at
from dispatcher.reasons import SENTENCES


class RunFilters(filters.FilterSet):
    """Filters of a list of runs. `planned_after` and `planned_before` are quick whatever the number
    of runs."""

    status = filters.MultipleChoiceFilter(
        choices=Status.choices, label=gettext_lazy("May be given several times.")
    )
    trigger = filters.ChoiceFilter(choices=Trigger.choices)
    reason = filters.ChoiceFilter(choices=sorted(SENTENCES.items(), key=itemgetter(0)))
    scheduled_task = WholeFilter(field_name="scheduled_task_id")
    name = filters.CharFilter()
    task = filters.CharFilter()
    queue = filters.CharFilter()
    worker = filters.CharFilter()
    scheduled_for_after = MomentFilter(
        field_name="scheduled_for", lookup_expr="gte", label=gettext_lazy("Itself included.")
    )
    scheduled_for_before = MomentFilter(
        field_name="scheduled_for", lookup_expr="lt", label=gettext_lazy("Itself not included.")
    )
    planned_after = MomentFilter(method="from_id", label=gettext_lazy("Itself included."))
    planned_before = MomentFilter(method="to_id", label=gettext_lazy("Itself not included."))
    ordering = filters.ChoiceFilter(
        choices=(("-id", gettext_lazy("newest first")), ("id", gettext_lazy("oldest first"))),
        method="as_they_are",
    )

    class Meta:
        model = TaskRun
        fields: tuple[str, ...] = ()

    @extend_schema_field(OpenApiTypes.DATETIME)
    def from_id(self, rows: "QuerySet[Any]", name: str, value: Any) -> "QuerySet[Any]":
        """The runs from this time on: ids grow with time."""
        return rows.filter(pk__gte=run_id_at(value))

    @extend_schema_field(OpenApiTypes.DATETIME)
    def to_id(self, rows: "QuerySet[Any]", name: str, value: Any) -> "QuerySet[Any]":
        return rows.filter(pk__lt=run_id_at(value))

    def as_they_are(self, rows: "QuerySet[Any]", name: str, value: Any) -> "QuerySet[Any]":
        """The rows as they are: the cursor orders them."""
        return rows
