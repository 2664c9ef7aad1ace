"""Which zone of the IANA database a name means that is none of it: `zones_meant("Shanghai")`.

Names that Windows and Rails use, cities, other spellings, offsets. Where a name may mean several
zones, all of them are told; where that is anybody's guess, none.
"""

import re
from functools import cache
from zoneinfo import available_timezones

from scheduling.schedules.plain_text import plain
from scheduling.schedules.zone_aliases import CITIES, WINDOWS

# Read at import: the first call walks the zone database (about 30 ms), and a refusal must be quick.
# `localtime` and `Factory` are listed where the system ships them, and mean the machine, not a
# place.
NAMES = frozenset(
    name
    for name in available_timezones()
    if name not in {"localtime", "Factory", "posixrules"}
    and not name.startswith(("right/", "posix/"))
)

_LONGEST = 64
_MOST = 3
_OFFSET = re.compile(r"(?:utc|gmt)?([+-])(\d{1,2})(?::?(\d\d))?")
_PLACES = ("Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian",
           "Pacific")  # fmt: skip


def zones_meant(name: object) -> tuple[str, ...]:
    """The zones that a name may mean, the likeliest first; itself alone, if it is one."""
    if not isinstance(name, str) or len(name) > _LONGEST:
        return ()
    name = name if name in NAMES else plain(name)
    alike = name if name in NAMES else _by_case().get(name.strip().lower())
    if alike:
        return (alike,)
    wanted = _folded(name)
    found = _by_spelling().get(wanted) or _of_offset(name) or _named_elsewhere(wanted)
    return (found,) if found else _by_city(wanted)


def _folded(name: str) -> str:
    """As names are compared: case, spaces, dots and underscores count for nothing."""
    return re.sub(r"[\s_.,-]+", "", name.replace("\\", "/")).lower()


@cache
def _by_case() -> dict[str, str]:
    return {name.lower(): name for name in sorted(NAMES)}


@cache
def _by_spelling() -> dict[str, str]:
    return {_folded(name): name for name in sorted(NAMES) if not name.startswith("Etc/GMT")}


@cache
def _elsewhere() -> dict[str, str]:
    """Names of Windows, Rails and of cities. Those of Windows also for their summer time."""
    names = {_folded(name): zone for name, zone in CITIES.items()}
    for name, zone in WINDOWS.items():
        for season in (" Standard", " Daylight", " Summer", ""):
            names.setdefault(_folded(name + season + " Time"), zone)
    return {name: zone for name, zone in names.items() if zone in NAMES}


def _named_elsewhere(wanted: str) -> str | None:
    place, slash, city = wanted.rpartition("/")
    if slash and place not in {_folded(known) for known in _PLACES}:
        return None
    return _elsewhere().get(city)


def _of_offset(name: str) -> str | None:
    """`UTC+8` is `Etc/GMT-8`: the names of that family count the other way round."""
    match = _OFFSET.fullmatch(re.sub(r"\s", "", name).lower())
    if name.strip().lower() == "z":
        return "UTC"
    if not match or int(match[3] or 0):
        return None  # no zone of the database is an offset with minutes
    hours = int(match[2])
    if not hours:
        return "UTC"
    zone = f"Etc/GMT{'-' if match[1] == '+' else '+'}{hours}"
    return zone if zone in NAMES else None


@cache
def _cities() -> dict[str, tuple[str, ...]]:
    """The zones by the last part of their names; of several the ones in a part of the world."""
    cities: dict[str, set[str]] = {}
    for name in NAMES:
        place, _, city = name.rpartition("/")
        if place.partition("/")[0] in _PLACES:
            cities.setdefault(_folded(city), set()).add(name)
    return {city: _canonical(names) for city, names in cities.items()}


def _canonical(names: set[str]) -> tuple[str, ...]:
    """Of America/Louisville and America/Kentucky/Louisville the longer; the other is older."""
    longest = {name.partition("/")[0]: name for name in sorted(names, key=len)}
    return tuple(sorted(longest.values()))


def _by_city(wanted: str) -> tuple[str, ...]:
    place, _, city = wanted.rpartition("/")
    found = _cities().get(city, ()) if not place or place in map(_folded, _PLACES) else ()
    return found if len(found) <= _MOST else ()
