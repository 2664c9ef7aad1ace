"""The page of a run in a real browser."""

import re

import pytest
from playwright.sync_api import expect

from dispatcher.admin.run import admin as runs
from dispatcher.models import TaskRun
from scheduling.database import database_now
from tests.dispatcher.rows import ADD, job, run_at


@pytest.fixture(autouse=True)
def _news_at_once(monkeypatch):
    monkeypatch.setattr(runs, "REFRESH_SECONDS", 0.2)


def open_page(page, live_server, run):
    page.goto(f"{live_server.url}/admin/dispatcher/taskrun/{run.pk}/change/")


def test_one_sees_a_run_end_and_runs_it_again_with_other_arguments(admin_page, live_server):
    page = admin_page
    now = database_now()
    run = run_at(now, job(task=ADD, args=[1, 2]), "running", args=[1, 2])
    open_page(page, live_server, run)
    expect(page.locator(".field-status_text")).to_contain_text("running")
    TaskRun.objects.filter(pk=run.pk).update(
        status="succeeded", finished_at=database_now(), result=3, log="it was easy\n"
    )
    expect(page.locator(".field-shown_log")).to_contain_text("it was easy")
    page.get_by_role("link", name="Run again with other arguments").click()

    page.get_by_label("Positional arguments:").fill("[1]")
    page.get_by_role("button", name="Yes, run it").click()
    expect(page.locator(".errorlist")).to_contain_text("missing a required argument")
    page.get_by_label("Positional arguments:").fill("[4, 5]")
    page.get_by_role("button", name="Yes, run it").click()
    expect(page.locator(".messagelist")).to_contain_text("This is the new run.")
    again = TaskRun.objects.get(trigger="rerun")
    expect(page).to_have_url(re.compile(str(again.pk)))
    assert again.args == [4, 5]


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_page(admin_page, live_server, width):
    page = admin_page
    task = job("x" * 190)
    first, run, _last = (
        run_at(database_now(), task, "failed", log="y" * 500, exception="z" * 500) for _ in range(3)
    )
    page.set_viewport_size({"width": width, "height": 800})
    open_page(page, live_server, run)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("link", name="Previous run").click()
    expect(page).to_have_url(re.compile(str(first.pk)))
