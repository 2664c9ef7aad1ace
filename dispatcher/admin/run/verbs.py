"""What one may do to a run, each on a page that asks first: cancel it, run it again."""

from functools import partial
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

from dispatcher import runs
from dispatcher.admin.kit.asking import ask
from dispatcher.admin.kit.forms import ArgumentsForm
from dispatcher.admin.kit.html import complaint, run_url
from dispatcher.models import Status, TaskRun, Worker
from scheduling.models import OverlapPolicy, ScheduledTask


def cancel_page(model_admin: Any, request: HttpRequest, run: TaskRun) -> HttpResponse:
    if request.method != "POST" and not run.is_ended:
        return ask(
            request,
            run,
            title=_("Cancel this run?"),
            says=_what_cancel_does(run),
            yes=_("Yes, cancel it"),
            back=run_url(run.pk),
        )
    if request.method == "POST" and runs.cancel(run, by=request.user):
        messages.success(request, _("The run is cancelled."))
    else:
        messages.warning(request, _("The run had ended already."))
    return HttpResponseRedirect(run_url(run.pk))


def rerun_page(model_admin: Any, request: HttpRequest, run: TaskRun) -> HttpResponse:
    """A GET asks; with `?arguments` also for other ones. A POST without any takes those it had."""
    if not run.is_ended:
        messages.error(request, _("This run has not ended. Cancel it first, or wait."))
        return HttpResponseRedirect(run_url(run.pk))
    posted, other = request.method == "POST", "arguments" in request.GET
    given = posted and "kwargs" in request.POST
    data = request.POST if given else None
    form = ArgumentsForm(run.task, run.args, run.kwargs, data) if other or given else None
    verb = partial(runs.rerun, run, by=request.user, via="admin")
    try:
        again = form.start(verb) if form and posted else verb() if posted else None
    except ValidationError as error:
        messages.error(request, complaint(error))
        return HttpResponseRedirect(run_url(run.pk))
    if again is not None:
        messages.success(request, _("This is the new run."))
        return HttpResponseRedirect(run_url(again.pk))
    return ask(
        request,
        run,
        title=_("Run it again with other arguments?") if form else _("Run it again?"),
        says=_what_rerun_does(run, with_form=form is not None),
        form=form,
        yes=_("Yes, run it"),
        back=run_url(run.pk),
    )


def _what_cancel_does(run: TaskRun) -> list[str]:
    if run.status != Status.RUNNING:
        return [
            _("“%(name)s” has not started, or waits for its next attempt. It will not start.")
            % {"name": run.name}
        ]
    texts = {"name": run.name, "worker": run.worker}
    worker = Worker.objects.filter(pk=run.worker_uuid).first() if run.worker_uuid else None
    if worker is not None and not worker.can_terminate:
        return [
            _("“%(name)s” is running on %(worker)s.") % texts,
            _(
                "This worker cannot end a function: the run is recorded as cancelled, and the "
                "function goes on to its end."
            ),
        ]
    return [
        _("“%(name)s” is running on %(worker)s.") % texts,
        _("Its process is ended at once. What it has done until then stays done."),
    ]


def _what_rerun_does(run: TaskRun, *, with_form: bool) -> list[str]:
    if with_form:
        says = [_("This starts a new run of “%(name)s” now, once, with these arguments.")]
    else:
        says = [_("This starts a new run of “%(name)s” now, with the arguments of this one.")]
    task = ScheduledTask.objects.filter(pk=run.scheduled_task_id or 0).first()
    if task is not None and task.overlap_policy != OverlapPolicy.ALLOW:
        rule = {"rule": task.get_overlap_policy_display()}
        says.append(_("While another run of it is running: %(rule)s.") % rule)
    return [says[0] % {"name": run.name}, *says[1:]]
