"""What the form would say if it were saved now: asked while a person types, and saves nothing.

The errors are those of the form itself, so they are the very same that saving gives; the next runs
are those of `scheduling.words.preview`.
"""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.core.exceptions import PermissionDenied
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext_lazy

from dispatcher.admin.task import panels
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.registry import argument_text
from scheduling.words import preview_of

if TYPE_CHECKING:
    from dispatcher.admin.task.admin import ScheduledTaskAdmin


@admin.display(description=gettext_lazy("preview"))
def preview(task: ScheduledTask | None) -> str:
    """The place where the form shows what it would do; without JavaScript, what is stored does."""
    if task is None or task.pk is None:
        url = reverse("admin:scheduling_scheduledtask_preview_new")
        context = {"panel": panels.empty_runs_panel(), "url": url, "is_new": True}
    else:
        url = reverse("admin:scheduling_scheduledtask_preview", args=[task.pk])
        context = {"panel": panels.stored_panel(task), "url": url, "is_new": False}
    return render_to_string("dispatcher/panels/preview.html", context)


def page(
    model_admin: "ScheduledTaskAdmin", request: HttpRequest, task: ScheduledTask | None
) -> HttpResponse:
    """What saving the posted form would say, as JSON."""
    fields = flatten_fieldsets(model_admin.get_fieldsets(request, task))
    form_class = model_admin.get_form(request, task, change=task is not None, fields=fields)
    return JsonResponse(answer(form_class(request.POST, instance=task), database_now()))


def page_of_new(model_admin: "ScheduledTaskAdmin", request: HttpRequest) -> HttpResponse:
    """What saving the posted form of a new scheduled task would say, as JSON."""
    if not model_admin.has_add_permission(request):
        raise PermissionDenied
    return page(model_admin, request, None)


# What it says -------------------------------------------------------------------------------------

#: Read as they were typed, not from `cleaned_data`: there the masks have become secrets.
TYPED = ("task", "args", "kwargs", "cron_expression", "timezone")


def answer(form: "ModelForm[ScheduledTask]", now: datetime) -> dict[str, Any]:
    """The preview of a bound form: `errors` by field; `panels`, HTML by the id of its element;
    `formatted` and `completed`, the texts that the buttons of the arguments put in."""
    typed = {name: str(form.data.get(name, "")) for name in TYPED}
    cron, zone = typed["cron_expression"], typed["timezone"].strip()
    return {
        "errors": {name: [*errors] for name, errors in form.errors.items()},
        "panels": {
            "mh-task-panel": panels.task_panel(typed["task"].strip()),
            "mh-cron_expression-panel": panels.cron_panel(cron, zone, now),
            "mh-timezone-panel": panels.zone_panel(zone, cron, now),
            "mh-runs-panel": _runs(form, now),
        },
        "formatted": _formatted(typed),
        "completed": _completed(typed),
    }


def _runs(form: "ModelForm[ScheduledTask]", now: datetime) -> str:
    """Errors of the form as a whole are about what others changed, and hide no runs."""
    preview = preview_of(form.instance, panels.SHOWN, now, wrong=form.errors)
    return panels.runs_panel(preview, form.instance)


def _formatted(typed: dict[str, str]) -> dict[str, str]:
    """The arguments that are JSON, indented. Not by the browser: it would round long numbers."""
    read = {name: _read(typed[name], None) for name in ("args", "kwargs")}
    return {
        name: json.dumps(value, ensure_ascii=False, indent=2)
        for name, value in read.items()
        if value is not None
    }


def _completed(typed: dict[str, str]) -> dict[str, str] | None:
    """Both fields with what the signature adds to them; None where it adds nothing."""
    args, kwargs = _read(typed["args"], []), _read(typed["kwargs"], {})
    completed = argument_text.completed(typed["task"].strip(), args, kwargs)
    if completed is None or completed == (args, kwargs):
        return None
    return {
        "args": argument_text.json_line(completed[0]),
        "kwargs": json.dumps(completed[1], indent=2),
    }


def _read(text: str, empty: Any) -> Any:
    if not text.strip():
        return empty
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
