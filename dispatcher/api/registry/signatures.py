"""The arguments of a task as a JSON Schema (2020-12) of `{"args": […], "kwargs": {…}}`.

What can be given by name is in `kwargs`, what only by position in `args`. An annotation that says
nothing about JSON allows anything: the worker decides.
"""

import inspect
import json
import types
import typing
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

DRAFT = "https://json-schema.org/draft/2020-12/schema"

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    list: {"type": "array"},
    tuple: {"type": "array"},
    set: {"type": "array"},
    dict: {"type": "object"},
    type(None): {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    UUID: {"type": "string", "format": "uuid"},
    Decimal: {"type": ["string", "number"]},
}


def schema_of(signature: inspect.Signature) -> dict[str, Any]:
    kinds = inspect.Parameter
    parameters = list(signature.parameters.values())
    by_place = [each for each in parameters if each.kind is kinds.POSITIONAL_ONLY]
    by_name = [
        each
        for each in parameters
        if each.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    ]
    rest = {each.kind: each for each in parameters}
    args, kwargs = _args(by_place, rest.get(kinds.VAR_POSITIONAL)), _kwargs(by_name)
    more = rest.get(kinds.VAR_KEYWORD)
    kwargs["additionalProperties"] = False if more is None else _of(more.annotation)
    return {
        "$schema": DRAFT,
        "type": "object",
        "properties": {"args": args, "kwargs": kwargs},
        "required": [name for name, part in (("args", args), ("kwargs", kwargs)) if _needed(part)],
    }


def _needed(part: dict[str, Any]) -> bool:
    return bool(part.get("minItems") or part.get("required"))


def _args(parameters: list[inspect.Parameter], rest: inspect.Parameter | None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "array"}
    if parameters:
        schema["prefixItems"] = [{"title": each.name, **_with_default(each)} for each in parameters]
        schema["minItems"] = sum(each.default is each.empty for each in parameters)
    schema["items"] = False if rest is None else _of(rest.annotation)
    return schema


def _kwargs(parameters: list[inspect.Parameter]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {each.name: _with_default(each) for each in parameters},
        "required": [each.name for each in parameters if each.default is each.empty],
    }


def _with_default(parameter: inspect.Parameter) -> dict[str, Any]:
    schema = _of(parameter.annotation)
    if parameter.default is parameter.empty:
        return schema
    try:
        return schema | {"default": json.loads(json.dumps(parameter.default, allow_nan=False))}
    except (TypeError, ValueError, RecursionError):
        return schema


def _of(annotation: Any) -> dict[str, Any]:
    """What an annotation allows; `{}`, anything, where it says nothing about JSON."""
    if annotation in _PLAIN_NAMES:  # also `from __future__ import annotations`
        return dict(_PLAIN_NAMES[annotation])
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _of(inner[0])
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_of(each) for each in inner]}
    if origin is typing.Literal:
        return {"enum": list(inner)} if _is_json(list(inner)) else {}
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        values = [member.value for member in annotation]
        return {"enum": values} if _is_json(values) else {}
    return _container(origin, inner)


def _container(origin: Any, inner: tuple[Any, ...]) -> dict[str, Any]:
    if origin in (list, set, frozenset) and inner:
        return {"type": "array", "items": _of(inner[0])}
    if origin is tuple and len(inner) == 2 and inner[1] is Ellipsis:
        return {"type": "array", "items": _of(inner[0])}
    if origin is tuple and inner:
        return {"type": "array", "prefixItems": [_of(each) for each in inner], "items": False}
    if origin is dict and len(inner) == 2:
        return {"type": "object", "additionalProperties": _of(inner[1])}
    return {}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


class _Names(dict[Any, dict[str, Any]]):
    """The plain types and their names; a type that cannot be hashed is not among them."""

    def __contains__(self, key: object) -> bool:
        try:
            return super().__contains__(key)
        except TypeError:
            return False


_PLAIN_NAMES = _Names(_PLAIN | {each.__name__: schema for each, schema in _PLAIN.items()})
