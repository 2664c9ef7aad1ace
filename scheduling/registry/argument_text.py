"""The arguments of a task as a person types them: JSON text, where it is wrong, and a template."""

import inspect
import json
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scheduling.registry import celery_tasks
from scheduling.schedules.errors import shortened

#: Longer JSON is shown in several lines.
_LINE = 60

#: A value to begin with, by the annotation of a parameter.
_BLANKS: dict[str, Any] = {
    "str": "",
    "int": 0,
    "float": 0.0,
    "bool": False,
    "list": [],
    "tuple": [],
    "dict": {},
}

#: What the JSON parser of Python says, and what a person can do about it.
_REMEDIES = {
    "Expecting property name": gettext_lazy("Write each key in double quotes."),
    "Expecting ':' delimiter": gettext_lazy("Write a colon after the key."),
    "Expecting ',' delimiter": gettext_lazy("A comma or a closing bracket is missing."),
    "Expecting value": gettext_lazy("A value is missing."),
    "Extra data": gettext_lazy("Something follows after the end."),
    "Unterminated string": gettext_lazy("The closing double quote is missing."),
    "Invalid control character": gettext_lazy("Write a line break inside a text as \\n."),
    "Invalid \\": gettext_lazy("Write a backslash as \\\\."),
    "Illegal trailing comma": gettext_lazy("Remove the last comma."),
}


def json_line(value: Any) -> str:
    """JSON to be edited: in one line where it is short, else indented; in its own characters."""
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) <= _LINE else json.dumps(value, ensure_ascii=False, indent=2)


def json_error(text: str) -> str:
    """Where and why a text is no JSON, in a sentence or two; "" where the parser cannot say."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        place = _("This is no valid JSON: line %(line)d, column %(column)d, at “%(text)s”.")
        if error.pos >= len(text.rstrip()):
            place = _("This is no valid JSON: it ends too early, in line %(line)d.")
        rest = text[error.pos : error.pos + 20].split("\n")[0]
        shown = {"line": error.lineno, "column": error.colno, "text": shortened(rest)}
        return f"{place % shown} {_remedy(error, text)}".strip()
    except (ValueError, RecursionError):
        return ""
    return ""


def _remedy(error: json.JSONDecodeError, text: str) -> str:
    rest, before = text[error.pos :].lstrip(), text[: error.pos].rstrip()
    if rest.startswith(("True", "False", "None")):
        return _("Write true, false and null in small letters.")
    if error.msg.startswith("Expecting value") and (rest[:1].isalpha() or rest[:1] == "'"):
        return _("Write texts in double quotes.")
    if rest.startswith(("}", "]")) and before.endswith(","):
        return str(_REMEDIES["Illegal trailing comma"])
    return next((str(says) for start, says in _REMEDIES.items() if error.msg.startswith(start)), "")


def completed(task: str, args: Any, kwargs: Any) -> tuple[list[Any], dict[str, Any]] | None:
    """The arguments with every parameter that they leave out, at its default or a blank value.

    None where the task is unknown here or the arguments are no list and no object.
    """
    signature = celery_tasks.signature_of(task)
    if signature is None or not isinstance(args, list) or not isinstance(kwargs, dict):
        return None
    values, named = [*args], {**kwargs}
    for place, parameter in enumerate(_singles(signature)):
        given = place < len(args) and parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        if given or parameter.name in named:
            continue
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            values.append(_beginning(parameter))
        else:
            named[parameter.name] = _beginning(parameter)
    return values, named


def _singles(signature: inspect.Signature) -> list[inspect.Parameter]:
    """The parameters without `*args` and `**kwargs`, those by position first."""
    several = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return [each for each in signature.parameters.values() if each.kind not in several]


def _beginning(parameter: inspect.Parameter) -> Any:
    """The default of the parameter as JSON, or a blank value of its type."""
    if parameter.default is not inspect.Parameter.empty:
        try:
            return json.loads(json.dumps(parameter.default, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            return None
    return _BLANKS.get(_type_name(parameter.annotation))


def _type_name(annotation: Any) -> str:
    """`list` for `list`, `list[int]` and `"list[int]"`."""
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__name__
    return str(annotation).partition("[")[0].rpartition(".")[2].lower()
