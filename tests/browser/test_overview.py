"""The overview in a real browser: it keeps itself up to date, and lets itself be stopped."""

import re

import pytest
from playwright.sync_api import expect

from dispatcher.admin.overview import page as overview
from dispatcher.watch import figures
from scheduling.database import database_now
from tests.dispatcher.rows import job, run_at

PAGE = "/admin/dispatcher/taskrun/overview/"

HIDE = """hidden => {
    Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(autouse=True)
def _news_at_once(monkeypatch):
    monkeypatch.setattr(overview, "REFRESH_SECONDS", 0.2)
    monkeypatch.setattr(figures, "depths", lambda queues: [])


def running(page):
    return page.locator("[data-part=running] tbody tr")


@pytest.mark.parametrize("path", ["/admin/", PAGE])
def test_it_shows_a_new_run_without_reloading_and_keeps_what_is_open(admin_page, live_server, path):
    page = admin_page
    run_at(database_now())
    page.goto(live_server.url + path)
    page.get_by_text("As a table").click()
    page.evaluate("window.sameDocument = true")
    run_at(database_now(), job("fresh"), "running")
    run_at(database_now(), status="failed")
    expect(running(page).get_by_role("link", name="fresh")).to_be_visible()
    expect(page.locator("[data-part=outcomes] .mh-legend")).to_contain_text("failed")
    expect(page.locator("#mh-outcomes-table tbody tr").first).to_be_visible()
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    assert page.evaluate("window.sameDocument")


def test_it_rests_while_it_is_hidden_or_stopped(admin_page, live_server):
    page = admin_page
    page.goto(live_server.url + PAGE)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    with page.expect_response(re.compile("fragment")):
        pass
    for rest, go_on in (
        (lambda: page.evaluate(HIDE, True), lambda: page.evaluate(HIDE, False)),
        (
            lambda: page.get_by_role("button", name="Stop updating").click(),
            lambda: page.get_by_role("button", name="Go on updating").click(),
        ),
    ):
        rest()
        page.wait_for_load_state("networkidle")
        asked.clear()
        page.wait_for_timeout(1000)
        assert not asked
        with page.expect_response(re.compile("fragment")):
            go_on()


def test_who_is_logged_out_is_told_so(admin_page, live_server):
    page = admin_page
    page.goto(live_server.url + PAGE)
    page.context.clear_cookies()
    expect(page.get_by_text("This page could not be brought up to date.")).to_be_visible()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_page(admin_page, live_server, width):
    page = admin_page
    now = database_now()
    run_at(now, job("x" * 190), "failed", exception="y" * 200)
    for status in ("running", "missed"):
        run_at(now, job(f"A name of some length that {status}"), status, worker="w" * 60)
    page.set_viewport_size({"width": width, "height": 800})
    for path in (PAGE, "/admin/"):
        page.goto(live_server.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
