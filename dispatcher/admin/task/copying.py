"""Make a copy of a scheduled task: the page that asks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from dispatcher.admin.task.asking import ask, attempt, back_to
from scheduling.models import ScheduledTask, duplicate

if TYPE_CHECKING:
    from dispatcher.admin.task.admin import ScheduledTaskAdmin


def duplicate_one(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask
) -> ScheduledTask:
    copy = duplicate.duplicate(task)
    model_admin.log_addition(request, copy, _("A copy of “%(name)s”.") % {"name": task.name})
    return copy


def page(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask
) -> HttpResponse:
    """A GET asks. A POST makes the copy and leads to it."""
    if request.method != "POST":
        return ask(
            request,
            task,
            title=_("Duplicate it?"),
            says=what_duplicate_does([task]),
            yes=_("Yes, duplicate it"),
        )
    made: list[ScheduledTask] = []
    attempt(request, task, lambda task: made.append(duplicate_one(model_admin, request, task)))
    if not made:
        return back_to(task)
    messages.success(request, _("This is the copy. It is paused: look at it, then resume it."))
    return back_to(made[0])


def what_duplicate_does(tasks: Sequence[ScheduledTask]) -> list[str]:
    """The sentences of the page that asks, for one task or for many."""
    made = ngettext(
        "This makes a copy with another name.",
        "This makes %(n)d copies with other names.",
        len(tasks),
    )
    paused = _("A copy is paused until somebody has looked at it and resumes it. It has no runs.")
    return [made % {"n": len(tasks)}, paused]
