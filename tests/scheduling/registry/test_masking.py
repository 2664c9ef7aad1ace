"""Secrets are hidden wherever they lie, and come back when a person saves."""

import json

import pytest

from scheduling.registry.masking import (
    MASK,
    Unrestorable,
    is_secret,
    masked,
    restored,
    secrets_of,
    without,
)


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
        "passwd",
        "ssh_passphrase",
        "userPwd",
        "AWS Access-Key",
        "private.key",
        "Proxy-Authorization",
        "credentials",
        "API_KEY",
        "X-Auth-Token",
    ],
)
def test_a_key_is_secret_in_any_spelling(key):
    assert is_secret(key)


@pytest.mark.parametrize("key", ["region", "key", "author", "passenger", "", "pages", 1, None])
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


def test_the_items_of_a_tuple_are_masked_too():
    value = {"pairs": (("a", {"token": "x"}), ({"pwd": "y"},)), "n": (1, 2)}
    assert masked(value) == {"pairs": [["a", {"token": MASK}], [{"pwd": MASK}]], "n": [1, 2]}


def test_a_plain_value_is_shown_as_it_is():
    assert masked({"a": [1, 2.5, None, True, "x"]}) == {"a": [1, 2.5, None, True, "x"]}


def test_an_empty_secret_stays_empty_at_any_depth():
    value = [{"a": {"password": "", "token": None, "secret": [], "pwd": {}}}]
    assert masked(value) == value
    assert restored(masked(value), value) == value


def test_each_place_of_a_list_gets_its_own_value_back():
    stored = [{"token": "first"}, {"token": "second"}, [{"token": "third"}]]
    assert restored(masked(stored), stored) == stored
    assert restored([{"token": MASK}, {"token": "new"}], stored) == [
        {"token": "first"},
        {"token": "new"},
    ]


def test_a_mask_one_place_after_the_last_cannot_be_restored():
    with pytest.raises(Unrestorable):
        restored([{"token": MASK}, {"token": MASK}], [{"token": "x"}])


def test_a_mask_under_another_key_cannot_be_restored():
    with pytest.raises(Unrestorable, match="new_token is masked") as caught:
        restored({"new_token": MASK}, {"token": "x"})
    assert caught.value.key == "new_token"


def test_a_mask_where_nothing_is_hidden_is_what_was_typed():
    assert restored({"note": MASK, "list": [MASK]}, {"note": "x", "list": ["y"]}) == {
        "note": MASK,
        "list": [MASK],
    }


def test_a_secret_that_was_nothing_is_restored_as_nothing():
    assert restored({"token": MASK}, {"token": None}) == {"token": None}


def test_a_secret_with_a_shape_of_its_own_can_be_typed_anew():
    stored = {"secret": {"password": "old", "user": "a"}}
    typed = {"secret": {"password": MASK, "user": "b"}}
    assert restored(typed, stored) == {"secret": {"password": "old", "user": "b"}}


# Texts that may hold them ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        ({"password": "hunter2", "user": "jane.doe"}, {"hunter2"}),
        ([["x"], {"a": [{"api_key": "12345"}]}], {"12345"}),
        ({"a": ({"token": "in a tuple"},)}, {"in a tuple"}),
        # all that lies below a secret key
        ({"credentials": {"user": "jane", "list": ["first", ("second",)]}},
         {"jane", "first", "second"}),
        ({"secret": 123456, "token": 12.25}, {"123456", "12.25"}),
        ({"secret": True, "token": None, "pwd": ""}, set()),
        ("hunter2", set()),
        (["hunter2"], set()),
        # one letter less would be part of any word
        ({"password": "abcd", "token": "abc"}, {"abcd"}),
    ],
)  # fmt: skip
def test_the_secrets_are_what_lies_below_a_secret_key(value, secrets):
    assert secrets_of(value) == secrets


@pytest.mark.parametrize(
    "secret", ['say "no"', "it's", "back\\slash", "line\nbreak", "tab\there", "üñí周", "a\x00b!"]
)
def test_a_secret_is_found_in_a_text_however_it_is_quoted(secret):
    secrets = secrets_of({"password": secret})
    for text in (secret, repr(secret), json.dumps(secret), json.dumps(secret, ensure_ascii=False)):
        assert without(secrets, f"login: {text}.") in {
            f"login: {MASK}.",
            f"login: '{MASK}'.",
            f'login: "{MASK}".',
        }


def test_a_secret_within_a_longer_one_leaves_nothing_of_it():
    secrets = {"pass", "password-1", "password"}
    for _ in range(3):
        assert without(secrets, "password-1 password pass") == f"{MASK} {MASK} {MASK}"
    assert without(sorted(secrets), "password-1") == MASK
    assert without(sorted(secrets, reverse=True), "password-1") == MASK


def test_every_occurrence_of_every_secret_is_hidden_and_nothing_else():
    assert without({"hunter2", "12345"}, "hunter2, 12345 and hunter2; hunter") == (
        f"{MASK}, {MASK} and {MASK}; hunter"
    )
    assert without([], "hunter2") == "hunter2"


def test_the_mask_says_nothing_about_the_length_of_what_it_hides():
    assert masked({"password": "x"}) == masked({"password": "x" * 100})
