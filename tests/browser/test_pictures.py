"""The pictures of the documentation. `make screenshots` takes them anew; without it the same steps
are done, and what is there has to be what the pages refer to."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser import board, shop
from tests.browser.addresses import RUNS, TASKS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [DOCS.parent / "README.md", *DOCS.glob("*.md")]
WIDTH = 1280
#: Nobody waits for a picture.
MOST_BYTES = 160_000

Where = Callable[[board.Board], str]
#: By name of the picture: its address, the part with which it begins (the top of the page where
#: there is none) and the part with which it ends.
PICTURES: dict[str, tuple[Where, str, str]] = {
    "overview": (lambda rows: f"{RUNS}overview/", "", "#content-main"),
    "scheduled-tasks": (lambda rows: TASKS, "", "#result_list tbody tr:nth-child(8)"),
    "form": (
        lambda rows: f"{TASKS}{rows.tasks['report'].pk}/change/",
        "fieldset:has(.field-name)",
        ".field-preview",
    ),
    "task": (
        lambda rows: f"{TASKS}{rows.tasks['prices'].pk}/runs/",
        "",
        "section[aria-labelledby=mh-coming]",
    ),
    "run": (lambda rows: f"{RUNS}{rows.runs['failed'].pk}/change/", "", ".field-shown_log"),
}
TAKEN = {"en": (*PICTURES,), "zh-hans": ("overview", "scheduled-tasks")}
LANGUAGES = {"en": (board.ENGLISH, ""), "zh-hans": (board.CHINESE, "zh-hans")}


@pytest.mark.parametrize("language", TAKEN)
def test_the_pictures_are_taken(
    admin_page: Any, live_server: Any, admin_user: Any, language: str
) -> None:
    page, base = admin_page, live_server.url
    page.context.add_cookies([{"name": "django_language", "value": language, "url": base}])
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    names, folder = LANGUAGES[language]
    page.set_viewport_size({"width": WIDTH, "height": 800})
    page.evaluate("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")
    with shop.registered():
        rows = board.fill(admin_user, names)
        for name in TAKEN[language]:
            address, first, last = PICTURES[name]
            page.goto(base + address(rows))
            page.wait_for_load_state("networkidle")
            page.add_style_tag(content="#nav-sidebar, #toggle-nav-sidebar { display: none; }")
            taken = page.screenshot(full_page=True, clip=between(page, first, last))
            keep(taken, DOCS / "images" / folder / f"{name}.png")


def between(page: Any, first: str, last: str) -> dict[str, float]:
    """The whole width of the page, from the top of the first part to the end of the last."""
    top = page.locator(first).first.bounding_box()["y"] if first else 0
    end = page.locator(last).last.bounding_box()
    return {"x": 0, "y": top, "width": WIDTH, "height": end["y"] + end["height"] - top}


def keep(picture: bytes, file: Path) -> None:
    assert 20_000 < len(picture) < MOST_BYTES, (file, len(picture))
    if os.environ.get("UPDATE_SCREENSHOTS") == "1":
        assert has_chinese_font(), "Install a font with Chinese letters, such as fonts-noto-cjk."
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(picture)
    assert file.read_bytes().startswith(b"\x89PNG"), file


def has_chinese_font() -> bool:
    """Without one, boxes stand for them, also in the header of the English pages."""
    listed = subprocess.run(["fc-list", ":lang=zh"], capture_output=True, check=True)
    return bool(listed.stdout)


def test_what_the_documentation_shows_is_there_and_what_is_there_is_shown() -> None:
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text())
    }
    there = {file.resolve() for file in (DOCS / "images").rglob("*.png")}
    assert len(shown) > 3
    assert shown == there
