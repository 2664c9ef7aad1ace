"""The mails to owners, in the language of the project."""

import pytest
from django.core import mail
from django.utils import translation

from dispatcher.models import TaskRun
from dispatcher.upkeep import notices
from scheduling.database import database_now
from scheduling.models import ScheduledTask

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"


def test_a_mail_is_in_the_language_of_the_project_whoever_is_at_work(settings) -> None:
    settings.LANGUAGE_CODE = "zh-hans"
    options = {"owner": "ada@example.com", "timezone": "Asia/Shanghai"}
    task = ScheduledTask.objects.create_interval("日报", OK, 86_400, **options)
    now = database_now()
    times = dict.fromkeys(("scheduled_for", "start_at", "planned_at", "finished_at"), now)
    TaskRun.objects.create(
        scheduled_task=task, name=task.name, task=OK, status="failed", reason="time_limit", **times
    )
    with translation.override("en"):
        notices.notice(now)

    (letter,) = mail.outbox
    assert letter.subject == "“日报”开始失败"
    lines = letter.body.splitlines()
    assert lines[0] == "“日报”开始失败。"
    assert lines[1].startswith("自 ") and lines[1].endswith(" CST 起失败。")
    assert lines[2].endswith(" CST 的运行：运行超出了时限。")
    assert lines[-1] == "您收到此邮件，因为您是上述定时任务的负责人。"
