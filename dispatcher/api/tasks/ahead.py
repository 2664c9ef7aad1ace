"""What comes: the next runs of a scheduled task, of a change of it, of one that is not saved."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from dispatcher.api.kernel.schema import described
from dispatcher.api.tasks import examples
from dispatcher.api.tasks.planned import PlannedRunsSerializer, PreviewSerializer, planned_runs
from dispatcher.api.tasks.previewing import preview_of
from dispatcher.api.tasks.requests import DraftSerializer
from scheduling.database import database_now

SHOWN, MOST = 10, 100
N = OpenApiParameter(
    "n",
    {"type": "integer", "minimum": 1, "maximum": MOST, "default": SHOWN},
    description="How many runs to come.",
)


class Ahead:
    """A mixin for the view of scheduled tasks."""

    request: Request
    row: Callable[[], Any]
    get_serializer: Callable[..., Any]

    parameters: ClassVar[dict[str, frozenset[str]]] = {
        name: frozenset(("n",)) for name in ("upcoming", "preview", "preview_change")
    }

    @described(
        summary="The next runs",
        description="Whether they are planned already or not.",
        parameters=[N],
        responses=PlannedRunsSerializer,
    )
    @action(detail=True, filter_backends=(), pagination_class=None)
    def upcoming(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        row = self.row()
        found = planned_runs(row, self.n(), row.read_at, row.everything_paused)
        return Response(PlannedRunsSerializer(found).data)

    @described(
        summary="The runs of a scheduled task that is not saved",
        request=DraftSerializer,
        description="For a form while somebody types: what is wrong is told in `errors` of a 200.",
        examples=examples.PREVIEW,
        parameters=[N],
        responses=PreviewSerializer,
    )
    @action(detail=False, methods=["post"])
    def preview(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        found = preview_of(self.get_serializer, None, request.data, self.n(), database_now())
        return Response(PreviewSerializer(found).data)

    @described(
        summary="The runs that a change of it would lead to; nothing is saved",
        request=DraftSerializer,
        description="The body is that of a PATCH.",
        examples=examples.CHANGE,
        parameters=[N],
        responses=PreviewSerializer,
    )
    @action(detail=True, methods=["post"], url_path="preview")
    def preview_change(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        row = self.row()
        found = preview_of(self.get_serializer, row, request.data, self.n(), row.read_at)
        return Response(PreviewSerializer(found).data)

    def n(self) -> int:
        text = self.request.query_params.get("n", str(SHOWN))
        if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MOST):
            message = _("Give a number from 1 to %(largest)d.") % {"largest": MOST}
            raise ValidationError({"n": message}, "invalid")
        return int(text)
