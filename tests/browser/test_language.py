"""The choice of a language, and the pages in Chinese, on a narrow screen."""

import pytest

from scheduling.models import ScheduledTask

pytestmark = pytest.mark.django_db(transaction=True)

ADD = "tests.integration.tasks_app.tasks.add"
TASKS = "/admin/scheduling/scheduledtask/"


def wider_than_the_screen(page) -> int:
    """By how many pixels the page can be scrolled sideways."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_one_chooses_chinese_by_the_keyboard_and_it_stays(scheme, admin_page, live_server):
    admin_page.emulate_media(color_scheme=scheme)
    admin_page.set_viewport_size({"width": 390, "height": 800})
    admin_page.goto(f"{live_server.url}{TASKS}add/")
    button = admin_page.get_by_role("button", name="简体中文")
    button.focus()
    with admin_page.expect_navigation():
        admin_page.keyboard.press("Enter")

    assert admin_page.url == f"{live_server.url}{TASKS}add/"
    assert admin_page.locator("html").get_attribute("lang") == "zh-hans"
    assert admin_page.locator("h1").inner_text() == "增加 定时任务"
    admin_page.goto(f"{live_server.url}{TASKS}")
    assert admin_page.locator("h1").inner_text() == "选择 定时任务 来修改"
    chosen = admin_page.locator(".mh-languages [aria-current]")
    assert chosen.inner_text() == "简体中文"
    box = chosen.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    assert wider_than_the_screen(admin_page) <= 0


def test_the_form_answers_in_chinese_while_one_types(admin_page, live_server):
    cookie = {"name": "django_language", "value": "zh-hans", "url": live_server.url}
    admin_page.context.add_cookies([cookie])
    admin_page.set_viewport_size({"width": 390, "height": 800})
    admin_page.goto(f"{live_server.url}{TASKS}add/")
    admin_page.select_option("#id_kind", "cron")
    admin_page.fill("#id_timezone", "Asia/Shanghai")
    admin_page.fill("#id_cron_expression", "0 9 * * MON-FRI")

    words = admin_page.locator("#mh-runs-panel .mh-words")
    words.wait_for()
    assert words.inner_text() == "星期一至星期五 09:00 (Asia/Shanghai)"
    assert wider_than_the_screen(admin_page) <= 0
    admin_page.fill("#id_cron_expression", "61 9 * * *")
    error = admin_page.locator(".field-cron_expression .errorlist li")
    error.wait_for()
    assert error.inner_text() == "分：61 超出范围。请填写 0 到 59 之间的值。"
    assert ScheduledTask.objects.count() == 0
