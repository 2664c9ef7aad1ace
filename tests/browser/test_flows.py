"""What a person does in the admin from the first click to the last, in a real browser."""

import re
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import expect

from dispatcher.models import TaskRun
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.browser.addresses import RUNS, TASKS
from tests.dispatcher.rows import ADD, OK, job, run_at

pytestmark = pytest.mark.sampled(4)

HOUR = timedelta(hours=1)


@pytest.fixture
def site(admin_page: Any, live_server: Any) -> Any:
    """Opens a page by its address."""

    def opened(address: str) -> Any:
        admin_page.goto(live_server.url + address)
        return admin_page

    return opened


def said(page: Any) -> Any:
    return page.locator(".messagelist")


def choose(page: Any, action: str, *names: str) -> None:
    for name in names:
        page.get_by_role("row", name=name).get_by_role("checkbox").check()
    page.get_by_label("Action:").select_option(action)
    page.get_by_role("button", name="Go", exact=True).click()


# From the list ------------------------------------------------------------------------------------


def test_one_is_run_from_the_list_with_other_arguments(site: Any) -> None:
    job("Sums", task=ADD, args=[1, 2])
    job("Other")
    page = site(TASKS)
    choose(page, "run_with", "Sums", "Other")
    expect(said(page)).to_contain_text("Select exactly one")
    choose(page, "run_with", "Sums")
    page.get_by_label("Positional arguments:").fill("[3]")
    page.get_by_role("button", name="Run now").click()
    expect(page.locator(".errorlist")).to_contain_text("missing a required argument")
    page.get_by_label("Positional arguments:").fill("[3, 4]")
    page.get_by_role("button", name="Run now").click()
    expect(said(page)).to_contain_text("“Sums” runs now.")
    assert TaskRun.objects.get(trigger="manual").args == [3, 4]
    assert ScheduledTask.objects.get(name="Sums").args == [1, 2]


def test_many_are_run_resumed_skipped_and_copied_each_after_a_question(site: Any) -> None:
    for name in ("one", "two"):
        job(name)
    page = site(TASKS)
    for action, question, yes, done in (
        ("run_now", "Run 2 scheduled tasks now?", "Yes, run now", "2 runs started."),
        ("pause", "Pause 2 scheduled tasks?", "Yes, pause", "2 scheduled tasks paused."),
        ("resume", "Resume 2 scheduled tasks?", "Yes, resume", "2 scheduled tasks resumed."),
        ("skip_next", "Skip the next runs of 2", "Yes, skip", "2 slots are skipped."),
        ("duplicate", "Duplicate 2 scheduled tasks?", "Yes, duplicate", "2 copies are made."),
    ):
        choose(page, action, "one", "two")
        expect(page.get_by_role("heading", name=question)).to_be_visible()
        expect(page.locator(".mh-named li")).to_have_count(2)
        page.get_by_role("button", name=yes).click()
        expect(said(page)).to_contain_text(done)
    assert TaskRun.objects.filter(trigger="manual").count() == 2
    tasks = ScheduledTask.objects.order_by("pk")
    assert [(len(task.skip_slots), task.enabled) for task in tasks] == [
        *[(1, True)] * 2,
        *[(0, False)] * 2,
    ]


def test_no_takes_back_to_the_list_and_nothing_is_done(site: Any) -> None:
    job("one")
    page = site(TASKS)
    choose(page, "pause", "one")
    page.get_by_role("link", name="No, take me back").click()
    expect(page).to_have_url(re.compile(f"{TASKS}$"))
    assert ScheduledTask.objects.get().enabled


def test_what_is_filtered_is_exported(site: Any) -> None:
    job("one", owner="ada")
    job("two", owner="bob")
    page = site(f"{TASKS}?owner=ada")
    page.get_by_role("link", name="Export").click()
    expect(page.get_by_role("heading", name="Export 1 scheduled task")).to_be_visible()
    page.get_by_label("Format:").select_option("json")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    text = download.value.path().read_text()
    assert "one" in text and "two" not in text


# On the page of a task ----------------------------------------------------------------------------


def test_a_task_is_paused_until_a_time_for_a_reason_and_resumed(site: Any) -> None:
    task = job("Report", timezone="Asia/Shanghai")
    page = site(f"{TASKS}{task.pk}/change/")
    page.get_by_role("link", name="Pause", exact=True).click()
    page.get_by_label("date").fill("2099-01-02")
    page.get_by_label("time", exact=False).last.fill("08:00:00")
    page.get_by_label("Why:").fill("new server")
    page.get_by_role("button", name="Pause").click()
    expect(said(page)).to_contain_text("is paused until 2099-01-02 08:00:00 CST")
    expect(page.locator(".field-state_now")).to_contain_text("new server")
    task.refresh_from_db()
    assert task.paused_until.isoformat() == "2099-01-02T00:00:00+00:00"
    page.get_by_role("button", name="Resume").click()
    expect(said(page)).to_contain_text("is resumed")
    assert ScheduledTask.objects.get().enabled


