"""Lists come in pages: by number, with a count, or by cursor, where rows are added meanwhile."""

from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination, PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response

from dispatcher.api.kernel import counting
from dispatcher.api.kernel.counting import CountingPaginator

DEFAULT_SIZE, LARGEST = 50, 100

_BROKEN = Cursor(offset=0, reverse=False, position="")


class _Sized:
    """`page_size` from 1 to 100; anything else is refused, not corrected."""

    page_size = DEFAULT_SIZE
    max_page_size = LARGEST
    page_size_query_param = "page_size"

    def get_page_size(self, request: Request) -> int:
        text = request.query_params.get("page_size", str(DEFAULT_SIZE))
        if not (text.isdecimal() and text.isascii() and 1 <= int(text[:9]) <= LARGEST):
            message = _("Give a number from 1 to %(largest)d.") % {"largest": LARGEST}
            raise ValidationError({"page_size": message}, "invalid_page_size")
        return int(text)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)  # type: ignore[misc]
        for parameter in parameters:
            if parameter["name"] == "page_size":
                limits = {"minimum": 1, "maximum": LARGEST, "default": DEFAULT_SIZE}
                parameter["schema"] = {"type": "integer", **limits}
            if parameter["name"] == "page":
                parameter["schema"] = {"type": "integer", "minimum": 1}
        return parameters

    def get_paginated_response_schema(self, schema: Any) -> dict[str, Any]:
        """Say that every answer has all of the properties."""
        described: dict[str, Any] = super().get_paginated_response_schema(schema)  # type: ignore[misc]
        properties = described["properties"]
        for name, text in (("next", "The next page, or null."), ("previous", "The one before.")):
            link = {"type": ["string", "null"], "format": "uri", "description": text}
            properties[name] = link
        return described | {"required": [*properties]}


class Pages(_Sized, PageNumberPagination):
    """`{"count", "next", "previous", "results"}`, by page number."""

    def get_page_number(self, request: Request, paginator: Any) -> int:
        text = request.query_params.get("page", "1")
        if not (text.isdecimal() and text.isascii() and int(text[:18]) >= 1):
            raise ValidationError({"page": _("Give a number from 1 on.")}, "invalid_page")
        return int(text)


class CappedPages(Pages):
    """Pages with `"count_is_exact"`: of a list that may be too long to be counted."""

    limit = counting.LIMIT
    few = counting.FEW

    def django_paginator_class(self, rows: Any, size: int) -> CountingPaginator:
        return CountingPaginator(rows, size, self.limit, self.few)

    def get_paginated_response(self, data: Any) -> Response:
        answer = super().get_paginated_response(data)
        exact = {"count_is_exact": self.page.paginator.count_is_exact}
        answer.data = {"count": answer.data["count"]} | exact | answer.data
        return answer

    def get_paginated_response_schema(self, schema: Any) -> dict[str, Any]:
        described: dict[str, Any] = super().get_paginated_response_schema(schema)
        limits = (
            f"At most {counting.LIMIT}, and with a frequent `last_status` {counting.SLOW_LIMIT}."
        )
        exact = {
            "type": "boolean",
            "description": "False where there are more than `count`; `next` leads to them.",
        }
        described["properties"] = {
            "count": {"type": "integer", "description": limits},
            "count_is_exact": exact,
            **{name: of for name, of in described["properties"].items() if name != "count"},
        }
        return described | {"required": [*described["properties"]]}


class Cursors(_Sized, CursorPagination):
    """`{"next", "previous", "results"}`: who follows `next` sees every row that was there when
    they began exactly once. By the primary key, newest first unless `ordering=id`."""

    newest_first = "-id"

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> tuple[str]:
        """The order that the request names, which the filters have checked."""
        return (request.query_params.get("ordering") or self.newest_first,)

    def decode_cursor(self, request: Request) -> Any:
        try:
            cursor = super().decode_cursor(request)
        except NotFound:
            cursor = _BROKEN
        if cursor is None or cursor.position is None:
            return cursor
        if not self.is_key(cursor.position):
            raise ValidationError({"cursor": _("This is no cursor of ours.")}, "invalid_cursor")
        return cursor

    def is_key(self, position: str) -> bool:
        try:
            return bool(UUID(position))
        except ValueError:
            return False


class NumberedCursors(Cursors):
    """Cursors of the audit trail, along its numbers, newest first."""

    newest_first = "-history_id"

    def is_key(self, position: str) -> bool:
        return position.isascii() and position.isdecimal() and len(position) < 19
