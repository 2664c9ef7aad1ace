"""Run it now, run slots of the past, its runs: actions of `ScheduledTaskViewSet`."""

from typing import TYPE_CHECKING, Any

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from dispatcher import runs as verbs
from dispatcher.api.kernel.pagination import Cursors
from dispatcher.api.kernel.schema import described
from dispatcher.api.runs import examples
from dispatcher.api.runs.filters import RunFilters
from dispatcher.api.runs.requests import ArgumentsSerializer
from dispatcher.api.runs.serializers import RunDetailSerializer, RunSerializer
from dispatcher.api.runs.views import answer_of, arguments_for, listed
from dispatcher.api.tasks.requests import BackfillSerializer, RangeSerializer
from dispatcher.models import TaskRun

if TYPE_CHECKING:
    from dispatcher.api.tasks.views import ScheduledTaskViewSet


@described(
    summary="Run it once, now, also while it is paused",
    description="Its overlap rule holds. The answer comes before the run ends: ask for the "
    "run at `Location`.",
    examples=examples.RUN,
    request=ArgumentsSerializer,
    responses={201: RunDetailSerializer},
)
@action(detail=True, methods=["post"])
def run(view: "ScheduledTaskViewSet", request: Request, **kwargs: Any) -> Response:
    row = view.row()
    arguments = arguments_for(row, request.data)
    return answer_of(view, verbs.run_now(row, by=view.caller, via="api", **arguments))


@described(
    summary="Run the slots of a range of the past that have no run that succeeded",
    description="Oldest first, at most 10,000 at once. 200 for a dry run, and where there is "
    "nothing to run.",
    examples=examples.BACKFILL,
    request=RangeSerializer,
    responses={200: BackfillSerializer, 201: BackfillSerializer},
)
@action(detail=True, methods=["post"])
def backfill(view: "ScheduledTaskViewSet", request: Request, **kwargs: Any) -> Response:
    row = view.row()
    body = view.body(RangeSerializer)
    span = body["start"], body["end"]
    if body["dry_run"]:
        slots = verbs.backfill_slots(row, *span)
        return Response(BackfillSerializer({"slots": slots, "runs": []}).data)
    made = verbs.backfill(row, *span, by=view.caller, via="api")
    answer = {"slots": [run.scheduled_for for run in made], "runs": made}
    return Response(BackfillSerializer(answer).data, 201 if made else 200)


@described(summary="Its runs", responses=RunSerializer(many=True))
@action(
    detail=True,
    queryset=TaskRun.objects.all(),
    filterset_class=RunFilters,
    pagination_class=Cursors,
)
def runs(view: "ScheduledTaskViewSet", request: Request, **kwargs: Any) -> Response:
    rows = listed(TaskRun.objects.filter(scheduled_task=view.row().pk))
    page = view.paginate_queryset(view.filter_queryset(rows))
    return view.get_paginated_response(RunSerializer(page, many=True).data)
