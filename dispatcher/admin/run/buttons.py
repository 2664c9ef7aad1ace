"""What one may do to a run, each on a page of its own that asks first: cancel it, run it again."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from dispatcher import runs
from dispatcher.admin.kit.asking import ask
from dispatcher.admin.kit.forms import ArgumentsForm
from dispatcher.admin.kit.html import complaint, run_url
from dispatcher.admin.kit.read_only import ReadOnlyAdmin
from dispatcher.models import Status, TaskRun, Worker
from scheduling.models import OverlapPolicy, ScheduledTask


class RunButtons(ReadOnlyAdmin):
    """The admin of runs, with the pages behind its buttons."""

    def links(self, request: HttpRequest, run: TaskRun) -> list[tuple[str, str]]:
        """What one may do to the run: (address of the page that asks, label)."""
        urls = {
            name: reverse(f"admin:dispatcher_taskrun_{name}", args=[run.pk])
            for name in ("cancel", "rerun")
        }
        if run.is_ended and request.user.has_perm("dispatcher.rerun_taskrun"):
            other = f"{urls['rerun']}?arguments"
            return [(urls["rerun"], _("Run again")), (other, _("Run again with other arguments"))]
        if not run.is_ended and request.user.has_perm("dispatcher.cancel_taskrun"):
            return [(urls["cancel"], _("Cancel"))]
        return []

    def get_urls(self) -> list[URLPattern]:
        return [
            self._page_url("cancel", self.cancel_view),
            self._page_url("rerun", self.rerun_view),
            *super().get_urls(),
        ]

    def _page_url(self, name: str, view: Callable[..., HttpResponse]) -> URLPattern:
        wrapped = self.admin_site.admin_view(require_http_methods(["GET", "HEAD", "POST"])(view))
        return path(f"<uuid:pk>/{name}/", wrapped, name=f"dispatcher_taskrun_{name}")

    def cancel_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        run = self._run_for(request, pk, "dispatcher.cancel_taskrun")
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

    def rerun_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Asks; with `?arguments` also for other ones. A POST without any takes those it had."""
        run = self._run_for(request, pk, "dispatcher.rerun_taskrun")
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

    def _run_for(self, request: HttpRequest, pk: Any, permission: str) -> TaskRun:
        if not (self.has_view_permission(request) and request.user.has_perm(permission)):
            raise PermissionDenied
        run: TaskRun | None = self.get_object(request, str(pk))
        if run is None:
            raise Http404
        return run


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
