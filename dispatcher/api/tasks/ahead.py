"""What comes: the next runs of a scheduled task, of a change of it, of one that is not saved.

The functions are actions of `ScheduledTaskViewSet`.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from dispatcher.api.kernel.schema import described
from dispatcher.api.tasks import drafts, examples
from dispatcher.api.tasks.planned import (
    PlannedRunsSerializer,
    PreviewSerializer,
    preview_in_json,
    runs_in_json,
)
from dispatcher.api.tasks.requests import DraftSerializer
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.words import coming_runs, preview_of

if TYPE_CHECKING:
    from dispatcher.api.tasks.views import ScheduledTaskViewSet

SHOWN, MOST = 10, 100
N = OpenApiParameter(
    "n",
    {"type": "integer", "minimum": 1, "maximum": MOST, "default": SHOWN},
    description="How many runs to come.",
)
#: The actions that take the parameter `n`.
PARAMETERS = {name: frozenset(("n",)) for name in ("upcoming", "preview", "preview_change")}


@described(
    summary="The next runs",
    description="Whether they are planned already or not.",
    parameters=[N],
    responses=PlannedRunsSerializer,
)
@action(detail=True, filter_backends=(), pagination_class=None)
def upcoming(view: "ScheduledTaskViewSet", request: Request, **kwargs: Any) -> Response:
    row = view.row()
    runs, problem = coming_runs(row, _n(request), row.read_at, row.everything_paused)
    return Response(runs_in_json(runs, problem, row.timezone))


@described(
    summary="The runs of a scheduled task that is not saved",
    request=DraftSerializer,
    description="For a form while somebody types: what is wrong is told in `errors` of a 200.",
    examples=examples.PREVIEW,
    parameters=[N],
    responses=PreviewSerializer,
)
@action(detail=False, methods=["post"])
def preview(view: "ScheduledTaskViewSet", request: Request, **kwargs: Any) -> Response:
    return _previewed(view, None, _n(request), database_now())


@described(
    summary="The runs that a change of it would lead to; nothing is saved",
    request=DraftSerializer,
    description="The body is that of a PATCH.",
    examples=examples.CHANGE,
    parameters=[N],
    responses=PreviewSerializer,
)
@action(detail=True, methods=["post"], url_path="preview")
def preview_change(view: "ScheduledTaskViewSet", request: Request, **kwargs: Any) -> Response:
    row = view.row()
    return _previewed(view, row, _n(request), row.read_at)


def _previewed(
    view: "ScheduledTaskViewSet", stored: ScheduledTask | None, n: int, now: datetime
) -> Response:
    row, problems = drafts.row_of(view.get_serializer, stored, view.request.data)
    preview = preview_of(row, n, now, wrong=drafts.columns_of(problems))
    return Response(preview_in_json(preview, problems))


def _n(request: Request) -> int:
    """How many runs are asked for, from 1 to MOST."""
    text = request.query_params.get("n", str(SHOWN))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MOST):
        message = _("Give a number from 1 to %(largest)d.") % {"largest": MOST}
        raise ValidationError({"n": message}, "invalid")
    return int(text)
