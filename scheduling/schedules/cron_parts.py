"""The fields of a cron expression: their names, their ranges, the words that stand for values."""

from typing import NamedTuple

FIELD = "cron_expression"  # of ScheduledTask, which every error names
MAX_LENGTH = 256

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class Part(NamedTuple):
    """One field of an expression: its values are `low` to `high`, or three-letter `names`."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()  # the first stands for `low`
    full: tuple[str, ...] = ()  # the same names as people write them

    def short_name(self, word: str) -> str | None:
        """The three letters of a longer name, or of a part of one: TUE for TUES and Tuesdays."""
        word = word.upper().removesuffix(".")
        word = word[:-1] if word.endswith("DAYS") else "WED" if word == "WEDS" else word
        shorts = (full[:3] for full in self.full if len(word) >= 3 and full.startswith(word))
        return next(shorts, None)


SECOND = Part("second", 0, 59)
MINUTE = Part("minute", 0, 59)
HOUR = Part("hour", 0, 23)
DAY = Part("day of month", 1, 31)
_MONTHS = (
    "JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE",
    "JULY", "AUGUST", "SEPTEMBER", "OCTOBER", "NOVEMBER", "DECEMBER",
)  # fmt: skip
_DAYS = ("SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY")
MONTH = Part("month", 1, 12, tuple(name[:3] for name in _MONTHS), _MONTHS)
WEEKDAY = Part("day of week", 0, 7, tuple(name[:3] for name in _DAYS), _DAYS)

#: In the order of an expression without seconds.
FIVE = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)
