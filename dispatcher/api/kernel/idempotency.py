"""A request that is repeated under the same `Idempotency-Key` is done once and answered twice.

The key is inserted first, in the transaction of what the request creates: a twin that comes at the
same time waits at the unique index until that commits, and then gets the answer stored with it; if
it rolls back, the twin's own turn has come. What fails stores nothing.
"""

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from dispatcher.api.kernel.handling import Handling
from dispatcher.api.models import IdempotencyKey, digest_of
from scheduling.database import database_now, is_contention, retry_contention
from scheduling.database.after_commit import after_commit

#: How long an answer is kept.
KEPT = timedelta(hours=24)

#: At most so many older ones are deleted after each that is stored.
FORGOTTEN = 20

#: How often a request looks for the answer of a twin, each of which may fail.
LOOKS = 20

_FORM = re.compile(r"[\x20-\x7e]{1,255}")
_HEADERS = ("Location", "ETag")


class IdempotencyKeyReused(APIException):
    status_code = 422
    default_detail = _("This Idempotency-Key was used for another request. Take a new one.")
    default_code = "idempotency_key_reused"


class _Taken(Exception):
    """Somebody else has the key, or had it until now."""


class Idempotent(Handling):
    """A mixin for views: POSTs of `idempotent_actions` may carry an `Idempotency-Key`."""

    idempotent_actions: ClassVar[frozenset[str]] = frozenset()

    def handle(self, handler: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = request.headers.get("Idempotency-Key")
        if key is None or self.action not in self.idempotent_actions:  # type: ignore[attr-defined]
            return super().handle(handler, request, *args, **kwargs)
        if not _FORM.fullmatch(key):
            raise ValidationError(
                _("An Idempotency-Key has 1 to 255 printable ASCII characters."),
                "idempotency_key_invalid",
            )
        turn = super().handle
        return answered_once(request, key, lambda: turn(handler, request, *args, **kwargs))


def answered_once(request: Request, key: str, answer: Callable[[], Response]) -> Response:
    """The answer, given now or, to the same request under the same key, within the last day."""
    digest = _digest_of_request(request)
    for attempt in range(1, LOOKS + 1):
        now = database_now()
        if stored := _stored(request.user, key, now):
            return _again(stored, digest)
        try:
            return _first_time(request.user, key, digest, answer, now)
        except _Taken as taken:
            lost = connection.in_atomic_block and isinstance(taken.__cause__, OperationalError)
            if attempt == LOOKS or lost:  # the transaction around us, which is not ours
                raise cast(Exception, taken.__cause__) from taken
    raise AssertionError("unreachable")


def _stored(user: Any, key: str, now: datetime) -> IdempotencyKey | None:
    rows = IdempotencyKey.objects.filter(user=user, key_digest=digest_of(key))
    stored = rows.first()
    if stored is None or stored.created_at > now - KEPT:
        return stored
    rows.filter(pk=stored.pk).delete()
    return None


@retry_contention
def _first_time(
    user: Any, key: str, digest: str, answer: Callable[[], Response], now: datetime
) -> Response:
    with transaction.atomic():
        row = _taken(user, key, digest, now)
        response = answer()
        if response.status_code >= 400:
            transaction.set_rollback(True)
            return response
        row.status = response.status_code
        row.headers = {name: response[name] for name in _HEADERS if name in response}
        row.body = JSONRenderer().render(response.data).decode()
        row.save(update_fields=["status", "headers", "body"])
        after_commit(forget_old, now)
        return response


def _taken(user: Any, key: str, digest: str, now: datetime) -> IdempotencyKey:
    """The key's row; waits for a twin that has it. MariaDB lets those who waited for a twin that
    failed deadlock with each other, all but one: they look again, too."""
    try:
        return IdempotencyKey.objects.create(
            user=user, key_digest=digest_of(key), request_digest=digest, created_at=now
        )
    except IntegrityError as error:
        raise _Taken from error
    except OperationalError as error:
        raise (_Taken if is_contention(error) else error) from error


@retry_contention
def forget_old(now: datetime) -> None:
    """Delete some answers that are kept no longer: more than one for each that is added."""
    old = IdempotencyKey.objects.filter(created_at__lte=now - KEPT).order_by("created_at", "pk")
    if ids := list(old.values_list("pk", flat=True)[:FORGOTTEN]):
        IdempotencyKey.objects.filter(pk__in=ids).delete()


def _again(stored: IdempotencyKey, digest: str) -> Response:
    if stored.request_digest != digest:
        raise IdempotencyKeyReused
    headers = {**stored.headers, "Idempotency-Replayed": "true"}
    return Response(json.loads(stored.body or "null"), stored.status, headers=headers)


def _digest_of_request(request: Request) -> str:
    """Of method, address and what the body means: spaces and the order of keys are the client's."""
    body = json.dumps(request.data, sort_keys=True, default=str)
    return digest_of("\n".join((request.method, request.get_full_path(), body)))
