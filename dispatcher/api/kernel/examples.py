"""An example of the OpenAPI description."""

from typing import Any

from drf_spectacular.utils import OpenApiExample


def request(name: str, value: dict[str, Any]) -> OpenApiExample:
    return OpenApiExample(name, value=value, request_only=True)
