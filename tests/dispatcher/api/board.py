"""A small API on which who may and what repeats is tested: notes are scheduled tasks."""

from typing import Any

from django.contrib import admin
from django.urls import include, path
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.viewsets import ViewSet

from dispatcher.api.kernel.authentication import AUTHENTICATION
from dispatcher.api.kernel.handling import InTheirName
from dispatcher.api.kernel.idempotency import Idempotent
from dispatcher.api.kernel.permissions import Guarded
from dispatcher.api.models import ApiToken, Scope
from scheduling import trail
from scheduling.database import database_now
from scheduling.models import ScheduledTask

OK = "tests.integration.tasks_app.tasks.ok"


class Board(InTheirName, Idempotent, Guarded, ViewSet):
    authentication_classes = AUTHENTICATION
    renderer_classes = (JSONRenderer,)
    idempotent_actions = frozenset({"create"})
    requires = {
        "list": (Scope.READ, "scheduling.view_scheduledtask"),
        "create": (Scope.WRITE, "scheduling.add_scheduledtask"),
        "destroy": (Scope.WRITE, "scheduling.delete_scheduledtask", "dispatcher.cancel_taskrun"),
    }

    def list(self, request: Any) -> Response:
        return Response({"caller": str(self.caller), "via": trail.actor().via})

    def create(self, request: Any) -> Response:
        row = ScheduledTask.objects.create_interval(request.data["name"], OK, 3600)
        if request.data.get("then") == "raise":
            raise RuntimeError("after the row was written")
        if request.data.get("then") == "refuse":
            return Response({"code": "refused"}, 409)
        headers = {"Location": f"/board/{row.pk}/", "ETag": '"1"', "X-Other": "x"}
        return Response({"id": row.pk, "name": row.name}, 201, headers=headers)

    def destroy(self, request: Any, pk: str) -> Response:
        ScheduledTask.objects.get(pk=pk).delete()
        return Response(None, 204)


def secret_of(user: Any, *scopes: str, name: str = "ci") -> str:
    """The secret of a new token of the user; with all scopes where none is named."""
    token = ApiToken(name=name, user=user, scopes=list(scopes or Scope.values))
    return token.issue(database_now())


def bearer(secret: str, **more: str) -> dict[str, str]:
    """Headers for Django's test client."""
    return {"authorization": f"Bearer {secret}", **more}


router = SimpleRouter()
router.register("board", Board, basename="board")
urlpatterns = [path("", include(router.urls)), path("admin/", admin.site.urls)]
