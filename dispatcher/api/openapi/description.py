"""The description of the API, as OpenAPI 3.1 and as pages; the same for everybody."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

from django.templatetags.static import static
from django.utils import translation
from drf_spectacular import plumbing
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import SPECTACULAR_DEFAULTS, patched_settings
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from dispatcher.api.kernel.described_problems import responses

DESCRIPTION = """\
Scheduled tasks of Minutehand, their runs, and the Celery tasks that can be scheduled.

Times are ISO 8601: sent with any offset, answered in UTC. Every error is
`application/problem+json` (RFC 9457) with a stable `code`.
"""


#: What drf-spectacular has by itself: no setting of the project's enters our description. Those of
#: serving belong to views, and ours have their own.
_DEFAULTS = {
    name: value
    for name, value in SPECTACULAR_DEFAULTS.items()
    if not name.startswith("SERVE_") and name != "DEFAULT_GENERATOR_CLASS"
}


#: Given to drf-spectacular by our views and by `make openapi`: a project's own stay as they are.
SETTINGS: dict[str, Any] = _DEFAULTS | {
    "TITLE": "Minutehand",
    "DESCRIPTION": DESCRIPTION,
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "COMPONENT_SPLIT_REQUEST": True,
    "APPEND_COMPONENTS": {"responses": responses()},
    "SCHEMA_PATH_PREFIX": ".*/v1",
    "PREPROCESSING_HOOKS": ["dispatcher.api.kernel.schema.only_ours"],
    "ENUM_NAME_OVERRIDES": {
        "StateEnum": "scheduling.models.State",
        "StatusEnum": "dispatcher.models.Status",
        "LastStatusEnum": "dispatcher.api.tasks.filters.BEGUN",
        "ScheduledTaskKindEnum": "scheduling.models.choices.Kind",
    },
}


@cache
def description() -> dict[str, Any]:
    """The OpenAPI document as a dictionary, in English. Made once a process: it takes a second, and
    anybody may ask for it."""
    with _own_settings(), translation.override("en"):
        made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
        return made


@contextmanager
def _own_settings() -> Iterator[None]:
    """The names of enums are kept by drf-spectacular from the first description that it makes."""
    plumbing._load_enum_name_overrides.cache_clear()
    try:
        with patched_settings(SETTINGS):
            yield
    finally:
        plumbing._load_enum_name_overrides.cache_clear()


class ByAcceptOrFormat(DefaultContentNegotiation):
    """Negotiate as Django REST framework does by default: `?format=` names the renderer, too."""

    settings = SimpleNamespace(URL_FORMAT_OVERRIDE="format")


class SchemaView(SpectacularAPIView):
    """The description: YAML, or JSON by `Accept: application/json` or `?format=json`."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()
    versioning_class = None
    content_negotiation_class = ByAcceptOrFormat
    schema = None

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(description())


class DocsView(SpectacularSwaggerView):
    """The page of Swagger UI, from our own static files."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()
    versioning_class = None
    content_negotiation_class = ByAcceptOrFormat
    schema = None
    title = SETTINGS["TITLE"]

    def _get_schema_url(self, request: Request) -> str:
        return "../schema/"

    @staticmethod
    def _swagger_ui_resource(filename: str) -> str:
        return static(f"drf_spectacular_sidecar/swagger-ui-dist/{filename}")

    @staticmethod
    def _swagger_ui_favicon() -> str:
        return static("drf_spectacular_sidecar/swagger-ui-dist/favicon-32x32.png")
