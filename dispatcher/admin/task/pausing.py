"""Pause a scheduled task, perhaps until a time, and resume it."""

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from dispatcher.admin.kit.forms import PauseForm
from dispatcher.admin.task.asking import ask, attempt, back_to
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.words import moment_text

if TYPE_CHECKING:
    from dispatcher.admin.task.admin import ScheduledTaskAdmin


def pause_one(
    model_admin: "ScheduledTaskAdmin",
    request: HttpRequest,
    task: ScheduledTask,
    *,
    until: datetime | None = None,
    why: str = "",
) -> bool:
    """Pause it; True if it was not paused. `why` is kept beside its state."""
    params = {"message": why} if why else None
    done = task.pause(by=request.user, until=until, params=params)
    return done and _log(model_admin, request, task)


def resume_one(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask
) -> bool:
    """Resume it; True if it was paused."""
    return task.resume(by=request.user) and _log(model_admin, request, task)


def _log(model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask) -> bool:
    model_admin.log_change(request, task, [{"changed": {"fields": ["enabled"]}}])
    return True


def pause_page(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask
) -> HttpResponse:
    """A GET asks. A POST without a time pauses the task until somebody resumes it."""
    posted = request.method == "POST"
    form = PauseForm(task, database_now(), request.POST if posted else None)
    if not (posted and form.is_valid()):
        return ask(
            request,
            task,
            title=_("Pause it?"),
            says=[
                _(
                    "While “%(name)s” is paused, no slot of it runs. Runs that are due and "
                    "have not started are cancelled; one that is running goes on."
                )
                % {"name": task.name}
            ],
            form=form,
            yes=_("Pause"),
        )
    if attempt(request, task, partial(pause_one, model_admin, request, **form.cleaned_data)):
        messages.success(request, _paused_text(task))
    return back_to(task)


def _paused_text(task: ScheduledTask) -> str:
    texts = {"name": task.name, "time": moment_text(task.paused_until, task.timezone)}
    if task.paused_until is None:
        return _("“%(name)s” is paused.") % texts
    return _("“%(name)s” is paused until %(time)s.") % texts


def resume_page(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask
) -> HttpResponse:
    """Resume it at once: that needs no question."""
    if attempt(request, task, partial(resume_one, model_admin, request)):
        messages.success(request, _("“%(name)s” is resumed.") % {"name": task.name})
    return back_to(task)
