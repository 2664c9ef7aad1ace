"""The pages that skip the next slot of a scheduled task, and that take this back."""

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dispatcher.admin.kit.asking import ask
from dispatcher.admin.task.form_admin import ScheduledTaskAdmin
from dispatcher.admin.task.runs_page import skipped_slots
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import current_stop
from scheduling.words import moment_text, upcoming_or_problem


class SkipButtons(ScheduledTaskAdmin):
    """The admin of scheduled tasks, with slots that are skipped by hand."""

    def get_urls(self) -> list[URLPattern]:
        pages = {"skip": self.skip_view, "unskip": self.unskip_view}
        return [
            *(self.page_url(name, view, "GET", "HEAD", "POST") for name, view in pages.items()),
            *super().get_urls(),
        ]

    def ask(self, request: HttpRequest, task: ScheduledTask, **question: Any) -> HttpResponse:
        back = reverse("admin:scheduling_scheduledtask_change", args=[task.pk])
        return ask(request, task, back=back, **question)

    def has_skip_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("scheduling.skip_scheduledtask")

    def skip_one(self, request: HttpRequest, task: ScheduledTask) -> datetime | None:
        """Skip its next run, and return the slot; None where there is none."""
        slot = task.skip_next(by=request.user)
        if slot is not None:
            self.log_change(request, task, [{"changed": {"fields": ["skip_slots"]}}])
        return slot

    # Skip next ----------------------------------------------------------------------------------

    def skip_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        task = self.task_for(request, pk, self.has_skip_permission(request))
        slots, problem = upcoming_or_problem(task, 2, database_now(), current_stop() is not None)
        meant = request.POST.get("confirmed")  # the slot that the person was asked about
        has_passed = bool(slots) and meant not in (None, slots[0].isoformat())
        if slots and (request.method != "POST" or has_passed):
            return self.ask(
                request,
                task,
                title=_("Skip its next run?"),
                says=what_skip_does(task, [moment_text(slot, task.timezone) for slot in slots]),
                yes=_("Yes, skip it"),
                more={"confirmed": slots[0].isoformat()},
            )
        skipped = self.skip_one(request, task) if request.method == "POST" else None
        if skipped is None:
            messages.warning(request, problem or _("It has no run to come that could be skipped."))
        else:
            texts = {"name": task.name, "time": moment_text(skipped, task.timezone)}
            messages.success(request, _("“%(name)s” will not run at %(time)s.") % texts)
        return self.back_to(task)

    # Do not skip --------------------------------------------------------------------------------

    @admin.display(description=gettext_lazy("skipped by hand"))
    def skipped(self, task: ScheduledTask) -> str:
        """The slots to come that will not run."""
        return ", ".join(moment_text(slot, task.timezone) for slot in _to_come(task))

    def get_fieldsets(self, request: HttpRequest, obj: ScheduledTask | None = None) -> Any:
        """`skipped` only where there is one."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or _to_come(obj):
            return fieldsets
        (title, options), *others = fieldsets
        fields = tuple(name for name in options["fields"] if name != "skipped")
        return ((title, {**options, "fields": fields}), *others)

    def unskip_links(self, request: HttpRequest, task: ScheduledTask) -> list[tuple[str, str]]:
        """For each slot that is skipped the page that takes this back, with what it says."""
        if not self.has_skip_permission(request):
            return []
        url = reverse("admin:scheduling_scheduledtask_unskip", args=[task.pk])
        return [
            (
                f"{url}?{urlencode({'slot': slot.isoformat()})}",
                _("Do not skip %(time)s") % {"time": moment_text(slot, task.timezone)[:16]},
            )
            for slot in _to_come(task)
        ]

    def unskip_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Of the slot in the address: `?slot=2026-11-21T09:00:00+00:00`."""
        task = self.task_for(request, pk, self.has_skip_permission(request))
        asked = request.GET.get("slot", "")
        slots = [s for s in skipped_slots(task, database_now()) if s.isoformat() == asked]
        texts = {"name": task.name, "time": moment_text(next(iter(slots), None), task.timezone)}
        if slots and request.method != "POST":
            return self.ask(
                request,
                task,
                title=_("Let it run after all?"),
                says=[_("“%(name)s” was to be skipped at %(time)s. It will run then.") % texts],
                yes=_("Yes, do not skip it"),
            )
        if slots and task.unskip(slots[0], by=request.user):
            self.log_change(request, task, [{"changed": {"fields": ["skip_slots"]}}])
            messages.success(request, _("“%(name)s” will run at %(time)s.") % texts)
        else:
            messages.warning(request, _("This slot is not skipped, or it has passed."))
        return self.back_to(task)


def _to_come(task: Any) -> list[datetime]:
    return skipped_slots(task, getattr(task, "read_at", None) or database_now())


def what_skip_does(task: ScheduledTask, times: list[str]) -> list[str]:
    says = [
        _("“%(name)s” will not run at %(time)s.") % {"name": task.name, "time": times[0]},
        _("The slot is kept in the history as skipped, with the reason."),
    ]
    if len(times) > 1:
        says.append(_("After that it runs at %(time)s.") % {"time": times[1]})
    return says
