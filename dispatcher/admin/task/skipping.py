"""Skip the next slot of a scheduled task, and take this back: the pages that ask."""

from datetime import datetime
from typing import TYPE_CHECKING

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from dispatcher.admin.kit.row_pages import Link, may, page_url
from dispatcher.admin.task.asking import ask, back_to
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.stop import current_stop
from scheduling.words import moment_text, upcoming_or_problem

if TYPE_CHECKING:
    from dispatcher.admin.task.admin import ScheduledTaskAdmin


def slots_skipped_by_hand(task: ScheduledTask, now: datetime | None = None) -> list[datetime]:
    """The slots to come that are skipped by hand, in order; after `now`, or after the time at which
    the task was read."""
    now = now or getattr(task, "read_at", None) or database_now()
    try:
        slots = [datetime.fromisoformat(text) for text in task.skip_slots]
        return sorted(slot for slot in slots if slot > now)
    except (TypeError, ValueError):  # raw SQL
        return []


# Skip next ----------------------------------------------------------------------------------------


def skip_one(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask
) -> datetime | None:
    """Skip its next run, and return the slot; None where there is none."""
    slot = task.skip_next(by=request.user)
    if slot is not None:
        _log(model_admin, request, task)
    return slot


def _log(model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask) -> None:
    model_admin.log_change(request, task, [{"changed": {"fields": ["skip_slots"]}}])


def skip_page(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask
) -> HttpResponse:
    """A GET asks. A POST skips the slot that the person was asked about, or the next one if it
    names none; where that has passed, it asks anew."""
    slots, problem = upcoming_or_problem(task, 2, database_now(), current_stop() is not None)
    meant = request.POST.get("confirmed")
    has_passed = bool(slots) and meant not in (None, slots[0].isoformat())
    if slots and (request.method != "POST" or has_passed):
        return ask(
            request,
            task,
            title=_("Skip its next run?"),
            says=_what_skip_does(task, [moment_text(slot, task.timezone) for slot in slots]),
            yes=_("Yes, skip it"),
            more={"confirmed": slots[0].isoformat()},
        )
    skipped = skip_one(model_admin, request, task) if request.method == "POST" else None
    if skipped is None:
        messages.warning(request, problem or _("It has no run to come that could be skipped."))
    else:
        texts = {"name": task.name, "time": moment_text(skipped, task.timezone)}
        messages.success(request, _("“%(name)s” will not run at %(time)s.") % texts)
    return back_to(task)


def _what_skip_does(task: ScheduledTask, times: list[str]) -> list[str]:
    says = [
        _("“%(name)s” will not run at %(time)s.") % {"name": task.name, "time": times[0]},
        _("The slot is kept in the history as skipped, with the reason."),
    ]
    if len(times) > 1:
        says.append(_("After that it runs at %(time)s.") % {"time": times[1]})
    return says


# Do not skip --------------------------------------------------------------------------------------


def unskip_links(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask
) -> list[Link]:
    """A link for each skipped slot: to the page that takes this back, with what it says."""
    if not may(model_admin, request, "skip"):
        return []
    url = page_url(model_admin, "unskip", task)
    return [
        (
            f"{url}?{urlencode({'slot': slot.isoformat()})}",
            _("Do not skip %(time)s") % {"time": moment_text(slot, task.timezone)[:16]},
        )
        for slot in slots_skipped_by_hand(task)
    ]


def unskip_page(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask
) -> HttpResponse:
    """A GET asks, about the slot in the address: `?slot=2026-11-21T09:00:00+00:00`. A POST lets it
    run."""
    asked = request.GET.get("slot", "")
    slots = slots_skipped_by_hand(task, database_now())
    slot = next((slot for slot in slots if slot.isoformat() == asked), None)
    texts = {"name": task.name, "time": moment_text(slot, task.timezone)}
    if slot is not None and request.method != "POST":
        return ask(
            request,
            task,
            title=_("Let it run after all?"),
            says=[_("“%(name)s” was to be skipped at %(time)s. It will run then.") % texts],
            yes=_("Yes, do not skip it"),
        )
    if slot is not None and task.unskip(slot, by=request.user):
        _log(model_admin, request, task)
        messages.success(request, _("“%(name)s” will run at %(time)s.") % texts)
    else:
        messages.warning(request, _("This slot is not skipped, or it has passed."))
    return back_to(task)
