"""What a refused or doubtful text probably meant, as a value, and the sentence that offers it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: The longest message, in characters.
MESSAGE_LENGTH = 300


def _(template: str) -> str:
    """Marks a template for translation; this layer knows no Django, and translates nothing."""
    return template


_TEXTS = {
    "in_zone": _("%(text)s in the time zone %(timezone)s"),
    "years": _("%(text)s from %(first)s to the end of %(last)s"),
    "interval": _("the kind interval, every %(seconds)s seconds"),
    "offset": _("%(timezone)s (that is UTC%(offset)s)"),
    "or": _("%(most)s or %(last)s"),
    "did_you_mean": _(" Did you mean %(texts)s?"),
}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One thing that a text may have meant, by what it would change in a scheduled task.

    Of `expression` (kind cron) and `interval_seconds` (kind interval) at most one is given.
    `timezone`: the zone that the text itself names, "" where it names none. `years`: the first
    and the last one in which it runs. Alone, `timezone` is a name for the zone that was meant.
    """

    expression: str = ""
    timezone: str = ""
    interval_seconds: int | None = None
    years: tuple[int, int] | None = None

    def in_words(self, translated: Callable[[str], str] = str) -> str:
        """What is offered, in words: `“0 9 * * *” in the time zone Asia/Shanghai`."""
        if self.interval_seconds is not None:
            return translated(_TEXTS["interval"]) % {"seconds": self.interval_seconds}
        if not self.expression:
            return self._zone_in_words(translated)
        text = f"“{self.expression}”"
        if self.timezone:
            text = translated(_TEXTS["in_zone"]) % {"text": text, "timezone": self.timezone}
        if self.years:
            first, last = self.years
            text = translated(_TEXTS["years"]) % {"text": text, "first": first, "last": last}
        return text

    def _zone_in_words(self, translated: Callable[[str], str]) -> str:
        if not self.timezone.startswith("Etc/GMT") or self.timezone[7:8] not in {"+", "-"}:
            return self.timezone
        # These names count the other way round, which nobody expects.
        offset = self.timezone[7:].translate(str.maketrans("+-", "-+"))
        return translated(_TEXTS["offset"]) % {"timezone": self.timezone, "offset": offset}


def offer(
    suggestions: Sequence[Suggestion], room: int, translated: Callable[[str], str] = str
) -> str:
    """The sentence that offers them all; "" where it is longer than `room` characters.

    All or none: who is shown one of two readings takes it for the only one.
    """
    texts = [suggestion.in_words(translated) for suggestion in suggestions]
    if not texts:
        return ""
    joined = texts[0]
    for text in texts[1:]:
        joined = translated(_TEXTS["or"]) % {"most": joined, "last": text}
    sentence = translated(_TEXTS["did_you_mean"]) % {"texts": joined}
    return sentence if len(sentence) <= room else ""
