"""What a copy of a row remembers of the stored one, so that `save()` writes only what it changed.

Others may have changed the row since the copy was read: what the copy did not touch is not written.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from scheduling.validation import DECIDING, JSON, OTHERS, is_same, snapshot


def remembered(
    loaded: Mapping[str, Any], before: Mapping[str, Any], names: Iterable[str] | None
) -> dict[str, Any]:
    """The stored values by column, after the columns `names` (None: all that people set) were read
    or written: as `loaded` has them. A deferred column has none."""
    kept = {} if names is None else {**before}
    names = (*DECIDING, *OTHERS) if names is None else names
    stored = kept | {name: loaded[name] for name in names if name in loaded}
    for name in JSON & stored.keys():
        stored[name] = snapshot(stored[name])
    return stored


def is_changed(stored: Mapping[str, Any] | None, loaded: Mapping[str, Any], name: str) -> bool:
    """Whether a copy that has the values `loaded` changed this column; True if nobody knows."""
    if name not in loaded:  # deferred, and not looked at
        return False
    if stored is None or name not in stored:
        return True
    return not is_same(stored[name], loaded[name])
