"""Scheduled tasks by what became of their newest run."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from dispatcher.models import Status
from dispatcher.watch.recent_runs import whose_last_is


class LastStatusFilter(admin.SimpleListFilter):
    """Filters by the newest run that has begun or ended."""

    title = gettext_lazy("last outcome")
    parameter_name = "last_status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        unstarted = (Status.PLANNED, Status.PUBLISHED)
        return [(status.value, status.label) for status in Status if status not in unstarted]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return whose_last_is(queryset, self.value() or "") if self.value() else queryset
