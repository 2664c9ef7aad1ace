"""The errors, as the OpenAPI description tells them: when each is answered, and an example."""

from typing import Any

from rest_framework import serializers

from dispatcher.api.kernel.problems import MEDIA_TYPE, TYPE, title_of
from dispatcher.api.kernel.suggestions import SuggestionSerializer


class FieldErrorSerializer(serializers.Serializer):
    """One thing that is wrong with the request."""

    code = serializers.CharField(help_text="Stable: what a program should look at.")
    field = serializers.CharField(
        help_text="The field or parameter at fault, as a dotted path; empty for the whole."
    )
    detail = serializers.CharField(help_text="A sentence in the language of Accept-Language.")
    suggestions = SuggestionSerializer(
        many=True,
        required=False,
        help_text="What a rule that is refused probably meant; where several are likely, all.",
    )


class ProblemSerializer(serializers.Serializer):
    """RFC 9457, with a stable code."""

    type = serializers.CharField(help_text="`urn:problem-type:minutehand:` and the code.")
    title = serializers.CharField(help_text="The phrase of the status.")
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="A sentence in the language of Accept-Language.")
    code = serializers.CharField(help_text="Stable: what a program should look at.")
    errors = FieldErrorSerializer(
        many=True, required=False, help_text="Where the content of the request is at fault."
    )


#: Status: (when it is answered, a code, a sentence).
PROBLEMS = {
    400: (
        "The body, a field, a parameter or a header of the request is wrong.",
        "validation_error",
        "hour: 99 is out of range. Write a value from 0 to 23.",
    ),
    401: ("Neither a valid token nor a session.", "expired_token", "This token has expired."),
    403: (
        "The token lacks the scope, or its user the permission.",
        "missing_scope",
        "This needs a token with the scope “write”.",
    ),
    404: ("There is nothing here.", "not_found", "Not found."),
    406: (
        "Only application/json is served.",
        "not_acceptable",
        "Could not satisfy the request Accept header.",
    ),
    409: (
        "Its present state does not allow that.",
        "already_paused",
        "It is paused already. Resume it first.",
    ),
    412: (
        "It was edited since it was read (`If-Match`).",
        "precondition_failed",
        "It was changed since you read it. Read it again and repeat the change.",
    ),
    413: ("The body is too large.", "too_large", "The body of the request is too large."),
    415: (
        "Send application/json.",
        "unsupported_media_type",
        'Unsupported media type "text/plain" in request.',
    ),
    422: (
        "The `Idempotency-Key` was used for another request.",
        "idempotency_key_reused",
        "This Idempotency-Key was used for another request. Take a new one.",
    ),
    429: ("Too many requests.", "throttled", "Request was throttled."),
    500: (
        "A mistake of the server; it is in its log.",
        "internal_error",
        "Something is wrong here. It is in the log of the server.",
    ),
    503: (
        "The database is away or busy.",
        "unavailable",
        "The database does not answer. Try again later.",
    ),
}

ALWAYS = (400, 401, 403, 406, 429, 500, 503)

_CHALLENGE = {"schema": {"type": "string"}, "description": "RFC 6750."}
_WAIT = {"schema": {"type": "integer"}, "description": "Seconds to wait before the next try."}
_HEADERS = {401: {"WWW-Authenticate": _CHALLENGE}, 429: {"Retry-After": _WAIT}}
_HEADERS |= {503: {"Retry-After": _WAIT}}


def name_of(status: int) -> str:
    """The name of the component: `Problem404`."""
    return f"Problem{status}"


def responses() -> dict[str, Any]:
    """The entries of `components.responses`."""
    return {name_of(status): _response(status, *told) for status, told in PROBLEMS.items()}


def _response(status: int, description: str, code: str, sentence: str) -> dict[str, Any]:
    example: dict[str, Any] = {
        "type": TYPE + code,
        "title": title_of(status),
        "status": status,
        "detail": sentence,
        "code": code,
    }
    if status == 400:
        wrong = {"code": "out_of_range", "field": "cron_expression", "detail": sentence}
        example["errors"] = [wrong]
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
    return {
        "description": description,
        "headers": _HEADERS.get(status, {}),
        "content": {MEDIA_TYPE: content},
    }
