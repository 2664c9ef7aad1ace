"""The overview: is the scheduler alive, what ran, what needs somebody, and what comes next.

It is a page of its own, a part of the admin's start page (by the tag `overview`), and a fragment
of HTML, which both pages fetch again every few seconds while somebody looks at them.
"""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from dispatcher.admin.overview import alive, ran, schedules
from scheduling.database import database_now
from scheduling.words import in_zone

#: How often the pages ask for news (seconds).
REFRESH_SECONDS = 10

TEMPLATES = "admin/dispatcher/overview"


def urls(site: admin.AdminSite) -> list[URLPattern]:
    """The address of the overview, below the pages of runs: there it needs no `urls.py`."""
    wrapped = site.admin_view(require_safe(view))
    return [path("overview/", wrapped, name="dispatcher_overview")]


def view(request: HttpRequest) -> HttpResponse:
    """The page; with `?fragment` only what changes."""
    if not may_see(request):
        raise PermissionDenied
    if "fragment" in request.GET:
        return TemplateResponse(request, f"{TEMPLATES}/body.html", context(request))
    shown = {**admin.site.each_context(request), "title": _("Overview"), **context(request)}
    return TemplateResponse(request, f"{TEMPLATES}/page.html", shown)


def may_see(request: HttpRequest) -> bool:
    return _sees_runs(request) or _sees_tasks(request)


def _sees_runs(request: HttpRequest) -> bool:
    return request.user.has_perm("dispatcher.view_taskrun")


def _sees_tasks(request: HttpRequest) -> bool:
    user = request.user
    names = ("scheduling.view_scheduledtask", "scheduling.change_scheduledtask")
    return any(user.has_perm(name) for name in names)


def context(request: HttpRequest) -> dict[str, Any]:
    """The context of the page: all that its templates show this person."""
    now = database_now()
    shown: dict[str, Any] = {
        "updated": in_zone(now, settings.TIME_ZONE).strftime("%H:%M:%S %Z"),
        "refresh_seconds": REFRESH_SECONDS,
        "fragment_url": reverse("admin:dispatcher_overview") + "?fragment",
        "sees_runs": _sees_runs(request),
        "sees_tasks": _sees_tasks(request),
    }
    shown |= alive.context(now)
    if shown["sees_runs"]:
        shown |= ran.context(now)
    if shown["sees_tasks"]:
        shown |= schedules.needing_somebody(now) | schedules.coming(now)
    return shown
