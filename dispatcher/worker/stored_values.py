"""What of a task's result, exception and traceback can be stored."""

import json
import math
from typing import Any

from celery.utils.serialization import UnpickleableExceptionWrapper

#: A result above this many bytes of JSON is cut.
RESULT_LIMIT = 64 * 1024
#: An exception and a traceback are cut to this many characters; of a traceback the end is kept.
TEXT_LIMIT = 32 * 1024


def storable(result: Any) -> Any:
    """The result as JSON that every database takes.

    What is not JSON becomes `{"repr": text}`; what is above 64 KiB becomes
    `{"truncated": true, "size": bytes, "head": text}`.
    """
    try:
        cleaned = _clean(json.loads(json.dumps(result)))
    except Exception:  # also what a __repr__ or a dict subclass of the user raises
        cleaned = {"repr": _text_of(result)}
    text = json.dumps(cleaned, ensure_ascii=False)
    size = len(text.encode())
    if size <= RESULT_LIMIT:
        return cleaned
    return {"truncated": True, "size": size, "head": text.encode()[:1024].decode(errors="ignore")}


def storable_text(text: str, *, keep_end: bool = False) -> str:
    """The text without NUL and lone surrogates, and not too long."""
    cleaned = clean_text(text)
    if len(cleaned) <= TEXT_LIMIT:
        return cleaned
    return "…" + cleaned[-TEXT_LIMIT:] if keep_end else cleaned[:TEXT_LIMIT] + "…"


def clean_text(text: str) -> str:
    """The text without NUL and lone surrogates, which no database takes."""
    return text.replace("\x00", "�").encode(errors="replace").decode()


def describe_exception(error: BaseException) -> str:
    """`ValueError: message`, storable."""
    name = type(error).__name__
    try:
        if isinstance(error, UnpickleableExceptionWrapper):  # as Celery sends what it cannot pickle
            text = ", ".join(map(str, error.exc_args or ()))
            return storable_text(f"{error.exc_cls_name}: {text}")
        return storable_text(f"{name}: {error}")
    except Exception:
        return name


def _text_of(value: Any) -> str:
    try:
        return storable_text(repr(value))
    except Exception:
        return f"<{type(value).__name__} whose repr fails>"


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value
