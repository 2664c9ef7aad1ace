"""Run a scheduled task now: the page that asks, with other arguments if one likes."""

from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.translation import gettext as _

from dispatcher import runs
from dispatcher.admin.kit.forms import ArgumentsForm
from dispatcher.admin.kit.html import run_url
from dispatcher.admin.task.asking import ask, attempt, back_to
from dispatcher.models import TaskRun
from scheduling.models import OverlapPolicy, ScheduledTask

if TYPE_CHECKING:
    from dispatcher.admin.task.admin import ScheduledTaskAdmin


def run_one(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask, **arguments: Any
) -> TaskRun:
    run = runs.run_now(task, by=request.user, via="admin", **arguments)
    model_admin.log_change(request, task, _("Run now."))
    return run


def page(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask
) -> HttpResponse:
    """A GET asks. A POST without arguments takes those of the task."""
    started: list[TaskRun] = []
    data = request.POST if "kwargs" in request.POST else None
    form = ArgumentsForm(task.task, task.args, task.kwargs, data)
    if data is not None:
        run = form.start(partial(run_one, model_admin, request, task))
        started += [run] if run is not None else []
    elif request.method == "POST":
        attempt(request, task, lambda task: started.append(run_one(model_admin, request, task)))
    if not started and (data is not None or request.method != "POST"):
        return ask(
            request,
            task,
            title=_("Run it now?"),
            says=_what_it_does(task),
            form=form,
            yes=_("Run now"),
        )
    if started:
        said = _("“%(name)s” runs now.") % {"name": task.name}
        link = format_html('<a href="{}">{}</a>', run_url(started[0].pk), _("See the run"))
        messages.success(request, format_html("{} {}", said, link))
    return back_to(task)


def _what_it_does(task: ScheduledTask) -> list[str]:
    says = [
        _(
            "This starts a run of “%(name)s” now, once, with these arguments. Its schedule and its "
            "own arguments stay as they are."
        )
        % {"name": task.name}
    ]
    if not task.enabled:
        says.append(_("It is paused, and stays so; this run starts all the same."))
    if task.overlap_policy != OverlapPolicy.ALLOW:
        rule = {"rule": task.get_overlap_policy_display()}
        says.append(_("While another run of it is running: %(rule)s.") % rule)
    return says
