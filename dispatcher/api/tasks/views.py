"""Scheduled tasks: create, read, change, delete; pause, resume, skip; what comes next."""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from dispatcher.api.kernel.base import ApiView
from dispatcher.api.kernel.pagination import CappedPages, NumberedCursors
from dispatcher.api.kernel.permissions import Requirement
from dispatcher.api.kernel.problems import Conflict
from dispatcher.api.kernel.schema import described
from dispatcher.api.kernel.strict import NothingSerializer
from dispatcher.api.tasks import examples, preconditions
from dispatcher.api.tasks.ahead import Ahead
from dispatcher.api.tasks.filters import ScheduledTaskFilters
from dispatcher.api.tasks.history import ChangeSerializer, told
from dispatcher.api.tasks.requests import PauseSerializer, SkippedSerializer
from dispatcher.api.tasks.serializers import ScheduledTaskSerializer
from scheduling.database import DatabaseNow, locked, retry_contention
from scheduling.models import ScheduledTask
from scheduling.stop import is_everything_paused

R = TypeVar("R")


class ScheduledTaskViewSet(Ahead, ApiView, GenericViewSet):
    """Scheduled tasks."""

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
    }
    # A second “skip the next” skips another slot.
    idempotent_actions = frozenset(("create", "skip_next"))
    matched_actions = frozenset(
        ("update", "partial_update", "destroy", "pause", "resume", "skip_next")
    )
    cached_actions = frozenset(("retrieve",))
    tagged_actions = frozenset(
        ("retrieve", "create", "update", "partial_update", "pause", "resume")
    )
    making_actions = frozenset(("create",))
    conflicting_actions = frozenset(("pause", "skip_next"))
    list_actions: ClassVar[tuple[str, ...]] = ("list", "history")
    parameters = Ahead.parameters

    def get_queryset(self) -> "QuerySet[Any]":
        """Each row with the time at which it was read and whether everything was paused then."""
        rows = ScheduledTask.objects.order_by("name_key")
        return rows.annotate(read_at=DatabaseNow(), everything_paused=is_everything_paused())

    @described(
        summary="Scheduled tasks, by page",
        description="By name. `search` finds names that begin so, whatever the case. Every page "
        "can be asked for. A deep one of a long list takes longer; by name or `id` the least.",
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """First which rows, then the rows: what is computed for each, is for those shown only."""
        found = self.filter_queryset(ScheduledTask.objects.order_by("name_key"))
        page = self.paginate_queryset(found.values_list("pk", flat=True))
        rows = self.get_queryset().in_bulk(page)
        shown = [rows[pk] for pk in page if pk in rows]
        return self.get_paginated_response(self.get_serializer(shown, many=True).data)

    # One row --------------------------------------------------------------------------------------

    @described(summary="One scheduled task")
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        answer = self._shown(kwargs["pk"])
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
        answer = self._shown(serializer.save().pk, status=201)
        answer["Location"] = self.address_of("scheduled-task-detail", answer.data["id"])
        return answer

    @described(
        summary="Replace a scheduled task",
        description="What the body leaves out gets its default. What was read can be sent back "
        "unchanged: fields that cannot be set are ignored, masks stand for what they hide.",
        examples=examples.CREATE,
    )
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self._changed(partial=False)

    @described(
        summary="Change what the body names, and nothing else",
        description="With another `kind` the fields of the old kind are emptied. An edit of what "
        "decides the slots wins at once: no run of the old definition starts after it.",
        examples=examples.CHANGE,
    )
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self._changed(partial=True)

    def _changed(self, partial: bool) -> Response:
        def change(row: ScheduledTask) -> None:
            serializer = self.get_serializer(row, data=self.request.data, partial=partial)
            serializer.is_valid(raise_exception=True)
            serializer.save()

        self.edit(change)
        return self._shown(self.kwargs["pk"])

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

    def row(self) -> Any:
        row = self.get_queryset().filter(pk=self.kwargs["pk"]).first()
        if row is None:
            raise NotFound
        return row

    def _shown(self, pk: Any, status: int = 200) -> Response:
        row = self.get_queryset().filter(pk=pk).first()
        if row is None:
            raise NotFound
        data = self.get_serializer(row).data
        return Response(data, status, headers={"ETag": preconditions.etag_of(row, data)})

    # Actions --------------------------------------------------------------------------------------

    @described(
        summary="Pause: no slot of it runs",
        description="Runs that are due and have not started are cancelled; one that is running "
        "goes on. 409 if it is paused already and the body says why or until when.",
        examples=examples.PAUSE,
        request=PauseSerializer,
    )
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        asked = self.body(PauseSerializer)
        params = {"message": asked["reason"]} if asked.get("reason") else None

        def pause(row: ScheduledTask) -> None:
            done = row.pause(by=self.caller, until=asked.get("until"), params=params)
            if not done and (params or asked.get("until")):
                raise Conflict(_("It is paused already. Resume it first."), "already_paused")

        self.edit(pause)
        return self._shown(kwargs["pk"])

    @described(
        summary="Resume: its slots run again, from now on",
        description="Nothing happens where it is not paused.",
        request=NothingSerializer,
    )
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.body(NothingSerializer)
        self.edit(lambda row: row.resume(by=self.caller))
        return self._shown(kwargs["pk"])

    @described(
        summary="Skip the next slot",
        description="It is kept in the history as skipped. 409 where none is to come.",
        request=NothingSerializer,
        responses=SkippedSerializer,
    )
    @action(detail=True, methods=["post"], url_path="skip-next")
    def skip_next(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.body(NothingSerializer)
        slot = self.edit(lambda row: row.skip_next(by=self.caller))
        if slot is None:
            raise Conflict(_("It has no run to come that could be skipped."), "no_slot_to_skip")
        return Response(SkippedSerializer({"skipped": slot}).data)

    @described(
        summary="Who changed it, when and what",
        description="Newest first, from the audit trail.",
        responses=ChangeSerializer(many=True),
        filters=False,
    )
    @action(detail=True, filter_backends=(), filterset_class=None, pagination_class=NumberedCursors)
    def history(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        row = self.row()
        page = self.paginate_queryset(ScheduledTask.history.filter(id=row.pk))
        return self.get_paginated_response(ChangeSerializer(told(page, row), many=True).data)
