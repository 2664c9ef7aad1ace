"""Every error as RFC 9457 `application/problem+json`.

`{"type", "title", "status", "detail", "code"}`, and where the request's content is at fault
`"errors": [{"code", "field", "detail"}]`. Codes are stable and English; sentences are in the
language that the request accepts. `field` is the dotted path, "" where no single field is at fault.
"""

import logging
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from math import ceil
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied
from django.core.exceptions import ValidationError as ModelError
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError
from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_standardized_errors.formatter import flatten_errors
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from dispatcher.api.kernel.suggestions import suggestions_in_json
from scheduling.database import is_contention
from scheduling.validation import AdvisedError
from scheduling.words import Suggested, suggested

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

#: What `type` begins with; the code follows. The code is what a program should look at.
TYPE = "urn:problem-type:minutehand:"


class Conflict(exceptions.APIException):
    """The resource is not in a state in which this can be done."""

    status_code = HTTPStatus.CONFLICT
    default_detail = gettext_lazy("Its present state does not allow that.")
    default_code = "conflict"


class PreconditionFailed(exceptions.APIException):
    status_code = HTTPStatus.PRECONDITION_FAILED
    default_detail = gettext_lazy(
        "It was changed since you read it. Read it again and repeat the change."
    )
    default_code = "precondition_failed"


class TooLarge(exceptions.APIException):
    status_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_detail = gettext_lazy("The body of the request is too large.")
    default_code = "too_large"


class Unavailable(exceptions.APIException):
    """The database is away, or too busy with other writers: the same request may work later."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_detail = gettext_lazy("The database does not answer. Try again later.")
    default_code = "unavailable"
    wait = 5


class Internal(exceptions.APIException):
    default_detail = gettext_lazy("Something is wrong here. It is in the log of the server.")
    default_code = "internal_error"


#: Named anew by RFC 9110; Python took the new names over in 3.13.
_RENAMED = {413: "Content Too Large", 422: "Unprocessable Content"}


def title_of(status: int) -> str:
    """The name of a status, the same on every Python."""
    return _RENAMED.get(status) or HTTPStatus(status).phrase


def handler(error: Exception, context: dict[str, Any]) -> Response:
    """The answer to whatever a view raised; a mistake of ours is logged and not told."""
    set_rollback()
    problem = _known(error, context)
    status = int(problem.status_code)
    body = {
        "type": TYPE + code_of(problem),
        "title": title_of(status),
        "status": status,
        "detail": _detail(problem),
        "code": code_of(problem),
    }
    if isinstance(problem, exceptions.ValidationError):
        body["errors"] = list(errors_of(problem))
    return Response(body, status=status, headers=_headers(problem), content_type=MEDIA_TYPE)


def _known(error: Exception, context: dict[str, Any]) -> exceptions.APIException:
    if isinstance(error, exceptions.APIException):
        return error
    if isinstance(error, Http404):
        return exceptions.NotFound()
    if isinstance(error, PermissionDenied):
        return exceptions.PermissionDenied()
    if isinstance(error, ModelError):
        return invalid(error)
    if isinstance(error, (OperationalError, InterfaceError)):
        return _of_database(error)
    got_request_exception.send(sender=None, request=context["request"]._request)
    logger.error("A request of the API failed", exc_info=error, extra={"action": "api_failed"})
    return Internal()


def _of_database(error: OperationalError | InterfaceError) -> exceptions.APIException:
    busy = isinstance(error, OperationalError) and is_contention(error)
    logger.warning(
        "The API has no database",
        exc_info=None if busy else error,
        extra={"action": "api_unavailable"},
    )
    return (
        Unavailable(_("Too many others are writing. Try again."), "busy") if busy else Unavailable()
    )


class Invalid(exceptions.ValidationError):
    """What `clean()` says. `suggestions`: by field, what was probably meant."""

    default_code = "validation_error"
    suggestions: Mapping[str, list[Suggested]] = {}


def invalid(error: ModelError) -> Invalid:
    """The error that tells what `clean()` says, with its codes: of each field the first, as forms
    do."""
    errors_by_field = (
        error.error_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.error_list}
    )
    refusal = Invalid(
        {
            "" if field == NON_FIELD_ERRORS else field: [_first(errors)]
            for field, errors in errors_by_field.items()
        }
    )
    refusal.suggestions = {f: _suggested(errors[0]) for f, errors in errors_by_field.items()}
    return refusal


def _suggested(error: ModelError) -> list[Suggested]:
    if not isinstance(error, AdvisedError) or not error.suggestions:
        return []
    return suggested(error.suggestions, error.expression, error.timezone, timezone.now())


def _first(errors: list[ModelError]) -> exceptions.ErrorDetail:
    return exceptions.ErrorDetail(" ".join(errors[0].messages), errors[0].code or "invalid")


def code_of(error: exceptions.APIException) -> str:
    if isinstance(error, exceptions.ValidationError):
        return "validation_error"
    return str(getattr(error.detail, "code", error.default_code))


def _detail(error: exceptions.APIException) -> str:
    if not isinstance(error, exceptions.ValidationError):
        return str(error.detail)
    sentences = [each["detail"] for each in errors_of(error)]
    return sentences[0] if len(sentences) == 1 else _("Several things are wrong; see “errors”.")


def errors_of(error: exceptions.ValidationError) -> Iterator[dict[str, Any]]:
    """Each thing that is wrong, as `{"code", "field", "detail"}`, with `suggestions` where it is
    known what was meant."""
    for each in flatten_errors(error.detail):
        field = "" if each.attr in (None, "non_field_errors", "__all__") else each.attr
        problem = {"code": each.code, "field": field, "detail": each.detail}
        meant = error.suggestions.get(field) if isinstance(error, Invalid) else None
        yield problem | {"suggestions": suggestions_in_json(meant)} if meant else problem


def _headers(error: exceptions.APIException) -> dict[str, str]:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if (wait := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(max(1, ceil(wait)))
    return headers
