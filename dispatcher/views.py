"""Pages for machines that watch: `/healthz`."""

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from dispatcher.models import Tick
from dispatcher.stats import TICK_LIMIT
from scheduling.clock import database_now


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while ticks arrive, else 503; JSON says why. `last_tick_at` is ISO 8601, UTC."""
    try:
        now, last = database_now(), Tick.objects.ticks().exclude(finished_at=None).last()
    except DatabaseError:
        return _answer(503, "unavailable", "The database does not answer.", None, None)
    if last is None or last.finished_at is None:
        return _answer(503, "no_tick", "No tick has run: start beat and a dispatcher.", None, None)
    age = (now - last.finished_at).total_seconds()
    at = last.started_at.isoformat()
    if now - last.finished_at > TICK_LIMIT:
        return _answer(503, "late", "No tick for too long: look at beat and dispatcher.", at, age)
    return _answer(200, "ok", "", at, age)


def _answer(
    code: int, status: str, detail: str, last_tick_at: str | None, age: float | None
) -> HttpResponse:
    body = {
        "status": status,
        "detail": detail,
        "last_tick_at": last_tick_at,
        "last_tick_age_seconds": None if age is None else round(age, 1),
    }
    return JsonResponse(body, status=code, headers={"Cache-Control": "no-store"})
