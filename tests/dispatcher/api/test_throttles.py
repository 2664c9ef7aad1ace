"""No more requests in a minute than the settings say, for each who asks."""

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.test import Client

from tests.dispatcher.api.conftest import OK, Api


@pytest.fixture(autouse=True)
def empty_cache():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def clock():
    with time_machine.travel("2026-11-21T09:00:15Z", tick=False) as clock:
        yield clock


def statuses(answers):
    return [answer.status_code for answer in answers]


def test_reads_beyond_the_limit_are_told_when_to_come_back(api, settings, clock):
    settings.SCHEDULER_API_READS_PER_MINUTE = 2

    answers = [api.get("tasks/") for _number in range(3)]

    assert statuses(answers) == [200, 200, 429]
    assert answers[2].json()["code"] == "throttled"
    assert answers[2]["Retry-After"] == "45"
    clock.shift(45)
    assert api.get("tasks/").status_code == 200


def test_changes_are_counted_apart_and_by_user(api, settings, clock):
    settings.SCHEDULER_API_READS_PER_MINUTE = 1
    settings.SCHEDULER_API_CHANGES_PER_MINUTE = 1
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("bob"))

    assert statuses(each.get("tasks/") for each in (api, Api(client))) == [200, 200]
    assert statuses(api.post("runs/", {"task": OK}) for _number in range(2)) == [201, 429]


def test_zero_is_no_limit(api, settings):
    settings.SCHEDULER_API_READS_PER_MINUTE = 0

    assert statuses(api.get("tasks/") for _number in range(5)) == [200] * 5


def test_a_cache_that_is_away_stops_nobody(api, settings, monkeypatch, caplog):
    def away(*args, **kwargs):
        raise ConnectionError("no cache")

    settings.SCHEDULER_API_READS_PER_MINUTE = 1
    monkeypatch.setattr(type(cache._connections[cache._alias]), "add", away)

    assert statuses(api.get("tasks/") for _number in range(3)) == [200] * 3
    assert "does not count" in caplog.text
