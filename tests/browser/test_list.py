"""The list of scheduled tasks in a real browser: ticks, an action that asks, an import."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from dispatcher.models import TaskRun
from scheduling.models import ScheduledTask
from tests.dispatcher.rows import OK, job, run_at

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
LIST = "scheduling/scheduledtask/"

OVERFLOW = "document.scrollingElement.scrollWidth - innerWidth"


@pytest.mark.parametrize("width", [1280, 390])
def test_ticks_are_told_on_hover_walked_by_arrow_keys_and_lead_to_their_runs(
    admin_page, live_server, width
):
    page = admin_page
    task = job("Nightly")
    TaskRun.objects.all().delete()
    made = [
        run_at(NOW + n * timedelta(hours=1), task, status)
        for n, status in enumerate(["succeeded", "failed", "skipped"])
    ]
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{live_server.url}/admin/{LIST}")
    ticks = page.locator(".mh-tick")
    expect(ticks).to_have_count(3)
    expect(ticks.nth(1)).to_have_attribute("title", "failed · 2026-11-20 10:00 · 2 s")
    heights = ticks.evaluate_all(
        "all => all.map(tick => getComputedStyle(tick, '::before').height)"
    )
    assert len(set(heights)) == 3  # told apart without their colours
    assert page.evaluate(OVERFLOW) <= 0

    ticks.nth(2).focus()
    page.keyboard.press("ArrowLeft")
    expect(ticks.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(str(made[1].pk)))


def test_jobs_are_paused_from_the_list_after_a_question(admin_page, live_server):
    page = admin_page
    for name in ("one", "two"):
        job(name)
    page.goto(f"{live_server.url}/admin/{LIST}")
    page.get_by_role("row", name="one").get_by_role("checkbox").check()
    page.get_by_label("Action:").select_option("pause")
    page.get_by_role("button", name="Go", exact=True).click()
    expect(page.get_by_role("heading", name="Pause 1 scheduled task?")).to_be_visible()
    assert ScheduledTask.objects.filter(enabled=True).count() == 2
    page.get_by_label("Why:").fill("deploy")
    page.get_by_role("button", name="Yes, pause").click()
    expect(page.locator(".messagelist")).to_have_text("1 scheduled task paused.")
    expect(page.get_by_role("row", name="one")).to_contain_text("by admin: deploy")
    expect(page.get_by_role("row", name="two")).to_contain_text("active")


def test_a_telephone_selects_all_and_sorts(admin_page, live_server):
    page = admin_page
    for name in ("one", "three", "two"):
        job(name)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{live_server.url}/admin/{LIST}")
    page.get_by_label("Select all objects on this page for an action").check()
    expect(page.locator(".action-select:checked")).to_have_count(3)
    page.get_by_role("link", name="Name", exact=True).click()
    expect(page.locator(".field-named a, th.field-named").first).to_contain_text("two")


@pytest.mark.parametrize("width", [390, 1280, 1700])
def test_why_a_run_failed_is_seen_without_scrolling(admin_page, live_server, width):
    page = admin_page
    run_at(NOW, job("Nightly"), "failed", exception="ValueError: the column is missing")
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{live_server.url}/admin/dispatcher/taskrun/?status__exact=failed")
    why = page.get_by_text("ValueError: the column is missing").locator("visible=true")
    expect(why).to_have_count(1)
    box, room = why.bounding_box(), page.locator("#changelist .results").bounding_box()
    assert box["x"] + box["width"] <= room["x"] + room["width"]


def test_an_import_shows_what_it_would_do_and_then_does_it(admin_page, live_server):
    page = admin_page
    job("Report", description="before")
    heads = "name,task,kind,interval_seconds,description"
    content = f"{heads}\nReport,{OK},interval,3600,after\n新,{OK},interval,60,\n"
    page.goto(f"{live_server.url}/admin/{LIST}")
    page.get_by_role("link", name="Import").click()
    file = {"name": "tasks.csv", "mimeType": "text/csv", "buffer": content.encode()}
    page.get_by_label("File:").set_input_files(file)
    page.get_by_role("button", name="Show what it would do").click()
    expect(
        page.get_by_text("1 new, 1 changed, 0 unchanged. Nothing is imported yet.")
    ).to_be_visible()
    expect(page.locator(".mh-rows del")).to_have_text("before")
    expect(page.locator(".mh-rows > li").first.locator("ins")).to_have_text("after")
    assert ScheduledTask.objects.get().description == "before"
    page.get_by_role("button", name="Yes, import it").click()
    expect(page.locator(".messagelist")).to_have_text("Imported: 1 new, 1 changed, 0 unchanged.")
    expect(page.get_by_role("row", name="新")).to_contain_text("every 1 min")
