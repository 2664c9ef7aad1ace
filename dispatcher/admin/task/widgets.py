"""The inputs of the form of a scheduled task. Each is a plain input that works by itself;
`static/dispatcher/form.js` and `combobox.js` add to it, and `preview` fills its panel."""

from collections.abc import Callable, Iterable
from typing import Any

from django import forms

from scheduling import registry
from scheduling.schedules.zones import NAMES
from scheduling.words.cron_words import cron_words

#: Expressions to begin with, a click away.
EXAMPLES = ("*/15 * * * *", "0 * * * *", "0 9 * * *", "0 9 * * MON-FRI", "0 0 1 * *")


class SearchInput(forms.TextInput):
    """Free text with a search among known values, listed when the page is made.

    Why not select2, which Django ships: it searches a `<select>`, so a name that is unknown here
    needs a mode of its own, and without JavaScript it offers nothing. A datalist does.
    """

    template_name = "dispatcher/widgets/search.html"

    def __init__(self, options: Callable[[], Iterable[str]], attrs: Any = None) -> None:
        super().__init__({"autocomplete": "off", "spellcheck": "false", **(attrs or {})})
        self.options = options

    def details(self) -> dict[str, list[str]]:
        """What the search shows, and searches, beside a value: two lines."""
        return {}

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        list_id = f"{name}-suggestions"
        context = super().get_context(name, value, {**(attrs or {}), "list": list_id})
        context["widget"] |= {
            "list_id": list_id,
            "options": self.options(),
            "details": self.details(),
            "details_id": f"{list_id}-details",
            "panel_id": f"mh-{name}-panel",
        }
        return context


class TaskInput(SearchInput):
    """A search among the Celery tasks that this process knows, by name and docstring."""

    def __init__(self) -> None:
        super().__init__(registry.task_names, {"class": "vTextField mh-search"})

    def details(self) -> dict[str, list[str]]:
        return {
            info.name: [info.signature, info.doc.partition("\n")[0]]
            for info in registry.all_tasks()
        }


class ZoneInput(SearchInput):
    """A search among the names of time zones."""

    def __init__(self) -> None:
        super().__init__(lambda: sorted(NAMES), {"class": "mh-search mh-zone-search"})


class CronInput(forms.TextInput):
    """A cron expression, with examples to click."""

    template_name = "dispatcher/widgets/cron.html"

    def __init__(self) -> None:
        super().__init__({"class": "mh-code", "autocomplete": "off", "spellcheck": "false"})

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        context["widget"] |= {
            "examples": [(expression, cron_words(expression)) for expression in EXAMPLES],
            "panel_id": f"mh-{name}-panel",
        }
        return context


class ArgumentsInput(forms.Textarea):
    """JSON in a textarea, with buttons that format it and complete it from the signature.

    Why no JSON editor: arguments are a handful of values, and what helps with them is the
    signature and an error that names the line, which the check while typing gives. A tree editor
    (vanilla-jsoneditor is 1 MB) adds neither, takes over the keyboard and hides the real field.
    """

    template_name = "dispatcher/widgets/arguments.html"

    def __init__(self, rows: int, *, complete: bool = False) -> None:
        attrs = {"rows": rows, "cols": 60, "class": "mh-code mh-json", "spellcheck": "false"}
        super().__init__(attrs)
        self.complete = complete

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        context["widget"]["complete"] = self.complete
        return context
