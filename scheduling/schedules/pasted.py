"""A cron expression and what was pasted with it: `unwrapped(text)` takes the two apart.

Characters that only look like those of cron become plain ones, spaces within a field go, and
quotes, `cron(…)`, `TZ=…`, a zone, a command and a comment are set aside.
"""

import re
from typing import NamedTuple

from scheduling.schedules.cron_parts import ALIASES, MONTH, WEEKDAY
from scheduling.schedules.plain_text import plain
from scheduling.schedules.shorthands import WORDS
from scheduling.schedules.zone_names import zones_meant

#: Longer texts are not looked at: it bounds the work for a refusal.
LONGEST = 1000

_QUOTES = "\"'`“”‘’«»„"
_KEY = re.compile(r"-?\s*(?:cron|crontab|schedule|cron_expression|expression)\s*[:=]\s*(?=.)", re.I)
_CALL = re.compile(r"(cron|schedule)\s*\(\s*(.*?)\s*\)", re.I)
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)=(\S*)\s+")

# One token of an expression, also of other crons: numbers, stars, names, L, W, H and their joins.
_PIECE = r"(?:[0-9]{1,4}L?W?|\*+|\?|L[W0-7]?|[HR]|[A-Za-z]{3,10})"
_TOKEN = re.compile(rf"[-,/]*{_PIECE}(?:[-,/#]+{_PIECE})*[-,/]*|[-,/]+")
_WORD = re.compile(r"[A-Za-z]{3,}")
_PATH = re.compile(r"(~|\.{1,2})?/\S|\S+\.\w+$|\$")


class Pasted(NamedTuple):
    """`texts`: readings of the bare expression, its fields parted by single spaces, the likeliest
    first. `zone`: the zone that was named; None where what was named is no zone. `found`: the
    code of a message about what was pasted with it, and `echo` that text.
    """

    texts: tuple[str, ...]
    zone: str | None = ""
    found: str = ""
    echo: str = ""
    aws: bool = False


def unwrapped(text: str) -> Pasted:
    """The expression in a pasted text, and what else is in it."""
    line = _one_line(plain(text))
    bare, around = _bare(line), Pasted(())
    if bare != line:
        around = Pasted((), found="wrapped", echo=line.replace(bare, "…"))
    bare, around = _without_settings(bare, around)
    if call := _CALL.fullmatch(bare):
        bare = call[2].strip(_QUOTES)
        around = around._replace(aws=call[1].lower() == "cron")
        if not around.zone:
            around = around._replace(found="wrapped", echo=f"{call[1]}(…)")
    return _fields_of(bare, around)


def _bare(line: str) -> str:
    """The line without quotes around it, without `cron:` before it and a comma after them."""
    line = line.rstrip(";") if line[-2:-1] not in _QUOTES else line.rstrip(";,")
    line = line.strip(_QUOTES).strip()
    return _KEY.sub("", line, count=1).strip(_QUOTES).strip() or line


def _fields_of(line: str, around: Pasted) -> Pasted:
    """The fields at the beginning of a line, and what follows them."""
    head, tail = _head_and_tail(line)
    texts = _joined(head)
    if tail and texts:
        code, zone = _what_is(tail)
        if code == "comment" and (nth := re.fullmatch(r"#\s*([1-5])", tail)):
            texts = (*(f"{text}#{nth[1]}" for text in texts), *texts)
        around = around._replace(found=code, echo=tail, zone=zone or around.zone)
    elif not around.found and texts and len(texts[0].split()) < len(head):
        around = around._replace(found="space_in_field")
    return around._replace(texts=texts if around.found or not tail else ())


def _one_line(text: str) -> str:
    """Of several lines the only one that is no comment and no assignment, after the zone's."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("#")] or lines
    setting = [line for line in lines if re.fullmatch(r"[A-Za-z_]\w*=.*", line)]
    rules = [line for line in lines if line not in setting]
    zones = [line for line in setting if line.upper().startswith(("TZ=", "CRON_TZ="))]
    whole = " ".join(rules)
    if len(rules) > 1 and len(_head_and_tail(whole)[0]) > 6:
        return ""  # several schedules
    return " ".join((*zones, whole))


def _without_settings(line: str, around: Pasted) -> tuple[str, Pasted]:
    """The line without `TZ=…` and other settings before it, and the zone among them."""
    while assigned := _ASSIGNED.match(line):
        if assigned[1].upper() in {"TZ", "CRON_TZ"}:
            name = assigned[2].strip(_QUOTES).removeprefix(":")
            around = around._replace(found="zone_inside", echo=name, zone=_zone_of(name))
        line = line[assigned.end() :]
    return line.strip(_QUOTES), around


def _zone_of(text: str) -> str | None:
    """The zone of that name or of what was meant by it; None where that is not certain."""
    if re.search(r"[0-9]", text):  # TZ=GMT+8 is west of Greenwich in POSIX and east for people
        return text if zones_meant(text) == (text,) else None
    zones = zones_meant(text)
    return zones[0] if len(zones) == 1 else None


# Fields, and what follows them --------------------------------------------------------------------


def _head_and_tail(line: str) -> tuple[list[str], str]:
    """The tokens that may belong to an expression, and the text after the last of them."""
    word, _, rest = line.partition(" ")
    if word.lower() in ALIASES or word.lower() in WORDS:
        return [word.lower()], rest.strip()
    head: list[str] = []
    rest = line
    while rest:
        token, _, after = rest.partition(" ")
        if not _is_token(token):
            break
        head.append(token)
        rest = after.lstrip()
    return head, rest


def _is_token(token: str) -> bool:
    if not _TOKEN.fullmatch(token):
        return False
    return all(_is_name(word[0]) for word in _WORD.finditer(token))


def _is_name(word: str) -> bool:
    bare = word[:-1] if len(word) == 4 and word[-1:] in "lL" else word
    return any(part.short_name(name) for part in (MONTH, WEEKDAY) for name in (word, bare))


def _what_is(tail: str) -> tuple[str, str | None]:
    """The code of what follows the fields, and the zone that it names; "" where it is unclear."""
    if tail.startswith("#"):
        return "comment", ""
    bare = tail.strip("()[]" + _QUOTES)
    bare = re.sub(r"(?i)^(cron_)?tz\s*[=:]\s*", "", bare)
    if zone := _zone_of(bare):
        return "zone_inside", zone
    words = tail.split()
    is_command = any(_PATH.match(word) for word in words)
    if is_command or (len(words) > 1 and re.match(r"[a-z_]{2}", tail)):
        return "command", ""
    return "", None


def _joined(head: list[str]) -> tuple[str, ...]:
    """The fields with the spaces inside of them gone. A comma at the end of a token is a list that
    goes on, unless too few fields would remain: then it is one too many."""
    if len(head) == 1 and (head[0] in ALIASES or head[0] in WORDS):
        return (head[0],)
    line = re.sub(r"\*{2,}", lambda stars: " ".join(stars[0]), " ".join(head))
    line = re.sub(r"(?<=[0-9A-Za-z])\s*-\s*(?=[0-9A-Za-z])", "-", line)
    line = re.sub(r"(?<=[0-9A-Za-z*?])\s*/\s*(?=[0-9])", "/", line)
    listed = re.sub(r"(?<=[0-9A-Za-z])\s*,[\s,]*(?=[0-9A-Za-z])", ",", line)
    for text in (listed, line):
        fields = [re.sub(r",+", ",", field.strip(",")) for field in text.split()]
        fields = [field for field in fields if field]
        if 5 <= len(fields) <= 7:
            return (" ".join(fields).upper(),)
    return ()
