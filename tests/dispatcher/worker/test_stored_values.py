"""What a task returns or raises becomes what every database takes."""

import json
from datetime import date

import pytest
from celery.utils.serialization import UnpickleableExceptionWrapper

from dispatcher.worker.stored_values import (
    RESULT_LIMIT,
    TEXT_LIMIT,
    clean_text,
    describe_exception,
    storable,
    storable_text,
)


class Shy:
    def __repr__(self):
        raise RuntimeError("no repr")


class Rude(ValueError):
    def __str__(self):
        raise RuntimeError("no text")


class Tricky(dict):
    def items(self):
        raise RuntimeError("no items")


@pytest.mark.parametrize(
    "result",
    [None, True, 0, 1.5, "", "text", [], [1, [None]], {}, {"a": {"b": [1, "x"]}}],
    ids=repr,
)
def test_json_is_stored_as_it_is(result):
    assert storable(result) == result


@pytest.mark.parametrize(
    ("result", "stored"),
    [
        ((1, 2), [1, 2]),
        ({1: "x"}, {"1": "x"}),
        (date(2026, 1, 1), {"repr": "datetime.date(2026, 1, 1)"}),
        ([date(2026, 1, 1)], {"repr": "[datetime.date(2026, 1, 1)]"}),
        ({1}, {"repr": "{1}"}),
        (Shy(), {"repr": "<Shy whose repr fails>"}),
        ("a\x00b\ud800", "a�b?"),
        (["\x00", {"\x00": "\udfff"}], ["�", {"�": "?"}]),
        (float("nan"), "nan"),
        ([float("inf"), {"x": -float("inf")}], ["inf", {"x": "-inf"}]),
    ],
)
def test_what_is_not_json_or_not_storable_is_made_so(result, stored):
    assert storable(result) == stored


def test_a_dict_that_fails_while_it_is_read_is_told_by_its_repr():
    assert list(storable([Tricky(a=1)])) == ["repr"]


def test_a_list_that_contains_itself_is_told_by_its_repr():
    endless = []
    endless.append(endless)
    assert storable(endless) == {"repr": "[[...]]"}


def test_a_result_of_the_limit_is_whole_and_one_byte_more_is_cut():
    whole = "x" * (RESULT_LIMIT - 2)  # two quotes
    assert storable(whole) == whole
    cut = storable(whole + "x")
    assert cut == {"truncated": True, "size": RESULT_LIMIT + 1, "head": '"' + "x" * 1023}
    assert RESULT_LIMIT == 65_536


def test_bytes_are_counted_not_characters_and_no_character_is_cut_in_two():
    cut = storable("é" * RESULT_LIMIT)
    assert cut["truncated"] is True
    assert cut["size"] == 2 * RESULT_LIMIT + 2
    assert cut["head"] == '"' + "é" * 511
    assert storable("é" * (RESULT_LIMIT // 2 - 1)) == "é" * (RESULT_LIMIT // 2 - 1)


def test_what_is_stored_is_always_json():
    for result in (float("nan"), Shy(), "\x00\ud800", "x" * 100_000, {(1, 2): 3}):
        json.dumps(storable(result), allow_nan=False).encode()


@pytest.mark.parametrize(("keep_end", "expected"), [(False, "ab…"), (True, "…bc")])
def test_a_text_is_cut_at_its_limit_and_says_where(monkeypatch, keep_end, expected):
    monkeypatch.setattr("dispatcher.worker.stored_values.TEXT_LIMIT", 2)
    assert storable_text("ab", keep_end=keep_end) == "ab"
    assert storable_text("abc", keep_end=keep_end) == expected
    assert TEXT_LIMIT == 32_768


def test_a_text_has_neither_nul_nor_half_a_surrogate_pair():
    assert storable_text("a\x00\ud800b", keep_end=True) == clean_text("a\x00\ud800b") == "a�?b"
    assert clean_text("日本語 😀") == "日本語 😀"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad\x00"), "ValueError: bad�"),
        (KeyError("x"), "KeyError: 'x'"),
        (Rude(), "Rude"),
        (UnpickleableExceptionWrapper("app", "Odd", ("a", 1), "Odd"), "Odd: a, 1"),
        (UnpickleableExceptionWrapper("app", "Odd", (), "Odd"), "Odd: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_exception_is_told_by_its_name_and_its_message(error, text):
    assert describe_exception(error) == text


def test_a_long_message_keeps_its_beginning(monkeypatch):
    monkeypatch.setattr("dispatcher.worker.stored_values.TEXT_LIMIT", 15)
    assert describe_exception(ValueError("abcdef")) == "ValueError: abc…"
