"""Schedules, durations and errors in Chinese: the order of the words is not that of English."""

from datetime import timedelta

import pytest
from django.utils import translation

from scheduling.registry import binding_error
from scheduling.schedules import Cron, ScheduleError
from scheduling.validation import in_words
from scheduling.words import duration_text
from scheduling.words.cron_words import cron_words
from scheduling.words.wording import exact_duration_text


@pytest.fixture(autouse=True)
def chinese():
    with translation.override("zh-hans"):
        yield


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 9 * * MON-FRI", "星期一至星期五 09:00"),
        ("0 9,17 * * *", "每天 09:00、17:00"),
        ("*/5 * * * *", "每 5 分钟"),
        ("0 * * * *", "每小时"),
        ("5,20 * * * *", "每小时的 05 分、20 分"),
        ("*/10 9-17 * * MON,WED", "每星期一、每星期三，09:00 至 17:50 每 10 分钟"),
        ("0 */2 * * *", "从 00:00 起每 2 小时"),
        ("0 0 1,15 * *", "每月 1、15 日 00:00"),
        ("0 0 L * *", "每月最后一天 00:00"),
        ("0 8 * 6-8 MON#1", "六月至八月，每月第一个星期一 08:00"),
        ("*/10 * * * * *", "每 10 秒"),
    ],
)
def test_a_cron_expression(expression, words):
    assert cron_words(expression) == words


def test_durations():
    assert duration_text(timedelta(seconds=0.25)) == "0.25 秒"
    assert duration_text(timedelta(hours=1, minutes=30, seconds=9)) == "1 小时 30 分钟"
    assert exact_duration_text(93_784) == "1 天 2 小时 3 分钟 4 秒"


def test_an_error_of_a_cron_field_names_the_field():
    with pytest.raises(ScheduleError) as caught:
        Cron("0 24 * * *")
    assert in_words(caught.value) == "时：24 超出范围。请填写 0 到 23 之间的值。"
    assert str(caught.value).startswith("hour: 24 is out of range.")


ADD = "tests.integration.tasks_app.tasks.add"


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ([1], {}, "缺少必需的参数 'b'"),
        ([1, 2, 3], {}, "位置参数过多"),
        ([1, 2], {"c": 3}, "多出未知的关键字参数 'c'"),
        ([1, 2], {"a": 3}, "参数 'a' 有多个值"),
    ],
)
def test_arguments_that_do_not_fit(args, kwargs, said):
    """What Python says of them is known word for word: a new Python may say it otherwise."""
    error = binding_error(ADD, args, kwargs)
    assert error == f"{said}；任务签名为 {ADD}(a: int, b: int) -> int"
