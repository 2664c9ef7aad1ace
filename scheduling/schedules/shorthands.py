"""Short forms of other schedulers: `@every 1h30m`, `rate(5 minutes)`, `daily`."""

import re
from fractions import Fraction

#: Words without fields, and the expressions that they may mean.
WORDS = {
    "minutely": ("* * * * *",),
    "hourly": ("0 * * * *",),
    "daily": ("0 0 * * *",),
    "midnight": ("0 0 * * *",),
    "weekly": ("0 0 * * MON", "0 0 * * SUN"),  # of systemd, and as cron's @weekly
    "monthly": ("0 0 1 * *",),
    "quarterly": ("0 0 1 1,4,7,10 *",),
    "semiannually": ("0 0 1 1,7 *",),
    "yearly": ("0 0 1 1 *",),
    "annually": ("0 0 1 1 *",),
    "@minutely": ("* * * * *",),
    "@every_minute": ("* * * * *",),
    "@secondly": ("* * * * * *",),
    "@every_second": ("* * * * * *",),
    "@quarterly": ("0 0 1 1,4,7,10 *",),
}

_UNITS = {
    "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1,
    "m": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hr": 3600, "hrs": 3600, "hour": 3600, "hours": 3600,
    "d": 86_400, "day": 86_400, "days": 86_400,
    "w": 604_800, "week": 604_800, "weeks": 604_800,
}  # fmt: skip
_RATE = re.compile(r"(?:@every\s+|every\s+|rate\s*\(\s*)(.{1,40}?)\s*\)?", re.I)
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]+)\s*")
_LONGEST = 3650 * 86_400  # of an interval


def interval_of(text: str) -> int | None:
    """The seconds of a text that says “every so long”; None for any other text."""
    match = _RATE.fullmatch(text.strip())
    return _seconds(match[1].lower()) if match else None


def _seconds(text: str) -> int | None:
    if text in _UNITS:
        text = f"1 {text}"  # every hour
    total = Fraction(0)
    while text:
        part = _PART.match(text)
        if part is None or part[2] not in _UNITS:
            return None
        total += Fraction(part[1]) * _UNITS[part[2]]
        text = text[part.end() :]
    return int(total) if total.denominator == 1 and 1 <= total <= _LONGEST else None
