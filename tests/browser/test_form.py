"""The form of a scheduled task while a person fills it in, in a real browser."""

import re

import pytest
from playwright.sync_api import expect

from scheduling.models import ScheduledTask

pytestmark = pytest.mark.sampled(4)

ADD = "tests.integration.tasks_app.tasks.add"
OK = "tests.integration.tasks_app.tasks.ok"
RULES = {"cron": "cron_expression", "interval": "interval_seconds", "one_time": "run_at"}


@pytest.fixture
def form(admin_page, live_server):
    """The empty form, once its script is at work."""
    with admin_page.expect_response(re.compile("/preview/$")):
        admin_page.goto(f"{live_server.url}/admin/scheduling/scheduledtask/add/")
    return admin_page


def row(page, field):
    return page.locator(f".form-row.field-{field}")


def choose(page, kind):
    page.get_by_label("Kind:").select_option(kind)


def errors(page, field):
    return row(page, field).locator(".errorlist li")


def slots(page):
    return row(page, "preview").locator("tbody tr")


def test_a_person_makes_a_job_for_weekdays_at_nine_in_shanghai(form):
    page = form
    page.get_by_label("Name:").fill("Morning")
    page.get_by_label("Task:").press_sequentially("adds two")  # words of its docstring
    page.get_by_role("option", name=re.compile(re.escape(ADD))).click()
    expect(page.get_by_label("Task:")).to_have_value(ADD)
    expect(row(page, "task")).to_contain_text("add(a: int, b: int) -> int")

    page.get_by_role("button", name="Insert the arguments of this task").click()
    expect(page.get_by_label("Keyword arguments:")).to_have_value(re.compile('"a": 0,\\s+"b": 0'))

    choose(page, "cron")
    page.get_by_role("button", name="Monday to Friday at 09:00").click()
    page.get_by_label("Time zone:").fill("shanghai")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(row(page, "preview")).to_contain_text("Monday to Friday at 09:00 (Asia/Shanghai)")
    expect(slots(page)).to_have_count(10)
    expect(slots(page).first).to_contain_text(re.compile(r"(Mon|Tue|Wed|Thu|Fri) .* 09:00:00 CST"))
    assert not ScheduledTask.objects.exists()

    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("was added successfully")
    task = ScheduledTask.objects.get()
    assert (task.cron_expression, task.timezone) == ("0 9 * * MON-FRI", "Asia/Shanghai")
    assert (task.task, task.kwargs) == (ADD, {"a": 0, "b": 0})


def test_a_click_takes_what_was_most_likely_meant(form):
    page = form
    choose(page, "cron")
    page.get_by_label("Cron expression:").fill("0 9 * * 1, 3")
    meant = row(page, "preview").or_(row(page, "cron_expression")).locator(".mh-suggestions li")
    wanted = meant.filter(has_text="0 9 * * 1,3")
    expect(wanted).to_contain_text("09:00:00")  # its next runs
    wanted.get_by_role("button").click()
    expect(page.get_by_label("Cron expression:")).to_have_value("0 9 * * 1,3")
    expect(meant).to_have_count(0)
    expect(slots(page)).to_have_count(10)


def test_a_click_on_a_pasted_line_fills_the_zone_too(form):
    page = form
    choose(page, "cron")
    page.get_by_label("Cron expression:").fill("CRON_TZ=Asia/Shanghai 0 9 * * *")
    page.locator(".mh-suggestions button").first.click()
    expect(page.get_by_label("Cron expression:")).to_have_value("0 9 * * *")
    expect(page.get_by_label("Time zone:")).to_have_value("Asia/Shanghai")
    expect(slots(page)).to_have_count(10)


def test_what_was_typed_survives_a_change_of_the_kind(form):
    page = form
    choose(page, "cron")
    page.get_by_label("Cron expression:").fill("30 3 * * *")
    choose(page, "interval")
    page.get_by_label("Every (seconds):").fill("90")
    expect(row(page, "preview")).to_contain_text("Every 1 min 30 s")
    for kind, own in RULES.items():
        choose(page, kind)
        for field in RULES.values():
            shown = expect(row(page, field))
            shown.to_be_visible() if field == own else shown.to_be_hidden()
    choose(page, "cron")
    expect(page.get_by_label("Cron expression:")).to_have_value("30 3 * * *")
    expect(row(page, "preview")).to_contain_text("Every day at 03:30")


def test_an_error_shows_while_one_types_where_one_types_and_goes(form):
    page = form
    choose(page, "cron")
    page.get_by_label("Cron expression:").fill("61 9 * * *")
    expect(errors(page, "cron_expression")).to_have_text(re.compile("minute: 61 is out of range"))
    expect(page.get_by_label("Cron expression:")).to_have_attribute("aria-invalid", "true")
    expect(slots(page)).to_have_count(0)
    for untouched in ("name", "task"):  # missing as well, but nobody has been there yet
        expect(errors(page, untouched)).to_have_count(0)
    page.get_by_label("Cron expression:").fill("*/15 9-16 * * *")
    expect(errors(page, "cron_expression")).to_have_count(0)
    expect(row(page, "preview")).to_contain_text("Every 15 minutes from 09:00 to 16:45")
    expect(slots(page)).to_have_count(10)


