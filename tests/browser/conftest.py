"""A logged-in page in a real browser: Debian's Chromium, or the one that Playwright brings."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright._impl._driver import compute_driver_executable
from playwright.sync_api import sync_playwright

RESULTS = Path(__file__).resolve().parents[2] / "test-results"
FLAGS = [
    "--no-sandbox",  # Chromium refuses to run as root with it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # Without these it calls home all the time.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str | None:
    """The path of an installed Chromium, "" where Playwright has its own, None if there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    own = os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright"
    return "" if [*Path(own).glob("chromium-*")] else None


def missing() -> str:
    """What the tests here lack, and what to install; empty where they can run."""
    if chromium() is None:
        return "no Chromium: install the package chromium, or run `make tools`"
    node = compute_driver_executable()[0]
    started = subprocess.run([node, "--version"], capture_output=True, text=True)
    if started.returncode:
        why = started.stderr.strip() or f"exit code {started.returncode}"
        return f"Playwright's Node does not start ({why}): install libatomic1, or run `make tools`"
    return ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    item.failed = getattr(item, "failed", False) or report.failed
    return report


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Ends with its file: Playwright's event loop would go on in the thread of all later tests, and
    what they fork would keep connections that are its parent's."""
    if why := missing():
        pytest.skip(why)
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path or None, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module", autouse=True)
def _database_calls_beside_playwright() -> Iterator[None]:
    """Playwright's event loop runs in the thread of the tests; Django takes that for async code."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    yield
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def page(browser, request) -> Iterator:
    """A page in a context of its own. A failed test leaves a screenshot in test-results/."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(15_000)
    yield page
    if getattr(request.node, "failed", False):
        name = re.sub(r"\W+", "-", request.node.name)
        page.screenshot(path=RESULTS / f"{name}.png", full_page=True)
    context.close()


@pytest.fixture
def admin_page(live_server, admin_user, client, page) -> Iterator:
    """A page with the session of a superuser, at the admin's index. `page.goto("/admin/…")` works
    with `live_server.url` in front. An uncaught JavaScript error fails the test."""
    client.force_login(admin_user)
    cookie = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{live_server.url}/admin/")
    yield page
    assert not errors, f"JavaScript errors on the page: {errors}"
