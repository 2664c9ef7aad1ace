"""The translations: `make messages` brings each catalogue in step with the code, and compiles it.

Whoever adds a string to code or templates runs it, writes the translation into the `.po` that it
names, and runs it again. Both files are committed: a wheel and `make run` know no gettext tools.

Why not Django's `makemessages`: it needs the programs of GNU gettext, so that neither it nor the
test that nothing is untranslated would run on a fresh machine. It also guesses: a new string gets
the translation of the most similar one. Here it gets one only where the very same string has one,
in the other app or in Django.
"""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parent.parent
APPS = ("scheduling", "dispatcher")
LOCALE = "zh_Hans"

_DJANGO = Path(django.__file__).parent
#: Where Django has words of its own, in whose tone ours are.
DJANGO = (_DJANGO / "contrib/admin", _DJANGO / "contrib/auth", _DJANGO / "conf")

#: What Django's pages say that its own Chinese catalogue does not (5.2): said in ours.
DJANGO_LACKS = (
    "Add link",
    "After you’ve created a user, you’ll be able to edit more user options.",
    "Change or view list link",
    "Error:",
    "Forgotten your login credentials?",
    "Model name",
)

KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}

#: The file of the translations of an app, without its suffix.
NAME = f"locale/{LOCALE}/LC_MESSAGES/django"


class Translations(Catalog):
    """A catalogue whose header changes only with its language: no dates, and no versions."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        return [
            ("Language", LOCALE),
            ("Plural-Forms", self.plural_forms),
            ("Content-Type", "text/plain; charset=utf-8"),
        ]


def po_path(app: str) -> Path:
    return ROOT / app / f"{NAME}.po"


def sources(app: str) -> Iterator[Path]:
    """The files of the app that may hold strings for people."""
    for suffix in ("py", "html", "txt"):
        for path in sorted((ROOT / app).rglob(f"*.{suffix}")):
            if "migrations" not in path.parts:
                yield path


def extracted(app: str) -> Catalog:
    """Every string that the app marks for translation, untranslated."""
    found = Catalog(locale=LOCALE)
    for path in sources(app):
        text = path.read_text()
        if path.suffix != ".py":
            text = _as_python(text)
        place = [(str(path.relative_to(ROOT)), 1)]
        for _line, message, _comments, context in extract(
            "python", io.BytesIO(text.encode()), keywords=KEYWORDS
        ):
            found.add(message, locations=place, context=context)
    for text in DJANGO_LACKS if app == APPS[0] else ():
        found.add(text, locations=[("django.contrib.admin", 1)])
    return found


def _as_python(text: str) -> str:
    """A template as Django shows it to gettext; without the indentation, which is none."""
    return "\n".join(line.lstrip() for line in templatize(text).splitlines())


def read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_mo(file) if path.suffix == ".mo" else read_po(file, locale=LOCALE)


def updated(app: str) -> Catalog:
    """The strings of the code with the translations that are known; no others."""
    old = read(po_path(app))
    known = [old, *(read(po_path(other)) for other in APPS if other != app)]
    known += [read(path / f"{NAME}.mo") for path in DJANGO]
    fresh = Translations(locale=LOCALE, header_comment=old.header_comment, fuzzy=False)
    for message in extracted(app):
        if message.id:
            text = next(filter(None, (_translation(message, c) for c in known)), "")
            fresh.add(message.id, text, locations=message.locations, context=message.context)
    return fresh


def _translation(message: Message, catalog: Catalog) -> Any:
    """What the catalogue has for it; the plural of Chinese has one form, a tuple of one text."""
    found = catalog.get(message.id, message.context)
    if found is None or not is_translated(found) or found.pluralizable != message.pluralizable:
        return ""
    return found.string


def is_translated(message: Message) -> bool:
    texts = message.string if isinstance(message.string, tuple | list) else (message.string,)
    return not message.fuzzy and all(texts)


def untranslated(catalog: Catalog) -> list[Message]:
    return [message for message in catalog if message.id and not is_translated(message)]


def po_text(catalog: Catalog) -> bytes:
    """The `.po`: by file, without line numbers, so that a change of the code is no change here."""
    buffer = io.BytesIO()
    write_po(buffer, catalog, width=100, sort_by_file=True, include_lineno=False)
    return buffer.getvalue()


def mo_text(catalog: Catalog) -> bytes:
    buffer = io.BytesIO()
    write_mo(buffer, catalog)
    return buffer.getvalue()


def main() -> int:
    """Write both files of each app; say what has no translation yet, and end with 1 if any."""
    missing = 0
    catalogs = {app: updated(app) for app in APPS}  # read all before any is written
    for app, catalog in catalogs.items():
        path = po_path(app)
        path.write_bytes(po_text(catalog))
        path.with_suffix(".mo").write_bytes(mo_text(catalog))
        rest = untranslated(catalog)
        missing += len(rest)
        print(f"{path.relative_to(ROOT)}: {len(catalog)} strings, {len(rest)} untranslated")
        for message in rest:
            print(f"  {message.id}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
