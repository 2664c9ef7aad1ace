"""The page that makes a copy of a scheduled task."""

from collections.abc import Sequence

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from dispatcher.admin.kit.asking import ask
from dispatcher.admin.task.form_admin import ScheduledTaskAdmin
from scheduling.models import ScheduledTask, duplicate


class CopyButtons(ScheduledTaskAdmin):
    """The admin of scheduled tasks, with copies of them."""

    def get_urls(self) -> list[URLPattern]:
        page = self.page_url("duplicate", self.duplicate_view, "GET", "HEAD", "POST")
        return [page, *super().get_urls()]

    def duplicate_one(self, request: HttpRequest, task: ScheduledTask) -> ScheduledTask:
        copy = duplicate.duplicate(task)
        self.log_addition(request, copy, _("A copy of “%(name)s”.") % {"name": task.name})
        return copy

    def duplicate_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        task = self.task_for(request, pk, self.has_add_permission(request))
        if request.method != "POST":
            return ask(
                request,
                task,
                back=reverse("admin:scheduling_scheduledtask_change", args=[task.pk]),
                title=_("Duplicate it?"),
                says=what_duplicate_does([task]),
                yes=_("Yes, duplicate it"),
            )
        made: list[ScheduledTask] = []
        self.attempt(request, task, lambda task: made.append(self.duplicate_one(request, task)))
        if not made:
            return self.back_to(task)
        messages.success(request, _("This is the copy. It is paused: look at it, then resume it."))
        return self.back_to(made[0])


def what_duplicate_does(tasks: Sequence[ScheduledTask]) -> list[str]:
    """The sentences of the page that asks, for one task or for many."""
    made = ngettext(
        "This makes a copy with another name.",
        "This makes %(n)d copies with other names.",
        len(tasks),
    )
    paused = _("A copy is paused until somebody has looked at it and resumes it. It has no runs.")
    return [made % {"n": len(tasks)}, paused]
