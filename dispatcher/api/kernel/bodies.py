"""How bodies come in: JSON in UTF-8, and what is wrong with it where it is none."""

import json
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from dispatcher.api.kernel.problems import TooLarge
from scheduling.registry import argument_text
from scheduling.schedules.errors import shortened


class JsonParser(BaseParser):
    """Parser of JSON, up to DATA_UPLOAD_MAX_MEMORY_SIZE bytes. An empty body is an empty object."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        try:
            text = self._read(parser_context["request"], stream).decode()
            rules: Any = {"parse_constant": _refuse, "object_pairs_hook": _each_once}
            return json.loads(text, **rules) if text else {}
        except UnicodeDecodeError as error:
            raise ParseError(_("The body is not UTF-8.")) from error
        except (ValueError, RecursionError) as error:
            why = argument_text.json_error(text) or _("The body is no valid JSON.")
            raise ParseError(why) from error

    def _read(self, request: Any, stream: Any) -> bytes:
        try:
            return bytes(request._request.body)
        except RequestDataTooBig as error:
            raise TooLarge from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs. JSON leaves open which of two values of a name counts: neither
    does."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ParseError(_("“%(name)s” is in the body twice.") % {"name": shortened(name)})
        values[name] = value
    return values


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
