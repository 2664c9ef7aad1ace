"""The page “History”: the audit trail of one scheduled task."""

from typing import Any

from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from scheduling.audit import differences
from scheduling.models import ScheduledTask

#: Changes on one page.
PER_PAGE = 50


def page(
    model_admin: Any, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None
) -> HttpResponse:
    """Who changed what, when and from where, newest first; of a deleted task, too."""
    task: ScheduledTask | None = model_admin.get_object(request, object_id)
    if not model_admin.has_view_or_change_permission(request, task):
        raise PermissionDenied
    shown = model_admin.get_paginator(request, _entries(object_id), PER_PAGE).get_page(
        request.GET.get(PAGE_VAR, 1)
    )
    if task is None and not shown.object_list:
        raise Http404
    subject = task or shown.object_list[0]
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Changes of “%(name)s”") % {"name": subject.name},
        "object": task,
        "name": subject.name,
        "opts": model_admin.opts,
        "media": model_admin.media,
        "changes": _changes(shown, subject.timezone),
        "page": shown,
        "page_range": shown.paginator.get_elided_page_range(shown.number),
        "page_var": PAGE_VAR,
        **(extra_context or {}),
    }
    return TemplateResponse(request, "admin/scheduling/scheduledtask/object_history.html", context)


def _entries(object_id: str) -> Any:
    text = unquote(object_id)
    entries = ScheduledTask.history.all()
    return entries.filter(id=int(text)) if text.isdecimal() else entries.none()


def _changes(page: Any, zone: str) -> list[differences.WordedEntry]:
    """The rows of a page, the oldest against the first of the next page."""
    entries = list(page.object_list)
    before = page.paginator.object_list[page.end_index() : page.end_index() + 1]
    return differences.in_words(entries, next(iter(before), None), zone) if entries else []
