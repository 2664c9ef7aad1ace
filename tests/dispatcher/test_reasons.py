"""Every reason that the code writes has a sentence, and no sentence is left over."""

import ast
import re
from pathlib import Path

import pytest

import dispatcher
from dispatcher.reasons import SENTENCES, describe

#: What takes a reason: verbs, constructors and the functions that pass one on.
TAKERS = {"close", "cancel_running", "End", "missed_run", "_cancel", "_refuse", "refuse"}
CODE = re.compile(r"[a-z]+(_[a-z]+)*")


def codes_in_source():
    found = set()
    for path in Path(dispatcher.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found |= {text for part in reasons_of(node) for text in constants(part)}
    return found


def reasons_of(node):
    """The expressions in a call or an assignment that become a reason."""
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in TAKERS:
            yield from node.args
        yield from (k.value for k in node.keywords if k.arg == "reason")
    elif isinstance(node, ast.FunctionDef):
        named = node.args.args[len(node.args.args) - len(node.args.defaults) :]
        defaults = zip(named, node.args.defaults, strict=True)
        yield from (value for argument, value in defaults if argument.arg == "reason")
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            yield from assigned_to_reason(target, node.value)


def assigned_to_reason(target, value):
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, part in zip(target.elts, value.elts, strict=True):
            yield from assigned_to_reason(one, part)
    elif getattr(target, "attr", getattr(target, "id", "")) == "reason":
        yield value


def constants(expression):
    """The texts that the expression may be: a constant, or either arm of a choice."""
    if isinstance(expression, ast.IfExp):
        return constants(expression.body) | constants(expression.orelse)
    if isinstance(expression, ast.Constant) and isinstance(expression.value, str):
        return {expression.value} if CODE.fullmatch(expression.value) else set()
    return set()


def test_every_code_in_the_source_has_a_sentence_and_the_other_way_round():
    found = codes_in_source()
    assert "lease_ran_out" in found  # or the search itself is broken
    assert found == set(SENTENCES)


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_bears_missing_and_wrong_parameters(code):
    for params in (None, {}, [], "x", {"other": 1}):
        assert describe(code, params)


def test_parameters_are_told():
    assert describe("by_person", {"by": "ada"}) == "Cancelled by ada."
    assert describe("by_person", {"by": ""}) == "Cancelled."
    assert "worker1@host" in describe("lease_ran_out", {"worker": "worker1@host", "pid": 7})


def test_a_parameter_with_a_percent_sign_is_told_as_it_is():
    assert describe("not_publishable", {"message": "100 %(x)s %"}).endswith("100 %(x)s %")


def test_a_code_of_a_newer_version_is_told_as_it_is():
    assert describe("eaten_by_dog", {"dog": "Rex"}) == "eaten_by_dog"
