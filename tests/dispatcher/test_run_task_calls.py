"""`run_task` with a signature: what travels of it, and what is refused."""

from datetime import UTC, datetime, timedelta

import pytest
from celery import chain
from django.core.exceptions import ValidationError

from dispatcher import run_task
from dispatcher.models import TaskRun
from tests.integration.tasks_app.tasks import add, ok

pytestmark = pytest.mark.django_db

NOON = datetime(2035, 3, 2, 12, 0, tzinfo=UTC)


def refused(*args, **options):
    with pytest.raises(ValidationError) as caught:
        run_task(*args, **options)
    assert not TaskRun.objects.exists()
    return [*caught.value.message_dict]


def test_a_signature_brings_its_arguments_and_options():
    asked = add.s(2).set(queue="slow", priority=3, expires=1.5, time_limit=20, soft_time_limit=10)
    run = run_task(asked, [1], at=NOON)
    run.refresh_from_db()
    assert (run.task, run.args, run.kwargs, run.queue) == (add.name, [1, 2], {}, "slow")
    assert (run.priority, run.time_limit, run.soft_time_limit) == (3, 20, 10)
    assert run.expires_at == NOON + timedelta(seconds=1.5)


def test_an_instant_at_which_it_expires_stays_that():
    assert run_task(ok.s().set(expires=NOON)).expires_at == NOON


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"countdown": 5}, "countdown"),
        ({"link": [ok.s()]}, "link"),
        ({"headers": {"a": 1}}, "headers"),
        ({"priority": 10}, "priority"),
        ({"expires": datetime(2035, 1, 1)}, "expires"),
        ({"expires": 1e30}, "expires"),
        ({"time_limit": 5, "soft_time_limit": 5}, "soft_time_limit"),
        ({"queue": "dispatcher"}, "queue"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_used_is_refused_by_name(options, field):
    assert refused(ok.s().set(**options)) == [field]


@pytest.mark.parametrize("task", [None, len, chain(ok.si(), ok.si())], ids=["none", "len", "chain"])
def test_what_is_no_task_is_refused_by_name(task):
    assert refused(task) == ["task"]


def test_arguments_of_a_signature_must_fit():
    assert refused(add.s(1)) == ["args"]


def test_none_for_arguments_is_none_of_them():
    run = run_task(ok, None, None)
    assert (run.args, run.kwargs) == ([], {})
