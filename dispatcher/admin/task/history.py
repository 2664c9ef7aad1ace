"""The audit trail in the admin: what is changed here is noted as such, and the page “History”."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from scheduling.audit import differences
from scheduling.models import ScheduledTask
from scheduling.trail import Via, acting

#: Changes on one page.
PER_PAGE = 50


class TrailAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # no generic at run time
    """An admin whose changes are in the name of its user, and that shows the audit trail."""

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with acting(Via.ADMIN, request.user):
            return super().changelist_view(request, *args, **kwargs)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with acting(Via.ADMIN, request.user):
            return super().changeform_view(request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with acting(Via.ADMIN, request.user):
            return super().delete_view(request, *args, **kwargs)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Who changed what, when and from where, newest first; of a deleted task, too."""
        task: ScheduledTask | None = self.get_object(request, object_id)
        if not self.has_view_or_change_permission(request, task):
            raise PermissionDenied
        page = self.get_paginator(request, _entries(object_id), PER_PAGE).get_page(
            request.GET.get(PAGE_VAR, 1)
        )
        if task is None and not page.object_list:
            raise Http404
        subject = task or page.object_list[0]
        context = {
            **self.admin_site.each_context(request),
            "title": _("Changes of “%(name)s”") % {"name": subject.name},
            "object": task,
            "name": subject.name,
            "opts": self.opts,
            "media": self.media,
            "changes": _told(page, subject.timezone),
            "page": page,
            "page_range": page.paginator.get_elided_page_range(page.number),
            "page_var": PAGE_VAR,
            **(extra_context or {}),
        }
        template = "admin/scheduling/scheduledtask/object_history.html"
        return TemplateResponse(request, template, context)


def _entries(object_id: str) -> Any:
    text = unquote(object_id)
    entries = ScheduledTask.history.all()
    return entries.filter(id=int(text)) if text.isdecimal() else entries.none()


def _told(page: Any, zone: str) -> list[differences.Told]:
    """The rows of a page, the oldest against the first of the next page."""
    entries = list(page.object_list)
    before = page.paginator.object_list[page.end_index() : page.end_index() + 1]
    return differences.told(entries, next(iter(before), None), zone) if entries else []
