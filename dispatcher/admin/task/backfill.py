"""Run the slots of a range of the past: the page that asks for the range, then for a yes."""

from datetime import datetime
from typing import TYPE_CHECKING

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from dispatcher import runs
from dispatcher.admin.kit.forms import BackfillForm
from dispatcher.admin.task.asking import ask, attempt, back_to
from dispatcher.models import TaskRun
from scheduling.database import database_now
from scheduling.models import OverlapPolicy, ScheduledTask
from scheduling.words import moment_text

if TYPE_CHECKING:
    from dispatcher.admin.task.admin import ScheduledTaskAdmin


def page(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask
) -> HttpResponse:
    """Ask first for the range, then whether to make so many runs, then make them: `confirmed` is
    the number that the person has seen."""
    form = BackfillForm(task, database_now(), request.POST if request.method == "POST" else None)
    slots = _slots_of(form, task) if form.is_bound else None
    if slots and request.POST.get("confirmed") == str(len(slots)):
        _backfill(model_admin, request, task, form)
        return back_to(task)
    return ask(
        request,
        task,
        title=_("Backfill a range of the past"),
        says=_what_it_does(task, slots),
        form=form,
        yes=_yes(slots),
        more={"confirmed": len(slots) if slots else None},
    )


def _backfill(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask, form: BackfillForm
) -> None:
    span = form.cleaned_data["start"], form.cleaned_data["end"]
    made: list[TaskRun] = []
    attempt(
        request,
        task,
        lambda task: made.extend(runs.backfill(task, *span, by=request.user, via="admin")),
    )
    if made:
        model_admin.log_change(request, task, _("Backfill."))
        text = ngettext("%(n)d run is made.", "%(n)d runs are made.", len(made))
        messages.success(request, text % {"n": len(made)})


def _slots_of(form: BackfillForm, task: ScheduledTask) -> list[datetime] | None:
    """The slots of the range; None where it is none, with the errors in the form."""
    if not form.is_valid():
        return None
    try:
        return runs.backfill_slots(task, form.cleaned_data["start"], form.cleaned_data["end"])
    except ValidationError as error:
        form.add_error(None, error)
        return None


def _what_it_does(task: ScheduledTask, slots: list[datetime] | None) -> list[str]:
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


def _yes(slots: list[datetime] | None) -> str:
    if not slots:
        return _("How many runs is that?")
    return ngettext("Yes, make %(n)d run", "Yes, make %(n)d runs", len(slots)) % {"n": len(slots)}
