"""What the form would say if it were saved now: asked while a person types, and saves nothing.

The errors are those of the form itself, so they are the very same that saving gives.
"""

import json
from datetime import datetime
from typing import Any

from django.forms import ModelForm

from dispatcher.admin.task import panels
from scheduling.models import ScheduledTask
from scheduling.registry import argument_text
from scheduling.words import preview_of

#: Read as they were typed, not from `cleaned_data`: there the masks have become secrets.
TYPED = ("task", "args", "kwargs", "cron_expression")


def answer(form: "ModelForm[ScheduledTask]", now: datetime) -> dict[str, Any]:
    """For a bound form, as JSON: `errors` by field; `panels`, HTML by the id of its element;
    `formatted` and `completed`, the texts that the buttons of the arguments put in."""
    typed = {name: str(form.data.get(name, "")) for name in TYPED}
    return {
        "errors": {name: [*errors] for name, errors in form.errors.items()},
        "panels": {
            "mh-task-panel": panels.task_panel(typed["task"].strip()),
            "mh-cron_expression-panel": panels.cron_panel(typed["cron_expression"]),
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
    found = argument_text.completed(typed["task"].strip(), args, kwargs)
    if found is None or found == (args, kwargs):
        return None
    return {"args": argument_text.json_line(found[0]), "kwargs": json.dumps(found[1], indent=2)}


def _read(text: str, empty: Any) -> Any:
    if not text.strip():
        return empty
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
