"""The OpenAPI 3.1 description: what drf-spectacular cannot read from the views is said here."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.settings import spectacular_settings
from drf_spectacular.utils import OpenApiParameter, extend_schema

from dispatcher.api.kernel.described_problems import (
    ALWAYS,
    FieldErrorSerializer,
    ProblemSerializer,
    name_of,
)
from dispatcher.api.kernel.filters import MAY_BE_EMPTY
from dispatcher.api.kernel.strict import Strict

F = TypeVar("F", bound=Callable[..., Any])


def only_ours(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """The addresses, without those of the project that the API is part of."""
    return [endpoint for endpoint in endpoints if getattr(endpoint[3].cls, "is_minutehand", False)]


def describes_ours() -> bool:
    """Whether the settings that are in force are those of our description."""
    return only_ours in spectacular_settings.PREPROCESSING_HOOKS


def header(name: str, description: str, **schema: Any) -> OpenApiParameter:
    kind = {"type": "string", **schema}
    return OpenApiParameter(name, kind, OpenApiParameter.HEADER, description=description)


IF_MATCH = header("If-Match", "The ETag as it was read: refused with 412 if edited since.")
IF_NONE_MATCH = header("If-None-Match", "The ETag that is known: 304 if nothing has changed.")
IDEMPOTENCY_KEY = header(
    "Idempotency-Key",
    "A repeated request with the same key is done once, and answered as the first.",
    minLength=1,
    maxLength=255,
    pattern="^[ -~]+$",
)


def _header(description: str, **schema: Any) -> dict[str, Any]:
    return {"schema": {"type": "string", **schema}, "description": description}


ETAG = _header("For If-Match and If-None-Match.")
LOCATION = _header("The address of what was made.", format="uri-reference")
REPLAYED = _header("`true` where this is the answer to an earlier request with the same key.")


class Schema(AutoSchema):
    """Adds the headers and the errors that follow from what an action is.

    A view has none while another description than ours is made: drf-spectacular leaves such views
    out, so that a project's own document gains none of our paths.
    """

    def __get__(self, instance: Any, owner: Any) -> Any:
        if not describes_ours():
            return None
        return super().__get__(instance, owner)

    def get_operation_id(self) -> str:
        """`scheduled_task_pause`: of the route and the action, which both stay."""
        return f"{self.view.basename.replace('-', '_')}_{self.view.action}"

    def get_override_parameters(self) -> Any:
        return [*super().get_override_parameters(), *self._headers()]

    def _headers(self) -> Iterator[OpenApiParameter]:
        if self._does("idempotent_actions"):
            yield IDEMPOTENCY_KEY
        if self._does("matched_actions"):
            yield IF_MATCH
        if self._does("cached_actions"):
            yield IF_NONE_MATCH

    def _does(self, kind: str) -> bool:
        return getattr(self.view, "action", None) in getattr(self.view, kind, ())

    def _get_parameters(self) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super()._get_parameters()
        for parameter in parameters:
            schema = parameter["schema"]
            text = schema.get("type") == "string" and not {"enum", "format"} & set(schema)
            if parameter["in"] == "query" and text and parameter["name"] not in MAY_BE_EMPTY:
                schema["minLength"] = 1
        return parameters

    # What it answers ------------------------------------------------------------------------------

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        for body in bodies.values():
            body["headers"] = body.get("headers", {}) | dict(self._answered_headers(body))
        self.resolve_serializer(ProblemSerializer, "response")
        for status in self._statuses():
            bodies[str(status)] = {"$ref": f"#/components/responses/{name_of(status)}"}
        if self._does("cached_actions"):
            bodies["304"] = {"description": "Nothing has changed (`If-None-Match`)."}
        return dict(sorted(bodies.items()))

    def _answered_headers(self, body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        if self._does("tagged_actions") and "content" in body:
            yield "ETag", ETAG
        if self._does("making_actions"):
            yield "Location", LOCATION
        if self._does("idempotent_actions"):
            yield "Idempotency-Replayed", REPLAYED

    def _statuses(self) -> Iterator[int]:
        yield from ALWAYS
        if "{" in self.path or self._is_list_view():
            yield 404
        if self.method in ("POST", "PUT", "PATCH"):
            yield from (413, 415)
        for kind, status in (
            ("conflicting_actions", 409),
            ("matched_actions", 412),
            ("idempotent_actions", 422),
        ):
            if self._does(kind):
                yield status

    # Bodies ---------------------------------------------------------------------------------------

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> dict[str, Any]:
        """An answer has all of its fields; a body that is strict has no others."""
        schema: dict[str, Any] = super()._map_basic_serializer(serializer, direction)
        if direction == "request":
            schema["additionalProperties"] = False if isinstance(serializer, Strict) else {}
        elif not isinstance(serializer, (ProblemSerializer, FieldErrorSerializer)):
            schema["required"] = sorted(schema.get("properties", {}))
        return schema


def described(**options: Any) -> Callable[[F], F]:
    """`extend_schema` on top of `Schema`, whatever the project's default is. Above `@action`."""

    def decorate(method: Any) -> Any:
        method.schema = getattr(method, "schema", None) or Schema
        return extend_schema(**options)(method)

    return decorate


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = "dispatcher.api.kernel.authentication.BearerAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A token made in the admin or by `create_api_token`: `mh_…`.",
        }


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = "dispatcher.api.kernel.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "The session of the admin; changes also need the header X-CSRFToken.",
        }
