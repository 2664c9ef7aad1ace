"""Secrets among the arguments of a task: hidden wherever people look, kept when they save.

A value is a secret by the name of its key, at any depth. Pure: no database.
"""

import json
from collections.abc import Collection
from itertools import zip_longest
from typing import Any

from django.utils.translation import gettext as _

MASK = "••••••••"

#: A key is secret when its name, without case and punctuation, contains one of these. Rather too
#: many than too few: what is hidden by mistake still runs as it is.
SECRET_WORDS = (
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "authorization",
    "credential",
)


#: Levels that are looked at: more than `sendable` lets in, and far from what Python can do.
DEEPEST = 100

#: A shorter text may be part of any word.
SHORTEST_SECRET = 4


class Unrestorable(ValueError):
    """A mask came back for a value that is not there: `key` says where."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"The value of {key} is masked and cannot be restored: give it anew.")

    @property
    def sentence(self) -> str:
        """What a person is told, in their language."""
        return _("The value of “%(key)s” was hidden. Give it anew.") % {"key": self.key}


def is_secret(key: object) -> bool:
    name = "".join(c for c in str(key).lower() if c.isalnum())
    return any(word in name for word in SECRET_WORDS)


def masked(value: Any, depth: int = 0) -> Any:
    """A copy of a JSON value in which `MASK` stands for every secret. Empty ones stay empty.

    It also stands for what lies deeper than arguments may: an old row must not fail a page.
    """
    if depth > DEEPEST and isinstance(value, (dict, list, tuple)):
        return MASK
    if isinstance(value, dict):
        return {key: _masked_item(key, item, depth) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(item, depth + 1) for item in value]
    return value


def _masked_item(key: object, item: Any, depth: int) -> Any:
    hidden = is_secret(key) and item not in (None, "", [], {})
    return MASK if hidden else masked(item, depth + 1)


def restored(value: Any, stored: Any, depth: int = 0) -> Any:
    """The inverse for a value that a person edited: each mask becomes what `stored` has there.

    Raises `Unrestorable` where `stored` has nothing at that place. What is deeper than arguments
    may be stays as it is, and is refused by who validates it.
    """
    if depth > DEEPEST:
        return value
    if isinstance(value, dict):
        old = stored if isinstance(stored, dict) else {}
        return {key: _restored_item(key, item, old, depth) for key, item in value.items()}
    if isinstance(value, list):
        olds = stored if isinstance(stored, list) else []
        pairs = zip_longest(value, olds[: len(value)])
        return [restored(item, old, depth + 1) for item, old in pairs]
    return value


def _restored_item(key: str, item: Any, old: dict[str, Any], depth: int) -> Any:
    if not (is_secret(key) and item == MASK):
        return restored(item, old.get(key), depth + 1)
    if key not in old:
        raise Unrestorable(key)
    return old[key]


def secrets_of(value: Any) -> frozenset[str]:
    """The texts that stand for the secrets of a JSON value, as they are and as they are quoted."""
    secrets: set[str] = set()
    _collect(value, False, secrets)
    return frozenset(text for text in secrets if len(text) >= SHORTEST_SECRET)


def _collect(value: Any, secret: bool, secrets: set[str]) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _collect(item, secret or is_secret(key), secrets)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _collect(item, secret, secrets)
    elif secret and value is not None and not isinstance(value, bool):
        text = str(value)
        secrets.update((text, repr(text)[1:-1], json.dumps(text)[1:-1]))


def without(secrets: Collection[str], text: str) -> str:
    """The text with `MASK` in place of each of the secrets, the longest first."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
