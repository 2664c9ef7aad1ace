"""Which Celery tasks can be scheduled, and whether arguments fit them."""

import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from celery import Celery
from celery.app.trace import task_has_custom
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from scheduling.celery_app import celery_app

#: Celery's built-ins and the dispatcher's own tasks: to schedule one is always a mistake.
REFUSED_PREFIXES = ("celery.", "dispatcher.")


@dataclass(frozen=True)
class TaskInfo:
    """A task as a person chooses it: its registered name, signature and docstring."""

    name: str
    signature: str
    doc: str


def _app() -> Celery:
    app = celery_app()
    import_tasks(app)
    return app


@cache
def import_tasks(app: Celery) -> None:
    """Import the modules of tasks that this process has not imported. Once: Celery checks all
    models of Django (10 ms) each time it is asked to.

    A worker has imported them at its start. Asked again it would set up Django's logging anew, on
    top of Celery's.
    """
    if not app.loader.worker_initialized:
        app.loader.import_default_modules()
    app.finalize()


def is_refused(name: str) -> bool:
    return name.startswith(REFUSED_PREFIXES)


def task_names() -> list[str]:
    return sorted(name for name in _app().tasks if not is_refused(name))


def describe(name: str) -> TaskInfo | None:
    """The task of that name, or None where this process does not know it."""
    signature = signature_of(name)
    if signature is None:
        return None
    task = _app().tasks[name]
    return TaskInfo(name, str(signature), inspect.getdoc(task.run) or "")


def all_tasks() -> list[TaskInfo]:
    infos = (describe(name) for name in task_names())
    return [info for info in infos if info is not None]


def is_known(name: str) -> bool:
    return not is_refused(name) and name in _app().tasks


def close_matches(name: str) -> list[str]:
    return difflib.get_close_matches(name, task_names(), n=3, cutoff=0.5)


def signature_of(name: str) -> inspect.Signature | None:
    """The parameters that a caller gives (without `self`), or None where the task is unknown.

    Of a decorator that takes anything, those of the function inside.
    """
    if not is_known(name):
        return None
    run = _run_of(_app().tasks[name])
    outer = inspect.signature(run, follow_wrapped=False)
    return _inner(run) if _takes_anything(outer) else outer


def _takes_anything(signature: inspect.Signature) -> bool:
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    return kinds == {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def _run_of(task: Any) -> Any:
    """What the author decorated, without Celery's own wrapper of `autoretry_for`."""
    return getattr(task, "_orig_run", task.run)


def _inner(run: Any) -> inspect.Signature:
    """The signature of the function that a decorator wraps; without `self`, if that has one."""
    function = getattr(run, "__func__", run)
    inner = inspect.signature(inspect.unwrap(function))
    first = next(iter(inner.parameters.values()), None)
    if not inspect.ismethod(run) or first is None:
        return inner
    given = next(iter(inspect.signature(function, follow_wrapped=False).parameters.values()))
    if given.name != first.name and given.kind is not inspect.Parameter.VAR_POSITIONAL:
        return inner  # the decorator keeps the task for itself
    return inner.replace(parameters=[*inner.parameters.values()][1:])


def binding_error(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Why Celery would refuse a call with these arguments, or None where it accepts them, or the
    task is unknown."""
    if not is_known(name) or not (refusal := _refusal(_app().tasks[name], args, kwargs)):
        return None
    texts = {"error": refusal, "signature": f"{name}{signature_of(name)}"}
    return _("%(error)s; the signature is %(signature)s") % texts


def _refusal(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """What is wrong with the arguments. Asked is what Celery calls: the outermost function, as it
    is written, and not what `functools.wraps` says of the one inside."""
    if not task.typing:
        return ""
    if not hasattr(task, "__header__") and task_has_custom(task, "__call__"):
        return ""  # Celery checks a class of the author's not at all, and calls `__call__`
    try:
        inspect.signature(_run_of(task), follow_wrapped=False).bind(*args, **kwargs)
    except TypeError as error:
        return _said(error)
    return ""


_NAMED = re.compile(r"'(.*)'")
#: What Python says of arguments that do not fit, and its names of them.
_COMPLAINTS = (
    gettext_noop("missing a required argument: '%(name)s'"),
    gettext_noop("missing a required keyword-only argument: '%(name)s'"),
    gettext_noop("got an unexpected keyword argument '%(name)s'"),
    gettext_noop("multiple values for argument '%(name)s'"),
    gettext_noop("too many positional arguments"),
)


def _said(error: TypeError) -> str:
    """The complaint in the language of the reader; one that is unknown here, as Python says it."""
    text = str(error)
    name = _NAMED.search(text)
    texts = {"name": name[1] if name else ""}
    template = text.replace(f"'{texts['name']}'", "'%(name)s'") if name else text
    return _(template) % texts if template in _COMPLAINTS else text
