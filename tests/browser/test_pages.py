"""Every page of the admin, in two languages, two themes and two widths: axe finds nothing in it, no
script of it fails, and it fits a narrow screen."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser import board, shop
from tests.browser.addresses import TASKS, TOKENS, addresses

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
#: WCAG 2.0 to 2.2, A and AA.
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    "resultTypes": ["violations"],
    "preload": False,
}
#: Parts that Django draws on every page of a site, and that we leave as they are, and why.
NOT_OURS = {
    ".breadcrumbs": "the way back: links between “›”, not within a sentence, so not underlined",
    "#changelist-search .small": "“3 results (12 total)”: a link beside a number, not underlined",
    ".delete-confirmation #content > ul": "the rows that are deleted, “kind: link”, not underlined",
    ".field-expires_at .datetime": "“Date:” and “Time:” stand beside their inputs, in no label",
}
#: Once is enough: they are the same on every page.
SAME_EVERYWHERE = ("#header", "#nav-sidebar")
#: Pages that differ from one that is looked at by their rows only: looked at in English.
SIMILAR = {
    *("list, searched", "list, empty", "task finished", "task paused", "a stop", "a tick"),
    *("run missed", "run cancelled", "run retrying", "run planned", "rerun", "token history"),
    *("action resume", "action skip_next", "action duplicate", "runs, filtered", "stops"),
}
#: Shows a page: the browser's page, the address of the site, the rows.
Step = Callable[[Any, str, board.Board], None]
LANGUAGES = {"en": board.ENGLISH, "zh-hans": board.CHINESE}


@pytest.fixture
def filled(admin_user: Any, live_server: Any, request: Any) -> Iterator[board.Board]:
    with shop.registered():
        yield board.fill(admin_user, LANGUAGES[request.param])


# The pages that a POST shows ----------------------------------------------------------------------


def form_with_errors(page: Any, base: str, filled: board.Board) -> None:
    page.goto(f"{base}{TASKS}add/")
    page.locator("#id_kind").select_option("cron")
    page.locator("#id_cron_expression").fill("61 9 * * *")
    page.locator("#id_kwargs").fill("{'a': 1}")
    page.locator("[name=_save]").click()
    page.locator(".errornote").wait_for()


def _action(name: str) -> Step:
    def chosen(page: Any, base: str, filled: board.Board) -> None:
        page.goto(f"{base}{TASKS}")
        for box in page.locator(".action-select").all():
            box.check()
        page.locator("select[name=action]").select_option(name)
        page.locator("button[name=index]").click()
        page.locator("form input[type=submit]").last.wait_for()

    return chosen


def _imported(content: str) -> Step:
    def uploaded(page: Any, base: str, filled: board.Board) -> None:
        page.goto(f"{base}{TASKS}import/")
        file = {"name": "tasks.csv", "mimeType": "text/csv", "buffer": content.encode()}
        page.locator("input[type=file]").set_input_files(file)
        page.locator("input[type=submit]").click()
        page.locator(".mh-rows").wait_for()

    return uploaded


def backfill_counted(page: Any, base: str, filled: board.Board) -> None:
    page.goto(f"{base}{TASKS}{filled.tasks['orders'].pk}/backfill/")
    page.locator("input[type=submit]").click()
    page.locator("input[name=confirmed]").wait_for(state="attached")


def new_token(page: Any, base: str, filled: board.Board) -> None:
    page.goto(f"{base}{TOKENS}add/")
    page.locator("#id_name").fill("deploy")
    page.locator("#id_scopes_0").check()
    page.locator("[name=_save]").click()
    page.locator("#secret").wait_for()


_HEADS = "name,task,kind,interval_seconds,description"
STEPS: dict[str, Step] = {
    "form with errors": form_with_errors,
    **{
        f"action {name}": _action(name)
        for name in (
            *("run_now", "pause", "resume", "skip_next"),
            *("duplicate", "export", "delete_selected"),
        )
    },
    "import, what it would do": _imported(
        f"{_HEADS}\nImport orders,shop.tasks.import_orders,interval,3600,after\n"
        "New,shop.tasks.clear_carts,interval,60,\n"
    ),
    "import, refused": _imported(f"{_HEADS}\nNew,,interval,60.5,\n"),
    "backfill, counted": backfill_counted,
    "token, new": new_token,
}


# Looking at them ----------------------------------------------------------------------------------


@dataclass
class Findings:
    """What is wrong, by page."""

    page: Any
    found: dict[str, list[str]] = field(default_factory=dict)
    looked_at: list[str] = field(default_factory=list)

    def look(self, name: str) -> None:
        left_out = [*NOT_OURS, *(SAME_EVERYWHERE if self.looked_at else ())]
        self.looked_at.append(name)
        context = {"exclude": [[selector] for selector in left_out]}
        answer = Axe().run(self.page, context=context, options=RULES).response
        said = [
            f"{rule['id']}: {node['target']} {node['failureSummary']}"
            for rule in answer["violations"]
            for node in rule["nodes"]
        ]
        if said:
            self.found[name] = said

    def fits(self, name: str) -> None:
        """The page itself cannot be scrolled sideways; a wide table in a box of its own may."""
        self.page.set_viewport_size(NARROW)
        wider = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if wider > 0:
            self.found.setdefault(name, []).append(f"wider than the screen by {wider} pixels")


def shown_by(filled: board.Board) -> dict[str, Step]:
    opened: dict[str, Step] = {
        name: lambda page, base, _rows, address=address: page.goto(base + address)
        for name, address in addresses(filled).items()
    }
    return opened | STEPS


def ways() -> Iterator[Any]:
    for way in itertools.product(LANGUAGES, ("light", "dark"), ("wide", "narrow")):
        language, scheme, size = way
        where = {"wide": WIDE, "narrow": NARROW}[size]
        yield pytest.param(language, scheme, where, id=", ".join(way))


@pytest.mark.sampled(8)
@pytest.mark.parametrize(("filled", "scheme", "size"), [*ways()], indirect=["filled"])
def test_every_page_is_accessible_and_fits(
    admin_page: Any, live_server: Any, filled: board.Board, scheme: str, size: Any, request: Any
) -> None:
    page, base = admin_page, live_server.url
    language = request.node.callspec.params["filled"]
    page.context.add_cookies([{"name": "django_language", "value": language, "url": base}])
    page.emulate_media(color_scheme=scheme)
    findings = Findings(page)
    every = [each for each in shown_by(filled).items() if size == WIDE or each[0] not in SIMILAR]
    chosen = every[date.today().toordinal() % 2 :: 2]  # the others tomorrow
    for name, show in chosen:
        page.set_viewport_size(size)
        show(page, base, filled)
        findings.look(name)
        findings.fits(name)

    assert page.locator("html").get_attribute("lang") == language
    assert findings.looked_at == [name for name, _show in chosen]
    assert len(chosen) > 20
    assert findings.found == {}
