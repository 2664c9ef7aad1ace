"""The Celery tasks that can be scheduled, each with a schema from which a form can be made."""

import enum
import inspect
from datetime import date, datetime
from typing import Annotated, Literal, Optional

import pytest

from dispatcher.api.registry.signatures import schema_of
from scheduling import registry
from tests.dispatcher.api.conftest import ADD


def test_the_list_is_the_registry_page_by_page(api):
    names = []
    path = "tasks/?page_size=20"
    while path:
        page = api.get(path).json()
        names += [task["name"] for task in page["results"]]
        path = page["next"]

    assert names == registry.task_names()
    assert page["count"] == len(names)


def test_search_finds_a_part_of_the_name(api):
    found = api.get("tasks/?search=TASKS.AD").json()["results"]

    assert [task["name"] for task in found] == [ADD]


def test_one_task_with_signature_docstring_and_schema(api):
    task = api.get(f"tasks/{ADD}/").json()

    assert task["signature"] == "(a: int, b: int) -> int"
    assert task["doc"] == "Adds two numbers."
    assert task["queue"] == "celery"
    assert task["arguments"]["properties"]["kwargs"] == {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    assert task["arguments"]["required"] == ["kwargs"]


@pytest.mark.parametrize("name", ["nope", "celery.backend_cleanup", "dispatcher.tick"])
def test_what_cannot_be_scheduled_is_not_there(api, name):
    assert api.get(f"tasks/{name}/").status_code == 404


class Colour(enum.Enum):
    RED = "red"


class Odd(enum.Enum):
    ONE = object()


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, {"type": "string"}),
        ("int", {"type": "integer"}),
        (inspect.Parameter.empty, {}),
        (object, {}),
        ("Unknown", {}),
        (["unhashable"], {}),
        (bool, {"type": "boolean"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (
            tuple[int, str],
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "items": False,
            },
        ),
        (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (Optional[str], {"anyOf": [{"type": "string"}, {"type": "null"}]}),  # noqa: UP045
        (Literal["a", 1], {"enum": ["a", 1]}),
        (Annotated[int, "a note"], {"type": "integer"}),
        (Colour, {"enum": ["red"]}),
        (Odd, {}),
        (datetime, {"type": "string", "format": "date-time"}),
        (date, {"type": "string", "format": "date"}),
    ],
)
def test_an_annotation_says_what_json_it_takes(annotation, expected):
    parameter = inspect.Parameter("x", inspect.Parameter.KEYWORD_ONLY, annotation=annotation)

    schema = schema_of(inspect.Signature([parameter]))

    assert schema["properties"]["kwargs"]["properties"] == {"x": expected}


def test_positions_names_defaults_and_the_rest():
    def task(a, b=2, /, c: int = 3, *args: int, d, e=object(), **kwargs: str):  # noqa: B008
        pass

    schema = schema_of(inspect.signature(task))

    assert schema["properties"]["args"] == {
        "type": "array",
        "prefixItems": [{"title": "a"}, {"title": "b", "default": 2}],
        "minItems": 1,
        "items": {"type": "integer"},
    }
    assert schema["properties"]["kwargs"] == {
        "type": "object",
        "properties": {"c": {"type": "integer", "default": 3}, "d": {}, "e": {}},
        "required": ["d"],
        "additionalProperties": {"type": "string"},
    }
    assert schema["required"] == ["args", "kwargs"]
