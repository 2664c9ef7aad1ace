"""Which arguments arrive in a task as they are stored: JSON, and what a message can carry of it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from django.db import connection
from django.utils.translation import gettext as _

from scheduling.conf import ARGUMENTS_KIB

#: Lists and objects inside one another in one argument. A pool child that is sent some 480 of them
#: dies of it, and with it the worker.
DEEPEST = 64
#: MariaDB takes 31 levels of JSON (4025 CONSTRAINT failed): the list of the arguments is one, and
#: the audit trail has some around it.
DEEPEST_IN_MARIADB = 24

#: What kombu takes for the wrapping of a datetime or a UUID, and replaces, or cannot decode.
WRAPPING = {"__type__", "__value__"}


class ArgumentProblem(NamedTuple):
    """Why arguments cannot be sent: the field, `code` for programs, `sentence` for people."""

    field: str
    code: str
    sentence: str


def argument_problem(args: Any, kwargs: Any) -> ArgumentProblem | None:
    """What keeps arguments out of a message; None where nothing does. Asks no database.

    >>> argument_problem([1], {"region": "eu"})
    """
    return next(argument_problems(args, kwargs, DEEPEST), None)


def argument_problems(
    args: Any, kwargs: Any, deepest: int | None = None
) -> Iterator[ArgumentProblem]:
    """The first problem of each; their size together where there is no other.

    `deepest`: levels of lists and objects (None: what the database takes, and a message).
    """
    deepest = deepest or (DEEPEST_IN_MARIADB if _is_mariadb() else DEEPEST)
    fine = True
    for field, value in (("args", args), ("kwargs", kwargs)):
        problem = json_problem(value, field, deepest)
        if problem is not None:
            yield ArgumentProblem(field, *problem)
            fine = False
    if fine:
        yield from _size_problem({"args": _size(args), "kwargs": _size(kwargs)})


def _size_problem(sizes: dict[str, int]) -> Iterator[ArgumentProblem]:
    size, limit = sum(sizes.values()), ARGUMENTS_KIB.value * 1024
    if size > limit:
        message = _("The arguments have %(size)d bytes as JSON; at most %(limit)d can be sent.")
        largest = max(sizes, key=sizes.__getitem__)
        yield ArgumentProblem(largest, "too_large", message % {"size": size, "limit": limit})


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())


class _Problem(NamedTuple):
    code: str
    sentence: str


def json_problem(value: Any, place: str, deepest: int) -> _Problem | None:
    """Why a value does not arrive as it is, naming the first place in it; None where it does.

    Not recursive: what is nested too deep must be told from inside the same bounds.
    """
    below = [(value, place, 0)]
    while below:
        part, where, depth = below.pop()
        problem = _problem_of(part, where, depth, deepest)
        if problem is not None:
            return (_circular(value, place) if problem.code == "too_deep" else None) or problem
        below += reversed([(item, name, depth + 1) for name, item in _inside(part, where)])
    return _unwritable(value, place)


def _problem_of(part: Any, where: str, depth: int, deepest: int) -> _Problem | None:
    """Of one value in itself, whatever is inside."""
    if isinstance(part, str) and not storable(part):
        return _not_storable(where)
    if isinstance(part, (list, tuple, dict)) and depth > deepest:
        message = _("It is nested deeper than %(limit)d levels.") % {"limit": deepest}
        return _Problem("too_deep", _at(where, message))
    if isinstance(part, dict):
        return _problem_of_keys(part, where)
    return None


def _problem_of_keys(part: Mapping[Any, Any], where: str) -> _Problem | None:
    texts = [key for key in part if isinstance(key, str)]
    if len(texts) < len(part) and "[" not in where:  # further inside JSON makes a text of a number
        return _Problem("not_json", _at(where, _("The keys must be text.")))
    if not all(map(storable, texts)):
        return _not_storable(where)
    if part.keys() == WRAPPING:
        message = _("An object of just “__type__” and “__value__” would be changed on its way.")
        return _Problem("not_sendable", _at(where, message))
    return None


def _not_storable(where: str) -> _Problem:
    message = _("It contains a character that cannot be stored (NUL or half a surrogate).")
    return _Problem("not_json", _at(where, message))


def _inside(part: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(part, dict):
        for key, item in part.items():
            yield f"{where}[{json.dumps(key, ensure_ascii=False)}]"[:PLACE], item
    elif isinstance(part, (list, tuple)):
        for number, item in enumerate(part):
            yield f"{where}[{number}]"[:PLACE], item


#: Characters of a place that are named: a key may be as long as it likes.
PLACE = 200


def _circular(value: Any, place: str) -> _Problem | None:
    """What contains itself is not deep, but no JSON."""
    try:
        json.dumps(value)
    except ValueError:
        return _unwritable(value, place)
    except (TypeError, RecursionError):
        pass
    return None


def _unwritable(value: Any, place: str) -> _Problem | None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        message = _("This cannot be written as JSON: %(error)s.") % {"error": str(error)[:200]}
        return _Problem("not_json", _at(place, message))
    return None


def _at(where: str, message: str) -> str:
    """The sentence, with the place where that is not the whole."""
    return f"{where}: {message}" if "[" in where else message


def is_json(value: Any) -> bool:
    """Whether it can be written as JSON and stored, if not sent."""
    try:
        return storable(json.dumps(value, allow_nan=False, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return False


def storable(text: str) -> bool:
    """Whether every database takes the text: no NUL, no half of a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def _is_mariadb() -> bool:
    return connection.vendor == "mysql" and bool(connection.mysql_is_mariadb)  # type: ignore[attr-defined]
