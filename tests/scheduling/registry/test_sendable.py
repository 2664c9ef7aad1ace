"""What arrives in a worker's function is what was stored, or it is refused, naming the place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.serialization import dumps, loads

from scheduling import registry
from scheduling.registry.sendable import DEEPEST, is_json

TEXT = st.text(max_size=8)
KEYS = st.one_of(TEXT, st.sampled_from(["__type__", "__value__"]))
SCALARS = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    st.sampled_from(["datetime", "uuid", "bytes", "decimal", "2026-01-01", "\\u0000", "\x00"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3),
        st.fixed_dictionaries({"__type__": inner, "__value__": inner}),
    ),
    max_leaves=20,
)


def arrived(args, kwargs):
    """By way of kombu's serializer, as Celery's protocol 2 has it."""
    content_type, encoding, body = dumps([args, kwargs, {}], serializer="json")
    return loads(body, content_type, encoding)[:2]


def same(a, b):
    """Equal, and of the same types all the way down."""
    return repr(a) == repr(b)


@given(st.lists(JSON, max_size=3), st.dictionaries(KEYS, JSON, max_size=3))
def test_what_arrives_is_what_was_stored_or_it_is_refused(args, kwargs):
    problem = registry.argument_problem(args, kwargs)
    if problem is not None:
        assert problem.field in ("args", "kwargs")
        assert problem.sentence
        return
    stored = json.loads(json.dumps([args, kwargs]))
    assert same(arrived(args, kwargs), stored)


@given(st.lists(JSON, max_size=3))
def test_nothing_is_refused_that_would_arrive(args):
    """But what a database does not take."""
    if registry.argument_problem(args, {}) is None:
        return
    try:
        harmless = same(arrived(args, {})[0], args) and is_json(args)
    except Exception:
        harmless = False
    text = json.dumps(args, ensure_ascii=False)
    assert not harmless or "\\u0000" in text


def nested(levels, inside=0):
    for _level in range(levels):
        inside = [inside]
    return inside


WRAPPED = {"__type__": "datetime", "__value__": "2026-01-01T00:00:00"}


@pytest.mark.parametrize(
    ("args", "kwargs", "place"),
    [
        ([WRAPPED], {}, "args[0]: "),
        ([1, [{"a": WRAPPED}]], {}, 'args[1][0]["a"]: '),
        ([], {"when": [0, WRAPPED]}, 'kwargs["when"][1]: '),
        ([], WRAPPED, ""),
        ([{"a": "\x00"}], {}, 'args[0]["a"]: '),
        ([], {1: 2}, "The keys"),
        ([], {"x": nested(DEEPEST + 1)}, 'kwargs["x"][0][0]'),
    ],
    ids=str,
)
def test_the_sentence_names_the_place(args, kwargs, place):
    assert registry.argument_problem(args, kwargs).sentence.startswith(place)


@pytest.mark.parametrize("more", [{"other": 1}, {}], ids=["three keys", "one key"])
def test_such_keys_beside_others_are_nothing_special(more):
    value = {"__type__": "uuid", **more}
    assert registry.argument_problem([value], {}) is None
    assert arrived([value], {})[0] == [value]


@pytest.mark.parametrize("shape", [nested, lambda n: json.loads('{"a":' * n + "1" + "}" * n)])
def test_depth_is_bounded(shape):
    assert registry.argument_problem([shape(DEEPEST)], {}) is None
    assert registry.argument_problem([], {"x": shape(DEEPEST)}) is None
    for levels in (DEEPEST + 1, 482, 900):
        assert registry.argument_problem([shape(levels)], {}).code == "too_deep"


def test_a_depth_at_which_python_gives_up_is_only_too_deep():
    assert registry.argument_problem([nested(100_000)], {}).code == "too_deep"


def test_size_is_bounded_in_bytes_of_both_together(settings):
    settings.SCHEDULER_ARGUMENTS_KIB = 1
    assert registry.argument_problem(["x" * 1000], {}) is None
    assert registry.argument_problem(["é" * 600], {}).code == "too_large"
    problem = registry.argument_problem(["x" * 500], {"a": "x" * 600})
    assert (problem.field, problem.code) == ("kwargs", "too_large")
    assert "1024" in problem.sentence


def test_a_text_that_only_looks_like_nul_is_sent():
    assert registry.argument_problem(["\\u0000"], {}) is None
