"""Pages for machines that watch: `/healthz` and `/metrics`."""

from datetime import datetime, timedelta

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from dispatcher.extras import MissingExtra, need
from dispatcher.watch.figures import TICK_LIMIT, last_tick
from scheduling.database import database_now
from scheduling.stop import current_stop


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while ticks arrive, else 503; JSON says why. Times are ISO 8601, UTC.

    `paused_since`: since when everything is paused, on purpose, so that it is still 200.
    """
    try:
        now, last = database_now(), last_tick()
        stop = current_stop()
    except DatabaseError:
        return _answer(503, "unavailable", "The database does not answer.")
    paused_since = stop.paused_at if stop else None
    if last is None or last.finished_at is None:
        detail = "No tick has run: start beat and a dispatcher."
        return _answer(503, "no_tick", detail, paused_since=paused_since)
    age = now - last.finished_at
    if age > TICK_LIMIT:
        detail = "No tick for too long: look at beat and dispatcher."
        return _answer(503, "late", detail, last.started_at, age, paused_since)
    detail = "Everything is paused." if stop else ""
    return _answer(200, "ok", detail, last.started_at, age, paused_since)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The figures of this moment in the text format of Prometheus; 503 without a database, 501
    without the package that writes them."""
    try:
        need("metrics", "/metrics")
    except MissingExtra as error:
        return HttpResponse(f"{error}\n", "text/plain", status=501)
    from dispatcher.watch import metrics as exposed

    try:
        body = exposed.exposition()
    except DatabaseError:
        return HttpResponse("The database does not answer.\n", "text/plain", status=503)
    headers = {"Cache-Control": "no-store"}
    return HttpResponse(body, exposed.CONTENT_TYPE_LATEST, headers=headers)


def _answer(
    code: int,
    status: str,
    detail: str,
    last_tick_at: datetime | None = None,
    age: timedelta | None = None,
    paused_since: datetime | None = None,
) -> HttpResponse:
    body = {
        "status": status,
        "detail": detail,
        "last_tick_at": last_tick_at and last_tick_at.isoformat(),
        "last_tick_age_seconds": None if age is None else round(age.total_seconds(), 1),
        "paused_since": paused_since and paused_since.isoformat(),
    }
    return JsonResponse(body, status=code, headers={"Cache-Control": "no-store"})
