"""What one may do to many scheduled tasks from the list. Each asks first, on a page that says what
will happen to which of them, and tells afterwards of those to which it could not be done."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dispatcher.admin.kit.asking import ask
from dispatcher.admin.kit.forms import WhyForm
from dispatcher.admin.task import list_questions as questions
from dispatcher.admin.task.asking import attempt
from dispatcher.admin.task.copying import duplicate_one
from dispatcher.admin.task.list_questions import Question
from dispatcher.admin.task.pausing import pause_one, resume_one
from dispatcher.admin.task.run_now import run_one
from dispatcher.admin.task.skipping import skip_one
from scheduling.models import ScheduledTask

#: One request does it to no more: each is an edit of its own.
MOST = 500

Verb = Callable[[ScheduledTask], object]


@admin.action(description=gettext_lazy("Run now"), permissions=["run"])
def run_now(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse | None:
    verb = partial(run_one, model_admin, request)
    return _each(request, queryset, questions.run, lambda tasks: verb)


@admin.action(description=gettext_lazy("Run now with other arguments"), permissions=["run"])
def run_with(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse | None:
    """Lead to the page of the one that is selected, which asks for them."""
    ids = list(queryset.values_list("pk", flat=True)[:2])
    if len(ids) == 1:
        return HttpResponseRedirect(reverse("admin:scheduling_scheduledtask_run", args=ids))
    messages.error(request, _("Select exactly one: other arguments are given for one task."))
    return None


@admin.action(description=gettext_lazy("Pause"), permissions=["pause"])
def pause(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse | None:
    form = WhyForm(request.POST if "confirmed" in request.POST else None)
    why = form.cleaned_data["why"] if form.is_valid() else ""
    verb = partial(pause_one, model_admin, request, why=why)
    return _each(request, queryset, questions.pause, lambda tasks: verb, form)


@admin.action(description=gettext_lazy("Resume"), permissions=["pause"])
def resume(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse | None:
    verb = partial(resume_one, model_admin, request)
    return _each(request, queryset, questions.resume, lambda tasks: verb)


@admin.action(description=gettext_lazy("Skip next"), permissions=["skip"])
def skip_next(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse | None:
    return _each(request, queryset, questions.skip, partial(_skip_verb, model_admin, request))


@admin.action(description=gettext_lazy("Duplicate"), permissions=["add"])
def duplicate(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse | None:
    verb = partial(duplicate_one, model_admin, request)
    return _each(request, queryset, questions.duplicate, lambda tasks: verb)


#: In the order of the menu.
ACTIONS = (run_now, run_with, pause, resume, skip_next, duplicate)


def _skip_verb(model_admin: Any, request: HttpRequest, tasks: Sequence[ScheduledTask]) -> Verb:
    """The verb that skips what the page has named, and nothing that has come to be the next run
    since."""
    asked_slots, next_slots = _asked_slots(request), questions.next_slots(tasks)

    def skip(task: ScheduledTask) -> bool:
        slot = next_slots.get(task.pk)
        if slot is None:
            return False
        if asked_slots.get(str(task.pk)) != slot.isoformat():
            raise ValidationError(_("Its next run is another one by now."))
        return skip_one(model_admin, request, task) is not None

    return skip


def _asked_slots(request: HttpRequest) -> dict[str, str]:
    """The slots that the page has named, by the ids of their tasks."""
    try:
        slots = json.loads(request.POST.get("slots", "{}"))
    except ValueError:
        return {}
    return slots if isinstance(slots, dict) else {}


# Asking and doing ---------------------------------------------------------------------------------


def _each(
    request: HttpRequest,
    rows: Any,
    question_of: Callable[[Sequence[ScheduledTask]], Question],
    verb_of: Callable[[Sequence[ScheduledTask]], Verb],
    form: Any = None,
) -> HttpResponse | None:
    """Answer with the page that asks; or, when its button was pressed, do it to each."""
    tasks = list(rows[: MOST + 1])
    if len(tasks) > MOST:
        said = _("Select at most %(n)d at a time, for example by a filter.") % {"n": MOST}
        messages.error(request, said)
        return None
    question = question_of(tasks)
    if "confirmed" not in request.POST or (form is not None and not form.is_valid()):
        return _page(request, tasks, question, form)
    verb = verb_of(tasks)
    ends = [attempt(request, task, verb) for task in tasks]
    question.tell(request, ends.count(True), ends.count(False))
    return None


def _page(
    request: HttpRequest, tasks: Sequence[ScheduledTask], question: Question, form: Any
) -> HttpResponse:
    chosen = [(ACTION_CHECKBOX_NAME, task.pk) for task in tasks]
    return ask(
        request,
        ScheduledTask(),
        title=question.title,
        says=question.says,
        named=question.named,
        form=form,
        yes=question.yes,
        back=request.get_full_path(),
        hidden=[("action", request.POST["action"]), *chosen, *question.hidden, ("confirmed", "1")],
    )
