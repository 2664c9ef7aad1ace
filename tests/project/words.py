"""What a person reads of a page, for the tests of the translations."""

import re
from html.parser import HTMLParser

ATTRIBUTES = ("title", "aria-label", "placeholder", "alt")


class Visible(HTMLParser):
    """What a person reads of a page: its text, and attributes that are read out."""

    SILENT = ("script", "style", "code", "pre", "datalist", "textarea", "svg")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.SILENT:
            self.silent.append(tag)
        values = dict(attrs)
        self.found += [values[name] or "" for name in ATTRIBUTES if name in values]
        if tag == "input" and values.get("type") in ("submit", "button"):
            self.found.append(values.get("value") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.silent:
            self.silent.remove(tag)

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.found.append(data)


def visible(html: str) -> list[str]:
    parser = Visible()
    parser.feed(html)
    return [" ".join(text.split()) for text in parser.found if text.strip()]


def has_chinese(text: str) -> bool:
    return re.search(r"[\u4e00-\u9fff]", text) is not None
