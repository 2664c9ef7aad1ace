"""Pause, resume, skip the next slot: actions of `ScheduledTaskViewSet`, each under the row lock and
only if the row is still as `If-Match` says."""

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from dispatcher.api.kernel.problems import Conflict
from dispatcher.api.kernel.schema import described
from dispatcher.api.kernel.strict import NothingSerializer
from dispatcher.api.tasks import examples
from dispatcher.api.tasks.requests import PauseSerializer, SkippedSerializer
from scheduling.models import ScheduledTask

if TYPE_CHECKING:
    from dispatcher.api.tasks.views import ScheduledTaskViewSet


@described(
    summary="Pause: no slot of it runs",
    description="Runs that are due and have not started are cancelled; one that is running "
    "goes on. 409 if it is paused already and the body says why or until when.",
    examples=examples.PAUSE,
    request=PauseSerializer,
)
@action(detail=True, methods=["post"])
def pause(view: "ScheduledTaskViewSet", request: Request, **kwargs: Any) -> Response:
    body = view.body(PauseSerializer)
    params = {"message": body["reason"]} if body.get("reason") else None

    def pause(row: ScheduledTask) -> None:
        done = row.pause(by=view.caller, until=body.get("until"), params=params)
        if not done and (params or body.get("until")):
            raise Conflict(_("It is paused already. Resume it first."), "already_paused")

    view.edit(pause)
    return view.shown(kwargs["pk"])


@described(
    summary="Resume: its slots run again, from now on",
    description="Nothing happens where it is not paused.",
    request=NothingSerializer,
)
@action(detail=True, methods=["post"])
def resume(view: "ScheduledTaskViewSet", request: Request, **kwargs: Any) -> Response:
    view.body(NothingSerializer)
    view.edit(lambda row: row.resume(by=view.caller))
    return view.shown(kwargs["pk"])


@described(
    summary="Skip the next slot",
    description="It is kept in the history as skipped. 409 where none is to come.",
    request=NothingSerializer,
    responses=SkippedSerializer,
)
@action(detail=True, methods=["post"], url_path="skip-next")
def skip_next(view: "ScheduledTaskViewSet", request: Request, **kwargs: Any) -> Response:
    view.body(NothingSerializer)
    slot = view.edit(lambda row: row.skip_next(by=view.caller))
    if slot is None:
        raise Conflict(_("It has no run to come that could be skipped."), "no_slot_to_skip")
    return Response(SkippedSerializer({"skipped": slot}).data)
