"""The switch in the admin: the list of its uses, and the pages that pause and resume everything."""

from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST

from dispatcher.admin.kit.html import moment_span
from dispatcher.admin.kit.read_only import ReadOnlyAdmin
from dispatcher.models import TaskRun
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import Stop, pause_everything, resume_everything
from scheduling.trail import Via

HOUR = timedelta(hours=1)


def due_in_an_hour(now: datetime) -> int:
    """How many schedules have a slot in the next hour, planned already or not."""
    planned = TaskRun.objects.unstarted().of_schedule().filter(start_at__lte=now + HOUR)
    waiting = planned.order_by().values("scheduled_task")
    soon = Q(next_run_at__lte=now + HOUR) | Q(pk__in=waiting)
    return ScheduledTask.objects.evaluated(now).filter(soon).count()


@admin.register(Stop)
class StopAdmin(ReadOnlyAdmin):
    list_display = ("began", "paused_by", "way", "ended", "resumed_by")
    fields = list_display

    @admin.display(description=gettext_lazy("paused"), ordering="paused_at")
    def began(self, stop: Stop) -> str:
        return moment_span(stop.paused_at)

    @admin.display(description=gettext_lazy("paused via"), ordering="paused_via")
    def way(self, stop: Stop) -> str:
        return str(dict(Via.choices).get(stop.paused_via, stop.paused_via))

    @admin.display(description=gettext_lazy("resumed"), ordering="resumed_at")
    def ended(self, stop: Stop) -> str:
        return moment_span(stop.resumed_at)

    def get_urls(self) -> list[URLPattern]:
        pause = self.admin_site.admin_view(require_http_methods(["GET", "POST"])(self.pause_view))
        resume = self.admin_site.admin_view(require_POST(self.resume_view))
        return [
            path("pause/", pause, name="scheduling_stop_pause"),
            path("resume/", resume, name="scheduling_stop_resume"),
            *super().get_urls(),
        ]

    def pause_view(self, request: HttpRequest) -> HttpResponse:
        """A GET says what will happen; a POST does it."""
        _require_permission(request)
        if request.method == "POST":
            if pause_everything(by=request.user, via="admin"):
                messages.success(request, _("Everything is paused."))
            else:
                messages.warning(request, _("Everything was paused already."))
            return HttpResponseRedirect(_way_back(request))
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": _("Pause everything?"),
            "due": due_in_an_hour(database_now()),
        }
        return TemplateResponse(request, "admin/scheduling/stop/pause.html", context)

    def resume_view(self, request: HttpRequest) -> HttpResponse:
        _require_permission(request)
        if resume_everything(by=request.user):
            messages.success(request, _("The schedules run again."))
        else:
            messages.warning(request, _("Nothing was paused."))
        return HttpResponseRedirect(_way_back(request))


def _require_permission(request: HttpRequest) -> None:
    if not request.user.has_perm("scheduling.pause_scheduledtask"):
        raise PermissionDenied


def _way_back(request: HttpRequest) -> str:
    """The page whose button was pressed, if it is one of this site; else the start page."""
    asked = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(asked, request.get_host(), request.is_secure()):
        return asked
    return reverse("admin:index")