def test_a_slot_is_skipped_and_runs_after_all(site: Any) -> None:
    task = job("Report", every=86_400)
    page = site(f"{TASKS}{task.pk}/change/")
    page.get_by_role("link", name="Skip next").click()
    page.get_by_role("button", name="Yes, skip it").click()
    expect(said(page)).to_contain_text("“Report” will not run at")
    page.get_by_role("link", name=re.compile("Do not skip")).click()
    page.get_by_role("button", name="Yes, do not skip it").click()
    expect(said(page)).to_contain_text("“Report” will run at")
    task.refresh_from_db()
    assert task.skip_slots == []


def test_a_backfill_says_how_many_runs_it_makes_before_it_makes_them(site: Any) -> None:
    task = job("Report", starts_at=database_now() - 72 * HOUR)
    page = site(f"{TASKS}{task.pk}/change/")
    page.get_by_role("link", name="Backfill").click()
    page.get_by_role("button", name="How many runs is that?").click()
    expect(page.get_by_text("This makes 24 runs, for the slots from")).to_be_visible()
    assert TaskRun.objects.filter(trigger="backfill").count() == 0
    page.get_by_role("button", name="Yes, make 24 runs").click()
    expect(said(page)).to_contain_text("24 runs are made.")
    assert TaskRun.objects.filter(trigger="backfill").count() == 24


def test_everything_is_paused_and_resumed(site: Any) -> None:
    job("one")
    page = site(TASKS)
    page.get_by_role("link", name="Pause everything").click()
    page.get_by_role("button", name="Pause everything").click()
    expect(page.locator(".mh-stop")).to_contain_text("Everything is paused by admin")
    page.get_by_role("button", name="Resume everything").click()
    expect(said(page)).to_contain_text("The schedules run again.")
    expect(page.locator(".mh-stop")).to_have_count(0)


def test_one_walks_from_run_to_run(site: Any) -> None:
    task = job()
    now = database_now()
    first, second = (run_at(now - n * HOUR, task, "failed") for n in (2, 1))
    page = site(f"{RUNS}{first.pk}/change/")
    page.get_by_role("link", name="Next run").click()
    expect(page).to_have_url(re.compile(str(second.pk)))
    page.get_by_role("link", name="Previous run").click()
    expect(page).to_have_url(re.compile(str(first.pk)))


# Languages, themes, keys --------------------------------------------------------------------------


def test_a_job_is_made_run_and_found_in_chinese(site: Any, live_server: Any) -> None:
    page = site(TASKS)
    page.get_by_role("button", name="简体中文").click()
    page.get_by_role("link", name="增加 定时任务").first.click()
    page.locator("#id_name").fill("每晚报表")
    page.locator("#id_task").fill(OK)
    page.locator("#id_kind").select_option("cron")
    page.locator("#id_cron_expression").fill("30 3 * * MON-FRI")
    expect(page.locator("#mh-runs-panel .mh-words")).to_contain_text("星期一至星期五 03:30")
    page.locator("[name=_continue]").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
    page.get_by_role("link", name="立即运行").click()
    page.get_by_role("button", name="立即运行").click()
    expect(said(page)).to_contain_text("“每晚报表”")
    said(page).get_by_role("link").last.click()
    expect(page.get_by_role("heading", name="每晚报表")).to_be_visible()
    assert TaskRun.objects.get(trigger="manual").name == "每晚报表"


def test_the_theme_is_chosen_by_its_button_and_stays(site: Any) -> None:
    page = site(TASKS)
    page.emulate_media(color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    button = page.get_by_role("button", name=re.compile("Toggle theme"))
    while page.locator("html").get_attribute("data-theme") != "dark":
        button.click()
    assert page.evaluate(background) != light
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def tab_to(page: Any, wanted: str) -> None:
    """Presses the tabulator key until the wanted part has the focus."""
    page.locator(wanted).first.wait_for()
    for _n in range(120):
        if page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"The tabulator key does not reach {wanted}")


def test_a_job_is_made_and_run_by_keys_alone_on_a_narrow_screen(site: Any) -> None:
    page = site(f"{TASKS}add/")
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("document.activeElement.blur()")
    tab_to(page, "#id_name")
    page.keyboard.type("By keys")
    tab_to(page, "#id_task")
    page.keyboard.type(OK)
    page.keyboard.press("Escape")
    tab_to(page, "#id_kind")
    page.keyboard.type("interval")
    tab_to(page, "#id_interval_seconds")
    page.keyboard.type("3600")
    tab_to(page, "[name=_continue]")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    tab_to(page, "a[href$='/run/']")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    tab_to(page, "input[type=submit]")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(said(page)).to_contain_text("“By keys” runs now.")
    task = ScheduledTask.objects.get()
    assert (task.name, task.interval_seconds) == ("By keys", 3600)
    assert TaskRun.objects.get(trigger="manual").task == OK
