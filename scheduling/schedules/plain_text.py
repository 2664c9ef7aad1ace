"""Text as it was meant: `plain(text)` has plain characters in place of their doubles."""

import re
import unicodedata

_LIKE_HYPHENS = dict.fromkeys(map(ord, "‐‑‒–—―−﹣"), "-")
_LIKE_OTHERS = dict(zip(map(ord, "∗⁎✱、⁄∕"), "***,//", strict=True))
_ESCAPED = re.compile(r"\\([*#?/,-])")


def plain(text: str) -> str:
    """The text without full-width and invisible characters, odd hyphens and odd spaces."""
    text = unicodedata.normalize("NFKC", text).translate(_LIKE_HYPHENS | _LIKE_OTHERS)
    shown = (c for c in text if unicodedata.category(c) not in {"Cf", "Mn"})
    digits = (str(unicodedata.decimal(c)) if c.isdecimal() else c for c in shown)
    spaced = (" " if c.isspace() and c not in "\r\n" else c for c in digits)
    return _ESCAPED.sub(r"\1", "".join(spaced)).strip()
