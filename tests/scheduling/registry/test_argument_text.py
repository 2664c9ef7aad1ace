"""JSON as people type it: where it is wrong, and what a task takes."""

import pytest

from scheduling.registry.argument_text import completed, json_error, json_line

TASKS = "tests.integration.tasks_app.tasks"

WRONG = {
    '{"a": 1,\n "b": tru}': ("line 2, column 7", "double quotes"),
    "{'a': 1}": ("line 1, column 2", "double quotes"),
    "{a: 1}": ("line 1, column 2", "key in double quotes"),
    '{"a": None}': ("column 7", "small letters"),
    '["a" "b"]': ("column 6", "comma"),
    '{"a" 1}': ("column 6", "colon"),
    "[1] [2]": ("column 5", "after the end"),
    '{"a": 1': ("ends too early", "closing bracket"),
    '{"a":': ("ends too early", "value is missing"),
    '["a\nb"]': ("line 1", "line break"),
    r'["\d"]': ("column 3", "backslash"),
    '["a]': ("column 2", "closing double quote"),
}


@pytest.mark.parametrize(("text", "told"), WRONG.items())
def test_wrong_json_is_told_by_line_with_a_remedy(text, told):
    for part in told:
        assert part in json_error(text)


@pytest.mark.parametrize("text", ["[1,]", '{"a": 1,}'])
def test_a_comma_too_many_is_told_as_such(text):
    assert "Remove the last comma." in json_error(text)


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', "NaN", f"[{'1' * 5000}]", "[" * 100_000])
def test_where_the_parser_gives_no_place_nothing_is_said(text):
    assert json_error(text) == ""


def test_short_json_is_shown_in_one_line_and_long_json_in_several():
    assert json_line({"a": 1}) == '{"a": 1}'
    assert json_line({"name": "上" * 60}).count("\n") == 2


def test_a_call_is_completed_from_the_signature():
    assert completed(f"{TASKS}.add", [], {}) == ([], {"a": 0, "b": 0})
    assert completed(f"{TASKS}.fail", [], {}) == ([], {"message": "it failed"})


def test_what_is_given_stays():
    assert completed(f"{TASKS}.add", [], {"b": 5}) == ([], {"b": 5, "a": 0})
    assert completed(f"{TASKS}.add", [7], {}) == ([7], {"b": 0})


@pytest.mark.parametrize(
    ("task", "args", "kwargs"),
    [("no.such.task", [], {}), (f"{TASKS}.add", None, {}), (f"{TASKS}.add", [], [])],
)
def test_there_is_no_template_for_the_unknown(task, args, kwargs):
    assert completed(task, args, kwargs) is None
