"""Secrets are hidden wherever they lie, and come back when a person saves."""

import pytest

from scheduling.masking import MASK, Unrestorable, is_secret, masked, restored


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "DB_PASSWORD",
        "apiKey",
        "api-key",
        "accessToken",
        "Authorization",
        "clientSecret",
    ],
)
def test_a_key_is_secret_in_any_spelling(key):
    assert is_secret(key)


@pytest.mark.parametrize("key", ["region", "key", "author", "passenger", "", "pages"])
def test_other_keys_are_not(key):
    assert not is_secret(key)


def test_secrets_are_masked_at_any_depth_and_whatever_their_shape():
    value = {"a": [{"token": ["x", "y"], "b": 1}], "secret": {"c": 2}, "pin_password": 1234}
    assert masked(value) == {
        "a": [{"token": MASK, "b": 1}],
        "secret": MASK,
        "pin_password": MASK,
    }


def test_masking_copies():
    value = {"password": "hunter2"}
    masked(value)
    assert value == {"password": "hunter2"}


@pytest.mark.parametrize("empty", [None, "", [], {}])
def test_nothing_is_not_a_secret(empty):
    assert masked({"password": empty}) == {"password": empty}


def test_zero_and_false_are_secrets():
    assert masked({"secret": 0, "token": False}) == {"secret": MASK, "token": MASK}


def test_what_is_not_json_is_left_alone():
    assert masked(None) is None
    assert masked("password") == "password"


def test_a_mask_is_restored_and_a_new_value_wins():
    stored = {"a": [{"token": "x"}], "password": "old", "b": 1}
    typed = {"a": [{"token": MASK}], "password": "new", "b": 2}
    assert restored(typed, stored) == {"a": [{"token": "x"}], "password": "new", "b": 2}


def test_masking_and_restoring_gives_the_value_back():
    stored = {"a": [{"token": "x", "n": [1, 2]}], "secret": {"deep": True}, "plain": None}
    assert restored(masked(stored), stored) == stored


@pytest.mark.parametrize("stored", [{}, None, [], {"password": []}])
def test_a_mask_over_nothing_cannot_be_restored(stored):
    with pytest.raises(Unrestorable) as caught:
        restored({"list": [{"password": MASK}]}, stored)
    assert caught.value.key == "password"