def test_it_says_while_one_types_the_very_same_as_after_saving(form):
    page = form
    page.get_by_label("Name:").fill("Wrong")
    page.get_by_label("Task:").fill(ADD)
    choose(page, "cron")
    page.get_by_label("Cron expression:").fill("0 9 * * MONDAY")
    page.get_by_label("Keyword arguments:").fill('{"a": 1,\n "b": two}')
    wrong = ("cron_expression", "kwargs")
    for field in wrong:
        expect(errors(page, field)).to_have_count(1)
    before = [errors(page, field).inner_text() for field in wrong]
    assert "line 2, column 7" in before[1]
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".errornote")).to_be_visible()
    assert [errors(page, field).inner_text() for field in wrong] == before
    page.get_by_label("Keyword arguments:").fill('{"a": 1, "b": 2}')
    expect(errors(page, "kwargs")).to_have_count(0)
    page.locator("[data-format=kwargs]").click()
    expect(page.get_by_label("Keyword arguments:")).to_have_value('{\n  "a": 1,\n  "b": 2\n}')


def test_six_fields_are_explained_and_quartz_habits_answered(form):
    page = form
    choose(page, "cron")
    page.get_by_label("Cron expression:").fill("0 0/5 * * * ?")
    expect(row(page, "preview")).to_contain_text("Every 5 minutes")
    parts = row(page, "cron_expression").locator(".mh-parts")
    expect(parts.locator("th")).to_have_text(
        ["second", "minute", "hour", "day of month", "month", "day of week"]
    )
    expect(parts.locator("td")).to_have_text(["0", "0/5", "*", "*", "*", "?"])
    page.get_by_label("Cron expression:").fill("0 0 9 ? * 2")
    expect(row(page, "cron_expression")).to_contain_text("2 is TUE here, but MON in Quartz")


def test_a_task_that_is_not_known_here_is_allowed_with_a_warning(form):
    page = form
    page.get_by_label("Name:").fill("Elsewhere")
    page.get_by_label("Task:").fill("billing.tasks.close_month")
    expect(page.get_by_role("listbox")).to_contain_text("None of the known names matches.")
    choose(page, "interval")
    page.get_by_label("Every (seconds):").fill("60")
    expect(row(page, "task")).to_contain_text("No task is registered here as")
    expect(page.get_by_role("listbox")).to_be_hidden()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("was added successfully")
    assert ScheduledTask.objects.get().task == "billing.tasks.close_month"


def test_the_search_is_worked_by_keys_and_leaves_the_form_unsaved(form):
    page = form
    task = page.get_by_label("Task:")
    task.press_sequentially("tasks_app add")
    expect(task).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".mh-listbox [aria-selected=true]")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    expect(task).to_have_value("tasks_app add")
    expect(errors(page, "task")).to_have_count(0)  # words of a search, not a name with spaces
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(task).not_to_have_value("tasks_app add")
    expect(page).to_have_url(re.compile("/add/$"))


def test_the_runs_show_on_the_clock_of_who_looks(browser, form, live_server):
    """Kathmandu is 5:45 ahead of UTC: no other clock of the form shows that."""
    context = browser.new_context(
        timezone_id="Asia/Kathmandu", storage_state=form.context.storage_state()
    )
    page = context.new_page()
    page.goto(f"{live_server.url}/admin/scheduling/scheduledtask/add/")
    choose(page, "cron")
    page.get_by_label("Cron expression:").fill("0 9 * * *")
    expect(slots(page).first).to_contain_text("14:45:00")
    expect(row(page, "preview").locator("th.mh-viewer")).to_have_text(
        re.compile("Kat(h)?mandu", re.IGNORECASE)
    )
    context.close()


def test_one_learns_while_typing_what_somebody_else_has_changed(form, live_server):
    page = form
    task = ScheduledTask.objects.create_interval("Often", OK, 60)
    with page.expect_response(re.compile("/preview/$")):
        page.goto(f"{live_server.url}/admin/scheduling/scheduledtask/{task.pk}/change/")
    told = page.get_by_role("alert")
    expect(told).to_have_count(0)
    task.queue = "slow"
    task.save()
    page.get_by_label("Description:").fill("Looks after the shop.")
    expect(told).to_contain_text("This job was changed while you had it open:")
    expect(told).to_contain_text("Queue")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".errornote")).to_be_visible()
    expect(page.get_by_label("Description:")).to_have_value("Looks after the shop.")
    expect(page.locator("ul.nonfield")).to_contain_text("Nothing is saved yet.")


def test_without_javascript_every_kind_is_there_and_saving_works(browser, form, live_server):
    context = browser.new_context(
        java_script_enabled=False, storage_state=form.context.storage_state()
    )
    page = context.new_page()
    page.goto(f"{live_server.url}/admin/scheduling/scheduledtask/add/")
    for field in RULES.values():
        expect(row(page, field)).to_be_visible()
    page.get_by_label("Name:").fill("Plain")
    page.get_by_label("Task:").fill(OK)
    choose(page, "cron")
    page.get_by_label("Cron expression:").fill("0 9 * * MON-FRI")
    page.get_by_role("button", name="Save and continue editing").click()
    expect(row(page, "preview")).to_contain_text("Monday to Friday at 09:00 (UTC)")
    expect(slots(page)).to_have_count(10)
    context.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_form_fits_its_window(form, width):
    page = form
    page.set_viewport_size({"width": width, "height": 800})
    choose(page, "cron")
    page.get_by_label("Cron expression:").fill("0 0 9 ? * MON-FRI")
    page.get_by_label("Time zone:").fill("Asia/Shanghai")
    expect(slots(page)).to_have_count(10)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0
