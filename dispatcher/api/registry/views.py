"""The Celery tasks that can be scheduled: what to choose from, and a form for the arguments."""

from dataclasses import dataclass
from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from dispatcher.api.kernel.base import ApiView
from dispatcher.api.kernel.pagination import Pages
from dispatcher.api.kernel.permissions import Requirement
from dispatcher.api.kernel.schema import described
from dispatcher.api.registry.signatures import schema_of
from scheduling import registry


class RegisteredTaskSerializer(serializers.Serializer):
    """A Celery task that can be scheduled, as this web process knows it."""

    name = serializers.CharField()
    signature = serializers.CharField(help_text="As Python writes it.")
    doc = serializers.CharField(help_text="Its docstring, or empty.")
    queue = serializers.CharField(help_text="Where its runs go unless the schedule names a queue.")
    arguments = serializers.DictField(
        help_text='A JSON Schema (2020-12) of `{"args": […], "kwargs": {…}}`.'
    )


@dataclass(frozen=True)
class _Registered:
    name: str
    signature: str
    doc: str
    queue: str
    arguments: dict[str, Any]


def _registered(info: registry.TaskInfo) -> _Registered:
    signature = registry.signature_of(info.name)
    arguments = {} if signature is None else schema_of(signature)
    queue = registry.queue_for(info.name)
    return _Registered(info.name, info.signature, info.doc, queue, arguments)


class RegistryViewSet(ApiView, GenericViewSet):
    """The Celery tasks that can be scheduled."""

    serializer_class = RegisteredTaskSerializer
    pagination_class = Pages
    lookup_field = "name"
    lookup_value_regex = "[^/]+"
    requires: ClassVar[dict[str, Requirement]] = {
        "list": ("read", "scheduling.view_scheduledtask"),
        "retrieve": ("read", "scheduling.view_scheduledtask"),
    }
    parameters: ClassVar[dict[str, frozenset[str]]] = {"list": frozenset(("search",))}

    @described(
        summary="The tasks that can be scheduled",
        parameters=[OpenApiParameter("search", str, description="A part of the name.")],
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        part = request.query_params.get("search", "").lower()
        names = [name for name in registry.task_names() if part in name.lower()]
        page = self.paginate_queryset(names)
        infos = [info for name in page if (info := registry.describe(name)) is not None]
        return self.get_paginated_response(
            RegisteredTaskSerializer([_registered(info) for info in infos], many=True).data
        )

    @described(
        summary="One task",
        parameters=[OpenApiParameter("name", str, OpenApiParameter.PATH)],
    )
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        info = registry.describe(kwargs["name"])
        if info is None:
            raise NotFound
        return Response(RegisteredTaskSerializer(_registered(info)).data)
