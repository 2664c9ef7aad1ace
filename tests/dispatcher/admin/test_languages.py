"""The choice of a language in the header of the admin."""

import re
from typing import Any

import pytest
from django.test import Client

from scheduling.models import ScheduledTask

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
TASKS = "/admin/scheduling/scheduledtask/"


def choice_of(html: str) -> list[tuple[str, bool]]:
    """The languages that the header offers, and which of them is chosen."""
    buttons = re.findall(r'<button type="submit" name="language" value="([^"]+)"([^>]*)>', html)
    return [(code, "aria-current" in rest) for code, rest in buttons]


@pytest.mark.parametrize("page", ["", "add/", "{pk}/change/", "{pk}/history/", "{pk}/pause/"])
def test_every_page_lets_one_choose_a_language(page: str, admin_client: Client) -> None:
    task = ScheduledTask.objects.create_interval("job", OK, 3600)
    html = admin_client.get(TASKS + page.format(pk=task.pk)).content.decode()
    header = html[html.index("<header") : html.index("</header>")]

    assert choice_of(html) == choice_of(header) == [("en", True), ("zh-hans", False)]
    assert ">简体中文</button>" in header


def test_the_language_is_chosen_before_the_login_and_stays(client: Client) -> None:
    login = "/admin/login/?next=/admin/dispatcher/taskrun/"
    html = client.get(login).content.decode()
    assert choice_of(html) == [("en", True), ("zh-hans", False)]
    assert f'<input type="hidden" name="next" value="{login}">' in html

    answer = client.post("/i18n/setlang/", {"language": "zh-hans", "next": login})

    assert (answer.status_code, answer.url) == (302, login)
    cookie = answer.cookies["django_language"]
    assert (cookie.value, cookie["max-age"]) == ("zh-hans", 365 * 24 * 3600)
    html = client.get(login).content.decode()
    assert choice_of(html) == [("en", False), ("zh-hans", True)]
    assert "登录" in html


@pytest.mark.parametrize("wanted", ["zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans-CN", "zh"])
def test_a_browser_that_asks_for_chinese_gets_it(wanted: str, client: Client) -> None:
    html = client.get("/admin/login/", HTTP_ACCEPT_LANGUAGE=wanted).content.decode()
    assert choice_of(html) == [("en", False), ("zh-hans", True)]


def test_without_the_address_of_django_there_is_no_choice(
    admin_client: Client, settings: Any
) -> None:
    settings.ROOT_URLCONF = "tests.dispatcher.admin.urls_without_i18n"
    assert "mh-languages" not in admin_client.get("/admin/").content.decode()


def test_one_language_is_no_choice_and_many_are_a_list(admin_client: Client, settings: Any) -> None:
    settings.LANGUAGES = [("en", "English")]
    assert "mh-languages" not in admin_client.get("/admin/").content.decode()

    settings.LANGUAGES = [(code, code) for code in ("en", "de", "fr", "zh-hans", "tlh")]
    html = admin_client.get("/admin/").content.decode()
    form = html[html.index('<form class="mh-languages"') : html.index("</header>")]
    names = re.findall(r'<option value="([^"]+)"[^>]*>([^<]+)<', form)
    assert names == [
        ("en", "English"),
        ("de", "Deutsch"),
        ("fr", "français"),
        ("zh-hans", "简体中文"),
        ("tlh", "tlh"),
    ]
    assert '<option value="en" lang="en" selected>' in form
