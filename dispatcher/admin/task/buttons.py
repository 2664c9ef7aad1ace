"""What one may do to a scheduled task on its page, each on a page of its own that asks first: run
it now, backfill, skip the next slot, pause it until a time. And the page of its runs."""

from functools import partial
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from dispatcher import runs
from dispatcher.admin.kit.forms import ArgumentsForm, BackfillForm, PauseForm
from dispatcher.admin.kit.html import badge, run_url
from dispatcher.admin.task import runs_page
from dispatcher.admin.task.copying import CopyButtons
from dispatcher.admin.task.skipping import SkipButtons
from dispatcher.models import TaskRun
from scheduling.database import database_now
from scheduling.models import OverlapPolicy, ScheduledTask
from scheduling.words import moment_text, schedule_words, state_label, state_note, state_of


class TaskButtons(CopyButtons, SkipButtons):
    """The admin of scheduled tasks, with the pages behind its buttons."""

    class Media:
        css = {"all": ("dispatcher/pages.css",)}

    # Where they are -----------------------------------------------------------------------------

    def links(self, request: HttpRequest, task: ScheduledTask) -> list[tuple[str, str]]:
        """What one may do to the task: (address of the page that asks, label)."""
        may = request.user.has_perm
        offered = [
            ("run", _("Run now"), may("scheduling.run_scheduledtask")),
            ("skip", _("Skip next"), may("scheduling.skip_scheduledtask") and task.enabled),
            ("pause", _("Pause"), may("scheduling.pause_scheduledtask") and task.enabled),
            ("backfill", _("Backfill"), may("scheduling.backfill_scheduledtask")),
            ("duplicate", _("Duplicate"), self.has_add_permission(request)),
            ("runs", _("Its runs"), may("dispatcher.view_taskrun")),
        ]
        links = [
            (reverse(f"admin:scheduling_scheduledtask_{name}", args=[task.pk]), label)
            for name, label, allowed in offered
            if allowed
        ]
        return self.unskip_links(request, task) + links

    def buttons(self, request: HttpRequest, task: ScheduledTask) -> list[tuple[str, str]]:
        """What needs no question: to resume."""
        return [pair for pair in super().buttons(request, task) if pair[0] == "resume"]

    def get_urls(self) -> list[URLPattern]:
        pages = {
            "run": self.run_view,
            "pause": self.pause_view,
            "backfill": self.backfill_view,
            "runs": self.runs_view,
        }
        return [
            *(self.page_url(name, view, "GET", "HEAD", "POST") for name, view in pages.items()),
            *super().get_urls(),
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        if (task := context.get("original")) is not None:
            context["links"] = self.links(request, task)
        return super().render_change_form(request, context, *args, **options)

    # Run now ------------------------------------------------------------------------------------

    def run_one(self, request: HttpRequest, task: ScheduledTask, **arguments: Any) -> TaskRun:
        run = runs.run_now(task, by=request.user, via="admin", **arguments)
        self.log_change(request, task, _("Run now."))
        return run

    def run_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """A POST without arguments takes those of the task."""
        task = self.task_for(request, pk, request.user.has_perm("scheduling.run_scheduledtask"))
        started: list[TaskRun] = []
        data = request.POST if "kwargs" in request.POST else None
        form = ArgumentsForm(task.task, task.args, task.kwargs, data)
        if data is not None:
            run = form.start(partial(self.run_one, request, task))
            started += [run] if run is not None else []
        elif request.method == "POST":
            self.attempt(request, task, lambda task: started.append(self.run_one(request, task)))
        if not started and (data is not None or request.method != "POST"):
            return self.ask(
                request,
                task,
                title=_("Run it now?"),
                says=_what_run_does(task),
                form=form,
                yes=_("Run now"),
            )
        if started:
            said = _("“%(name)s” runs now.") % {"name": task.name}
            link = format_html('<a href="{}">{}</a>', run_url(started[0].pk), _("See the run"))
            messages.success(request, format_html("{} {}", said, link))
        return self.back_to(task)

    # Pause --------------------------------------------------------------------------------------

    def pause_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """A POST without a time pauses it until somebody resumes it."""
        task = self.task_for(request, pk, self.has_pause_permission(request))
        posted = request.method == "POST"
        form = PauseForm(task, database_now(), request.POST if posted else None)
        if not (posted and form.is_valid()):
            return self.ask(
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
        pause = partial(self.pause_one, request, **form.cleaned_data)
        if self.attempt(request, task, pause):
            messages.success(request, _paused_text(task))
        return self.back_to(task)

    # Backfill -----------------------------------------------------------------------------------

    def backfill_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """First the range, then how many runs that makes, then they are made: `confirmed` is the
        number that the person has seen."""
        allowed = request.user.has_perm("scheduling.backfill_scheduledtask")
        task = self.task_for(request, pk, allowed)
        form = BackfillForm(
            task, database_now(), request.POST if request.method == "POST" else None
        )
        slots = _slots_of(form, task) if form.is_bound else None
        if slots and request.POST.get("confirmed") == str(len(slots)):
            start, end = form.cleaned_data["start"], form.cleaned_data["end"]
            made: list[TaskRun] = []
            self.attempt(
                request,
                task,
                lambda task: made.extend(
                    runs.backfill(task, start, end, by=request.user, via="admin")
                ),
            )
            if made:
                self.log_change(request, task, _("Backfill."))
                text = ngettext("%(n)d run is made.", "%(n)d runs are made.", len(made))
                messages.success(request, text % {"n": len(made)})
            return self.back_to(task)
        return self.ask(
            request,
            task,
            title=_("Backfill a range of the past"),
            says=_what_backfill_does(task, slots),
            form=form,
            yes=_backfill_button(slots),
            more={"confirmed": len(slots) if slots else None},
        )

    # Its runs -----------------------------------------------------------------------------------

    def runs_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        task = self.task_for(request, pk, request.user.has_perm("dispatcher.view_taskrun"))
        state = state_of(task)
        shown = {
            **self.admin_site.each_context(request),
            "title": task.name,
            "subtitle": None,
            "opts": self.opts,
            "original": task,
            "links": self.links(request, task)[:-1],
            "buttons": self.button_addresses(request, task),
            "state": badge(state, state_label(state)),
            "state_note": state_note(task),
            "schedule": schedule_words(task),
            **runs_page.context(task, database_now()),
        }
        return TemplateResponse(request, "admin/dispatcher/scheduledtask/runs.html", shown)


def _what_run_does(task: ScheduledTask) -> list[str]:
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


def _paused_text(task: ScheduledTask) -> str:
    texts = {"name": task.name, "time": moment_text(task.paused_until, task.timezone)}
    if task.paused_until is None:
        return _("“%(name)s” is paused.") % texts
    return _("“%(name)s” is paused until %(time)s.") % texts


def _slots_of(form: BackfillForm, task: ScheduledTask) -> list[Any] | None:
    """The slots of the range; None where it is none, with the errors in the form."""
    if not form.is_valid():
        return None
    try:
        return runs.backfill_slots(task, form.cleaned_data["start"], form.cleaned_data["end"])
    except ValidationError as error:
        form.add_error(None, error)
        return None


def _what_backfill_does(task: ScheduledTask, slots: list[Any] | None) -> list[str]:
    if slots is None:
        return [
            _(
                "A backfill runs the slots of a range that have no run that succeeded. First you "
                "are told how many that are; nothing runs yet."
            )
        ]
    if not slots:
        return [_("This makes no run: the range has no slot, or each has a run that succeeded.")]
    count = ngettext("This makes %(n)d run", "This makes %(n)d runs", len(slots))
    first, last = (moment_text(slot, task.timezone) for slot in (slots[0], slots[-1]))
    span = {"what": count % {"n": len(slots)}, "first": first, "last": last}
    if len(slots) == 1:
        says = [_("%(what)s, for the slot of %(first)s.") % span]
    else:
        says = [_("%(what)s, for the slots from %(first)s to %(last)s, oldest first.") % span]
    if task.overlap_policy == OverlapPolicy.ALLOW:
        says.append(_("They start at once, beside each other as far as there are workers."))
    else:
        says.append(_("They take turns: one starts when the one before it has ended."))
    return says


def _backfill_button(slots: list[Any] | None) -> str:
    if not slots:
        return _("How many runs is that?")
    return ngettext("Yes, make %(n)d run", "Yes, make %(n)d runs", len(slots)) % {"n": len(slots)}
