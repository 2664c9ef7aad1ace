"""The Chinese catalogues are complete and compiled, and nothing goes round them."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from django.template.base import Lexer, TokenType
from django.utils import translation

from dispatcher.reasons import SENTENCES
from project import catalogs
from scheduling.schedules.errors import MESSAGES
from tests.project.words import has_chinese, visible

PLACEHOLDER = re.compile(r"%\((\w+)\)(\d*[a-z])|%%")


def texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [*value]


# The catalogues -----------------------------------------------------------------------------------


@pytest.mark.parametrize("app", catalogs.APPS)
def test_every_string_of_the_code_has_a_translation_and_nothing_else_has(app: str) -> None:
    written = catalogs.read(catalogs.po_path(app))
    marked = {(message.context, message.id) for message in catalogs.extracted(app) if message.id}
    known = {(message.context, message.id) for message in written if message.id}

    assert len(marked) > 100
    assert sorted(map(str, marked - known)) == [], "run `make messages`, and translate these"
    assert sorted(map(str, known - marked)) == [], "run `make messages`: these are used no more"
    assert [message.id for message in catalogs.untranslated(written)] == []
    assert written.obsolete == {}


@pytest.mark.parametrize("app", catalogs.APPS)
def test_the_files_are_what_make_messages_writes(app: str) -> None:
    path = catalogs.po_path(app)
    catalog = catalogs.updated(app)

    assert path.read_bytes() == catalogs.po_text(catalog)
    assert path.with_suffix(".mo").read_bytes() == catalogs.mo_text(catalog)


@pytest.mark.parametrize("app", catalogs.APPS)
def test_a_translation_has_the_placeholders_of_its_string(app: str) -> None:
    wrong = []
    for message in catalogs.read(catalogs.po_path(app)):
        wanted = [{*PLACEHOLDER.findall(text)} for text in texts(message.id)]
        for text in texts(message.string):
            if message.id and {*PLACEHOLDER.findall(text)} not in wanted[-1:]:
                wrong.append((message.id, text))

    assert wrong == []


def test_one_string_has_one_translation_in_both_apps() -> None:
    """Django merges the catalogues: the other one would win on the pages of this one, too."""
    first, second = (catalogs.read(catalogs.po_path(app)) for app in catalogs.APPS)
    both = [(m, second.get(m.id, m.context)) for m in first if m.id]
    both = [(mine, other) for mine, other in both if other is not None]

    assert len(both) > 10
    assert [(m.id, m.string, o.string) for m, o in both if m.string != o.string] == []


@pytest.mark.parametrize("app", catalogs.APPS)
def test_words_that_django_has_are_translated_as_django_does(app: str) -> None:
    """A string that both have is also theirs: on Django's own pages ours would win."""
    theirs = [catalogs.read(path / f"{catalogs.NAME}.mo") for path in catalogs.DJANGO]
    differs = [
        (message.id, message.string, found.string)
        for message in catalogs.read(catalogs.po_path(app))
        for catalog in theirs
        if message.id not in ("", *catalogs.DJANGO_LACKS)  # a later Django may have them
        if (found := catalog.get(message.id, message.context)) is not None
        if texts(message.string) != texts(found.string)
    ]

    assert differs == []


def test_every_error_and_every_reason_is_in_the_catalogues() -> None:
    with translation.override("zh-hans"):
        said = [translation.gettext(text) for text in MESSAGES.values()]
        reasons = [str(text) for text in SENTENCES.values()]

    assert len(said) > 30
    assert [text for text in said + reasons if not has_chinese(text)] == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.py", 'def f():\n    return _("Never " "seen")\n'),
        ("page.html", '{% if a %}\n    {% translate "Never seen" %}\n  {% endif %}\n'),
        ("page.html", "{% blocktranslate trimmed %}\n  Never\n  seen{% endblocktranslate %}"),
        ("page.html", '{{ value|default:_("Never seen") }}'),
    ],
)
def test_a_string_that_nobody_translated_would_be_found(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "scheduling" / name
    source.parent.mkdir()
    source.write_text(text)
    monkeypatch.setattr(catalogs, "ROOT", tmp_path)

    found = [message.id for message in catalogs.extracted("scheduling") if message.id]
    assert {*found} - {*catalogs.DJANGO_LACKS} == {"Never seen"}


# What is not marked for translation ---------------------------------------------------------------

#: Words that are names, or the same in every language.
NAMES = re.compile(r"\b(UTC|Minutehand|Celery|JSON|pid|KiB)\b")


def templates() -> list[Any]:
    found = [path for app in catalogs.APPS for path in catalogs.sources(app)]
    return [path for path in found if path.suffix in (".html", ".txt")]


def unmarked(source: str) -> list[str]:
    """The words of a template that it shows as they are."""
    kept, inside = [], ""
    for token in Lexer(source).tokenize():
        if token.token_type is TokenType.TEXT:
            kept.append("" if inside else token.contents)
        elif token.token_type is TokenType.BLOCK:
            name = token.contents.split()[0]
            if name in ("blocktranslate", "comment") or token.contents == "block bodyclass":
                inside = name
            elif name == f"end{inside}":
                inside = ""
            kept.append(" ")
        else:
            kept.append(" ")
    texts = (NAMES.sub("", text) for text in visible("".join(kept)))
    return [text for text in texts if re.search(r"[A-Za-z]{3}", text)]


@pytest.mark.parametrize("path", templates(), ids=lambda path: path.name)
def test_a_template_has_no_words_outside_the_tags_for_translation(path: Any) -> None:
    assert unmarked(path.read_text()) == []


def test_words_outside_the_tags_are_seen() -> None:
    assert unmarked(
        '<p>Some words {{ x }}</p><a title="Other words">{% translate "Yes" %}</a>'
    ) == [
        "Some words",
        "Other words",
    ]


def test_the_scripts_make_no_sentences() -> None:
    """What they say comes from the page, in data attributes."""
    for path in [path for app in catalogs.APPS for path in (catalogs.ROOT / app).rglob("*.js")]:
        code = re.sub(r"//.*|/\*.*?\*/", "", path.read_text())
        strings = re.findall(r"\"([^\"\n]*)\"|'([^'\n]*)'", code)
        assert [s for pair in strings for s in pair if re.search(r"[A-Z][a-z]+ [a-z]+ ", s)] == []


def test_a_text_that_is_put_together_is_marked() -> None:
    """No f-string inside a mark: it would be looked up with its values in it."""
    marks = ("_", "gettext", "gettext_lazy", "ngettext", "pgettext", "pgettext_lazy")
    wrong = []
    for path in [p for app in catalogs.APPS for p in catalogs.sources(app) if p.suffix == ".py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in marks:
                wrong += [
                    f"{path}:{node.lineno}"
                    for part in node.args[:2]
                    if isinstance(part, ast.JoinedStr | ast.BinOp)
                ]
    assert wrong == []
