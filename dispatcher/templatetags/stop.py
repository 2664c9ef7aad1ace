"""`{% stop_banner %}`: says on every page of the admin that everything is paused."""

from typing import Any

from django import template

from scheduling.stop import current_stop
from scheduling.words import moment_text

register = template.Library()


@register.inclusion_tag("dispatcher/stop_banner.html", takes_context=True)
def stop_banner(context: dict[str, Any]) -> dict[str, Any]:
    """Who paused everything and since when, and the way out for those who may."""
    request = context["request"]
    stop = current_stop() if context.get("has_permission") else None
    return {
        "request": request,
        "csrf_token": context.get("csrf_token"),
        "stop": stop,
        "since": moment_text(stop.paused_at) if stop else "",
        "may_resume": stop is not None and request.user.has_perm("scheduling.pause_scheduledtask"),
    }
