"""What a person does in the admin, in a real browser."""

import re
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from dispatcher.models import Status, TaskRun
from scheduling.models import ScheduledTask

ADD = "tests.integration.tasks_app.tasks.add"
OK = "tests.integration.tasks_app.tasks.ok"
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def open_page(page, live_server, path):
    page.goto(f"{live_server.url}/admin/{path}")


def test_a_person_creates_a_cron_job_sees_its_next_runs_and_runs_it_now(admin_page, live_server):
    page = admin_page
    page.get_by_role("link", name="Scheduled tasks").first.click()
    page.get_by_role("link", name="Add scheduled task").click()

    page.get_by_label("Name:").fill("Nightly sums")
    page.get_by_label("Task:").fill(ADD)
    page.get_by_label("Keyword arguments:").fill('{"a": 2, "b": 3}')
    page.get_by_label("Kind:").select_option("cron")
    page.get_by_label("Cron expression:").fill("30 3 * * mon-fri")
    page.get_by_label("Time zone:").fill("Asia/Shanghai")
    page.get_by_role("button", name="Save and continue editing").click()

    slots = page.locator("#mh-runs-panel tbody tr")
    expect(slots).to_have_count(10)
    expect(slots.first).to_have_text(re.compile(r"03:30:00 CST.*19:30:00"))

    page.get_by_role("link", name="Run now").click()
    page.get_by_role("button", name="Run now").click()
    expect(page.locator(".messagelist")).to_contain_text("“Nightly sums” runs now.")
    page.get_by_role("link", name="See the run").click()

    run = TaskRun.objects.get(trigger="manual")
    expect(page).to_have_url(re.compile(str(run.pk)))
    expect(page.get_by_role("heading", name="Nightly sums")).to_be_visible()
    expect(page.locator(".field-shown_kwargs")).to_contain_text('"a": 2')
    expect(page.locator(".field-triggered_by")).to_contain_text("admin")

    page.get_by_role("link", name="Cancel").click()
    page.get_by_role("button", name="Yes, cancel it").click()
    expect(page.locator(".field-status_text")).to_contain_text("Cancelled by admin.")
    page.get_by_role("link", name="Run again", exact=True).click()
    page.get_by_role("button", name="Yes, run it").click()
    expect(page.locator(".field-original").get_by_role("link")).to_have_text(str(run.pk))


def test_the_form_shows_the_rule_of_the_chosen_kind_only(admin_page, live_server):
    open_page(admin_page, live_server, "scheduling/scheduledtask/add/")
    rules = {"cron": "cron_expression", "interval": "interval_seconds", "one_time": "run_at"}
    for kind, shown in rules.items():
        admin_page.get_by_label("Kind:").select_option(kind)
        for field in rules.values():
            row = admin_page.locator(f".form-row.field-{field}")
            expect(row).to_be_visible() if field == shown else expect(row).to_be_hidden()


def test_a_change_of_mind_about_the_kind_leaves_nothing_behind(admin_page, live_server):
    page = admin_page
    open_page(page, live_server, "scheduling/scheduledtask/add/")
    page.get_by_label("Name:").fill("Often")
    page.get_by_label("Task:").fill(OK)
    page.get_by_label("Kind:").select_option("cron")
    page.get_by_label("Cron expression:").fill("this is not cron")
    page.get_by_label("Kind:").select_option("interval")
    page.get_by_label("Every (seconds):").fill("30")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("was added successfully")
    expect(page.get_by_role("row", name="Often")).to_contain_text("every 30 s")


def test_a_wrong_expression_is_explained_beside_its_field(admin_page, live_server):
    page = admin_page
    open_page(page, live_server, "scheduling/scheduledtask/add/")
    page.get_by_label("Name:").fill("Wrong")
    page.get_by_label("Task:").fill(OK)
    page.get_by_label("Kind:").select_option("cron")
    page.get_by_label("Cron expression:").fill("61 * * * *")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".field-cron_expression .errorlist")).to_contain_text("out of range")
    expect(page.locator(".field-cron_expression")).to_be_visible()
    expect(page.get_by_label("Cron expression:")).to_have_value("61 * * * *")


def test_a_time_is_typed_on_the_clock_of_the_job(admin_page, live_server):
    page = admin_page
    open_page(page, live_server, "scheduling/scheduledtask/add/")
    page.get_by_label("Name:").fill("Once")
    page.get_by_label("Task:").fill(OK)
    page.get_by_label("Kind:").select_option("one_time")
    page.get_by_label("Time zone:").fill("Asia/Shanghai")
    page.locator("#id_run_at_0").fill("2099-07-01")
    page.locator("#id_run_at_1").fill("09:30:00")
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.locator("#mh-runs-panel")).to_contain_text("2099-07-01 01:30:00")
    expect(page.locator("#id_run_at_1")).to_have_value(re.compile("^09:30"))
    page.get_by_role("button", name="Save", exact=True).click()
    assert ScheduledTask.objects.get().run_at.isoformat() == "2099-07-01T01:30:00+00:00"


CONTRAST = """element => {
    const opaque = node => {
        const colour = getComputedStyle(node).backgroundColor;
        return colour.startsWith("rgba(0, 0, 0, 0") ? opaque(node.parentElement) : colour;
    };
    const light = colour => {
        const [r, g, b] = colour.match(/[0-9.]+/g).map(Number).slice(0, 3).map(c => {
            c /= 255;
            return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [a, b] = [light(getComputedStyle(element).color), light(opaque(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_status_can_be_read_in_both_themes(admin_page, live_server, scheme):
    """WCAG AA: 4.5 to 1 for small text."""
    for status in Status.values:
        TaskRun.objects.create(
            name=status, task=OK, status=status, scheduled_for=NOW, start_at=NOW, planned_at=NOW
        )
    admin_page.emulate_media(color_scheme=scheme)
    open_page(admin_page, live_server, "dispatcher/taskrun/")
    badges = admin_page.locator(".mh-badge").all()
    assert len(badges) == len(Status.values)
    ratios = {badge.inner_text(): badge.evaluate(CONTRAST) for badge in badges}
    assert not {status: ratio for status, ratio in ratios.items() if ratio < 4.5}
