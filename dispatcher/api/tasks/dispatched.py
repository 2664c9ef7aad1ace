"""Scheduled tasks with what became of them: run now, backfill, their runs."""

from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from dispatcher import runs
from dispatcher.api.kernel import counting
from dispatcher.api.kernel.pagination import Cursors
from dispatcher.api.kernel.schema import described
from dispatcher.api.runs import examples
from dispatcher.api.runs.filters import RunFilters
from dispatcher.api.runs.requests import ArgumentsSerializer
from dispatcher.api.runs.serializers import RunDetailSerializer, RunSerializer
from dispatcher.api.runs.views import answer_of, arguments_for, listed
from dispatcher.api.tasks.filters import DispatchedTaskFilters
from dispatcher.api.tasks.requests import BackfillSerializer, RangeSerializer
from dispatcher.api.tasks.serializers import DispatchedTaskSerializer
from dispatcher.api.tasks.views import ScheduledTaskViewSet
from dispatcher.models import TaskRun
from dispatcher.watch import recent_runs

_BEGAN = Coalesce("started_at", "scheduled_for")


class DispatchedTaskViewSet(ScheduledTaskViewSet):
    """Scheduled tasks, with what became of them."""

    serializer_class = DispatchedTaskSerializer
    filterset_class = DispatchedTaskFilters

    requires = ScheduledTaskViewSet.requires | {
        "run": ("run", "scheduling.run_scheduledtask"),
        "backfill": ("run", "scheduling.backfill_scheduledtask"),
        "runs": ("read", "dispatcher.view_taskrun"),
    }
    idempotent_actions = ScheduledTaskViewSet.idempotent_actions | {"run", "backfill"}
    making_actions = ScheduledTaskViewSet.making_actions | {"run"}
    list_actions = (*ScheduledTaskViewSet.list_actions, "runs")

    def get_queryset(self) -> "QuerySet[Any]":
        """With the newest run that has started or ended: an index entry per row."""
        begun = TaskRun.objects.begun().filter(scheduled_task=OuterRef("pk")).order_by("-pk")
        return (
            super()
            .get_queryset()
            .annotate(
                last_run_id=Subquery(begun.values("pk")[:1]),
                last_status=Subquery(begun.values("status")[:1]),
                last_began_at=Subquery(begun.values_list(_BEGAN)[:1]),
            )
        )

    def paginate_queryset(self, rows: Any) -> Any:
        """Of a frequent outcome a thousand are counted: each task is asked for its newest run. Of
        another all have been found already."""
        status = self.request.query_params.get("last_status")
        if status and self.action == "list":
            self.paginator.few = counting.LIMIT
            if recent_runs.is_frequent(status):
                self.paginator.limit = counting.SLOW_LIMIT
            with recent_runs.without_jit():
                return super().paginate_queryset(rows)
        return super().paginate_queryset(rows)

    @described(
        summary="Run it once, now, also while it is paused",
        description="Its overlap rule holds. The answer comes before the run ends: ask for the "
        "run at `Location`.",
        examples=examples.RUN,
        request=ArgumentsSerializer,
        responses={201: RunDetailSerializer},
    )
    @action(detail=True, methods=["post"])
    def run(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        row = self.row()
        asked = arguments_for(row, request.data)
        return answer_of(self, runs.run_now(row, by=self.caller, via="api", **asked))

    @described(
        summary="Run the slots of a range of the past that have no run that succeeded",
        description="Oldest first, at most 10,000 at once. 200 for a dry run, and where there is "
        "nothing to run.",
        examples=examples.BACKFILL,
        request=RangeSerializer,
        responses={200: BackfillSerializer, 201: BackfillSerializer},
    )
    @action(detail=True, methods=["post"])
    def backfill(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        row = self.row()
        asked = self.body(RangeSerializer)
        span = asked["start"], asked["end"]
        if asked["dry_run"]:
            slots = runs.backfill_slots(row, *span)
            return Response(BackfillSerializer({"slots": slots, "runs": []}).data)
        made = runs.backfill(row, *span, by=self.caller, via="api")
        found: dict[str, Any] = {"slots": [run.scheduled_for for run in made], "runs": made}
        return Response(BackfillSerializer(found).data, 201 if made else 200)

    @described(summary="Its runs", responses=RunSerializer(many=True))
    @action(
        detail=True,
        queryset=TaskRun.objects.all(),
        filterset_class=RunFilters,
        pagination_class=Cursors,
    )
    def runs(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        rows = listed(TaskRun.objects.filter(scheduled_task=self.row().pk))
        page = self.paginate_queryset(self.filter_queryset(rows))
        return self.get_paginated_response(RunSerializer(page, many=True).data)
