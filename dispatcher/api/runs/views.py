"""Runs: look at them, start them, cancel them, run them again."""

from typing import Any, ClassVar

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from dispatcher import runs
from dispatcher.api.kernel.base import ApiView
from dispatcher.api.kernel.pagination import Cursors
from dispatcher.api.kernel.permissions import Requirement
from dispatcher.api.kernel.problems import Conflict
from dispatcher.api.kernel.schema import described
from dispatcher.api.kernel.strict import NothingSerializer
from dispatcher.api.runs import examples
from dispatcher.api.runs.filters import RunFilters
from dispatcher.api.runs.requests import ArgumentsSerializer, RunTaskSerializer
from dispatcher.api.runs.serializers import RunDetailSerializer, RunSerializer
from dispatcher.models import TaskRun
from dispatcher.models.run import LARGE


def listed(rows: "QuerySet[TaskRun]") -> "QuerySet[TaskRun]":
    """The runs without the columns that may be large."""
    return rows.defer(*LARGE)


class RunViewSet(ApiView, ListModelMixin, GenericViewSet):
    """Runs: what happened, and why."""

    serializer_class = RunSerializer
    filterset_class = RunFilters
    filter_backends = (DjangoFilterBackend,)
    pagination_class = Cursors
    lookup_value_converter = "uuid"
    queryset = TaskRun.objects.all()

    requires: ClassVar[dict[str, Requirement]] = {
        "list": ("read", "dispatcher.view_taskrun"),
        "retrieve": ("read", "dispatcher.view_taskrun"),
        # There is no definition whose permission could be asked for.
        "create": ("run", "dispatcher.add_taskrun"),
        "cancel": ("run", "dispatcher.cancel_taskrun"),
        "rerun": ("run", "dispatcher.rerun_taskrun"),
    }
    idempotent_actions = frozenset(("create", "rerun"))
    making_actions = idempotent_actions
    conflicting_actions = frozenset(("cancel", "rerun"))

    def get_queryset(self) -> "QuerySet[TaskRun]":
        rows = TaskRun.objects.order_by("-pk")
        return listed(rows) if self.action == "list" else rows.prefetch_related("attempts")

    @described(
        summary="Runs, by cursor",
        description="Newest first. Who follows `next` sees every run that was there when they "
        "began exactly once, while others are added. `status`, `scheduled_task`, `planned_after` "
        "and `planned_before` read an index; by anything else the runs are looked through from the "
        "newest on, and what is rare among millions takes seconds: say since when, too.",
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().list(request, *args, **kwargs)

    @described(
        summary="One run, with its result, its traceback and its log", responses=RunDetailSerializer
    )
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(RunDetailSerializer(self.row()).data)

    @described(
        summary="Run a task without a definition, now or at a time",
        examples=examples.RUN_TASK,
        request=RunTaskSerializer,
        responses={201: RunDetailSerializer},
    )
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        body = self.body(RunTaskSerializer)
        at = body.pop("at", None)
        return self.made(runs.run_task(**body, at=at, by=self.caller, via="api"))

    @described(
        summary="Cancel a run that has not ended",
        description="Before its start, or by ending its process. 409 if it had ended already.",
        request=NothingSerializer,
        responses=RunDetailSerializer,
    )
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.body(NothingSerializer)
        if not runs.cancel(self.row(), by=self.caller):
            raise Conflict(_("The run had ended already."), "already_ended")
        return Response(RunDetailSerializer(self.row()).data)

    @described(
        summary="Run an ended run again",
        description="409 while it has not ended.",
        examples=examples.RUN,
        request=ArgumentsSerializer,
        responses={201: RunDetailSerializer},
    )
    @action(detail=True, methods=["post"])
    def rerun(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        run = self.row()
        arguments = arguments_for(run, request.data)
        if not run.is_ended:
            message = _("This run has not ended. Cancel it first, or wait.")
            raise Conflict(message, "not_ended")
        return self.made(runs.rerun(run, by=self.caller, via="api", **arguments))

    def row(self) -> TaskRun:
        run = self.get_queryset().filter(pk=self.kwargs["pk"]).first()
        if run is None:
            raise NotFound
        return run

    def made(self, run: TaskRun) -> Response:
        return answer_of(self, run)


def arguments_for(present: Any, body: Any) -> dict[str, Any]:
    """`args` and `kwargs` as the body gives them, masks replaced by what `present` has there."""
    serializer = ArgumentsSerializer(present, data=body)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def answer_of(view: ApiView, run: TaskRun) -> Response:
    """201 with a run that was just made."""
    data = RunDetailSerializer(run).data
    return Response(data, 201, headers={"Location": view.address_of("run-detail", run.pk)})
