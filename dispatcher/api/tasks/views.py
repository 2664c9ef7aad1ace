"""The view of scheduled tasks: list, create, read, change, delete. Its other actions are
functions in the modules beside it, which take the view."""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from dispatcher.api.kernel import counting
from dispatcher.api.kernel.base import ApiView
from dispatcher.api.kernel.pagination import CappedPages
from dispatcher.api.kernel.permissions import Requirement
from dispatcher.api.kernel.schema import described
from dispatcher.api.tasks import ahead, examples, history, pausing, preconditions, running
from dispatcher.api.tasks.filters import ScheduledTaskFilters
from dispatcher.api.tasks.serializers import (
    ScheduledTaskReplacementSerializer,
    ScheduledTaskSerializer,
)
from dispatcher.models import TaskRun
from dispatcher.watch import recent_runs
from scheduling.database import DatabaseNow, locked, retry_contention
from scheduling.models import ScheduledTask
from scheduling.stop import is_everything_paused

R = TypeVar("R")

_BEGAN = Coalesce("started_at", "scheduled_for")


class ScheduledTaskViewSet(ApiView, GenericViewSet):
    """Scheduled tasks, with what became of them."""

    serializer_class: Any = ScheduledTaskSerializer
    filterset_class: Any = ScheduledTaskFilters
    filter_backends = (DjangoFilterBackend,)
    pagination_class = CappedPages
    lookup_value_regex = "[0-9]+"
    queryset = ScheduledTask.objects.all()

    requires: ClassVar[dict[str, Requirement]] = {
        "list": ("read", "scheduling.view_scheduledtask"),
        "retrieve": ("read", "scheduling.view_scheduledtask"),
        "create": ("write", "scheduling.add_scheduledtask"),
        "update": ("write", "scheduling.change_scheduledtask"),
        "partial_update": ("write", "scheduling.change_scheduledtask"),
        "destroy": ("write", "scheduling.delete_scheduledtask"),
        "pause": ("write", "scheduling.pause_scheduledtask"),
        "resume": ("write", "scheduling.pause_scheduledtask"),
        "skip_next": ("write", "scheduling.skip_scheduledtask"),
        "upcoming": ("read", "scheduling.view_scheduledtask"),
        "history": ("read", "scheduling.view_scheduledtask"),
        "preview": ("read", "scheduling.view_scheduledtask"),
        "preview_change": ("read", "scheduling.view_scheduledtask"),
        "run": ("run", "scheduling.run_scheduledtask"),
        "backfill": ("run", "scheduling.backfill_scheduledtask"),
        "runs": ("read", "dispatcher.view_taskrun"),
    }
    # A second “skip the next” skips another slot.
    idempotent_actions = frozenset(("create", "skip_next", "run", "backfill"))
    matched_actions = frozenset(
        ("update", "partial_update", "destroy", "pause", "resume", "skip_next")
    )
    cached_actions = frozenset(("retrieve",))
    tagged_actions = frozenset(
        ("retrieve", "create", "update", "partial_update", "pause", "resume")
    )
    making_actions = frozenset(("create", "run"))
    conflicting_actions = frozenset(("pause", "skip_next"))
    list_actions: ClassVar[tuple[str, ...]] = ("list", "history", "runs")
    parameters = ahead.PARAMETERS

    # The other actions: functions of this view and the request.
    pause = pausing.pause
    resume = pausing.resume
    skip_next = pausing.skip_next
    upcoming = ahead.upcoming
    preview = ahead.preview
    preview_change = ahead.preview_change
    history = history.history
    run = running.run
    backfill = running.backfill
    runs = running.runs

    # Which rows -----------------------------------------------------------------------------------

    def get_queryset(self) -> "QuerySet[Any]":
        """Each row with the time at which it was read, whether everything was paused then, and the
        newest run that has started or ended: an index entry per row."""
        begun = TaskRun.objects.begun().filter(scheduled_task=OuterRef("pk")).order_by("-pk")
        return ScheduledTask.objects.order_by("name_key").annotate(
            read_at=DatabaseNow(),
            everything_paused=is_everything_paused(),
            last_run_id=Subquery(begun.values("pk")[:1]),
            last_status=Subquery(begun.values("status")[:1]),
            last_began_at=Subquery(begun.values_list(_BEGAN)[:1]),
        )

    @described(
        summary="Scheduled tasks, by page",
        description="By name. `search` finds names that begin so, whatever the case. Every page "
        "can be asked for. A deep one of a long list takes longer; by name or `id` the least.",
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Ask first which rows, then for the rows: what is computed for each, is for those shown
        only."""
        listed = self.filter_queryset(ScheduledTask.objects.order_by("name_key"))
        page = self.paginate_queryset(listed.values_list("pk", flat=True))
        rows = self.get_queryset().in_bulk(page)
        shown = [rows[pk] for pk in page if pk in rows]
        return self.get_paginated_response(self.get_serializer(shown, many=True).data)

    def paginate_queryset(self, rows: Any) -> Any:
        """The rows of the page. Filtered by a frequent outcome a thousand are counted, as each task
        is asked for its newest run; by another all have been found already."""
        status = self.request.query_params.get("last_status")
        if not (status and self.action == "list"):
            return super().paginate_queryset(rows)
        self.paginator.few = counting.LIMIT
        if recent_runs.is_frequent(status):
            self.paginator.limit = counting.SLOW_LIMIT
        with recent_runs.without_jit():
            return super().paginate_queryset(rows)

    # One row --------------------------------------------------------------------------------------

    @described(summary="One scheduled task")
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        answer = self.shown(kwargs["pk"])
        if preconditions.is_unchanged(request, answer.headers["ETag"]):
            return Response(status=304, headers={"ETag": answer.headers["ETag"]})
        return answer

    @described(
        summary="Create a scheduled task",
        description="What the body leaves out gets its default. `id` and the other fields that "
        "cannot be set are ignored, so that a copy can be made of what was read.",
        examples=examples.CREATE,
    )
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        answer = self.shown(serializer.save().pk, status=201)
        answer["Location"] = self.address_of("scheduled-task-detail", answer.data["id"])
        return answer

    @described(
        summary="Replace a scheduled task",
        description="The body needs `name`, `task`, `kind`, its rule (`cron_expression`, "
        "`interval_seconds` or `run_at`) and `timezone`; 400 names what is missing. What else it "
        "leaves out gets its default. What was read can be sent back unchanged: fields that cannot "
        "be set are ignored, masks stand for what they hide.",
        request=ScheduledTaskReplacementSerializer,
        responses=ScheduledTaskSerializer,
        examples=examples.REPLACE,
    )
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self._changed(ScheduledTaskReplacementSerializer, partial=False)

    @described(
        summary="Change what the body names, and nothing else",
        description="With another `kind` the fields of the old kind are emptied. An edit of what "
        "decides the slots wins at once: no run of the old definition starts after it.",
        examples=examples.CHANGE,
    )
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self._changed(self.serializer_class, partial=True)

    def _changed(self, body: type[ScheduledTaskSerializer], partial: bool) -> Response:
        def change(row: ScheduledTask) -> None:
            context = self.get_serializer_context()
            serializer = body(row, data=self.request.data, partial=partial, context=context)
            serializer.is_valid(raise_exception=True)
            serializer.save()

        self.edit(change)
        return self.shown(self.kwargs["pk"])

    @described(summary="Delete a scheduled task; its runs stay")
    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.edit(lambda row: row.delete())
        return Response(status=204)

    @retry_contention
    def edit(self, verb: Callable[[ScheduledTask], R]) -> R:
        """Do it to the row under its lock, if that is still as `If-Match` says."""
        with transaction.atomic():
            row = locked(ScheduledTask.objects.filter(pk=self.kwargs["pk"])).first()
            if row is None:
                raise NotFound
            preconditions.check_if_match(self.request, row)
            return verb(row)

    def row(self, pk: Any = None) -> Any:
        """The row of this id, or of the one in the address, as `get_queryset` gives it."""
        row = self.get_queryset().filter(pk=pk or self.kwargs["pk"]).first()
        if row is None:
            raise NotFound
        return row

    def shown(self, pk: Any, status: int = 200) -> Response:
        """The answer that shows this row as it is now, with its ETag."""
        row = self.row(pk)
        data = self.get_serializer(row).data
        return Response(data, status, headers={"ETag": preconditions.etag_of(row, data)})
