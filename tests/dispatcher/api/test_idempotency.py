"""A repeated request under one Idempotency-Key makes one, whatever happens in between."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, Event

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from dispatcher.api.kernel.idempotency import FORGOTTEN, forget_old
from dispatcher.api.models import IdempotencyKey
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.api import board
from tests.dispatcher.api.board import bearer, secret_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.dispatcher.api.board")]

DAY = timedelta(hours=24)


@pytest.fixture
def secret():
    return secret_of(User.objects.create_superuser("ann"))


def post(secret, key="k", client=None, path="/board/", **body):
    headers = bearer(secret) | ({} if key is None else {"idempotency-key": key})
    client = client or Client(raise_request_exception=False)
    return client.post(path, {"name": "job"} | body, "application/json", headers=headers)


def names():
    return list(ScheduledTask.objects.order_by("pk").values_list("name", flat=True))


def is_replay(response):
    return response.headers.get("Idempotency-Replayed") == "true"


# One after the other ------------------------------------------------------------------------------


def test_a_repeated_request_gets_the_same_answer(secret):
    first, second = post(secret), post(secret)
    assert (first.status_code, is_replay(first)) == (201, False)
    assert (second.status_code, is_replay(second)) == (201, True)
    assert second.content == first.content
    for name in ("Location", "ETag", "Content-Type"):
        assert second.headers[name] == first.headers[name]
    assert names() == ["job"]
    assert ScheduledTask.history.count() == 1


def test_the_answer_is_the_one_of_then(secret):
    first = post(secret)
    ScheduledTask.objects.all().delete()
    assert post(secret).content == first.content
    assert names() == []


def test_without_a_key_each_request_is_its_own(secret):
    post(secret, None)
    post(secret, None, name="other")
    assert names() == ["job", "other"]
    assert not IdempotencyKey.objects.exists()


def test_another_key_is_another_request(secret):
    for number, key in enumerate(("a", "A", "a ", "a.")):
        response = post(secret, key, name=f"job {number}")
        assert (response.status_code, is_replay(response)) == (201, False)
    assert len(names()) == 4


@pytest.mark.parametrize(("path", "body"), [("/board/", {"name": "other"}), ("/board/?x=1", {})])
def test_a_key_is_not_used_for_another_request(secret, path, body):
    post(secret)
    response = post(secret, path=path, **body)
    assert (response.status_code, response.data["detail"].code) == (422, "idempotency_key_reused")
    assert names() == ["job"]


def test_spaces_and_the_order_of_keys_are_no_other_request(secret):
    headers = bearer(secret, **{"idempotency-key": "k"})
    for text in ('{"name": "job", "x": 1}', '{"x":1,"name":"job"}'):
        response = Client().post("/board/", text, "application/json", headers=headers)
        assert response.status_code == 201
    assert names() == ["job"]


def test_a_key_belongs_to_its_user(secret):
    other = secret_of(User.objects.create_superuser("bob"))
    post(secret)
    response = post(other, name="of bob")
    assert (response.status_code, is_replay(response)) == (201, False)
    assert names() == ["job", "of bob"]


def test_who_may_not_any_more_is_told_no_old_answer(secret):
    post(secret)
    User.objects.update(is_superuser=False)
    assert post(secret).status_code == 403


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel", "a\tb"])
def test_a_key_is_printable_ascii(secret, key):
    response = post(secret, key)
    assert response.status_code == 400
    assert response.data[0].code == "idempotency_key_invalid"
    assert names() == []


@pytest.mark.parametrize("key", ["x", "~" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"'])
def test_a_key_has_up_to_255_characters(secret, key):
    assert [post(secret, key).status_code, is_replay(post(secret, key))] == [201, True]


def test_other_actions_know_no_key(secret):
    for _time in range(2):
        headers = bearer(secret, **{"idempotency-key": "k"})
        assert Client().get("/board/", headers=headers).status_code == 200
    assert not IdempotencyKey.objects.exists()


# What fails ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("then", "status"), [("raise", 500), ("refuse", 409)])
def test_what_fails_stores_nothing_and_may_be_tried_again(secret, then, status):
    assert post(secret, then=then).status_code == status
    assert names() == []
    assert not IdempotencyKey.objects.exists()
    response = post(secret)
    assert (response.status_code, is_replay(response)) == (201, False)
    assert names() == ["job"]


def test_a_body_that_is_no_json_stores_nothing(secret):
    headers = bearer(secret, **{"idempotency-key": "k"})
    response = Client().post("/board/", "{", "application/json", headers=headers)
    assert (response.status_code, response.data["detail"].code) == (400, "parse_error")
    assert post(secret).status_code == 201


# How long -----------------------------------------------------------------------------------------


def test_a_key_is_new_after_a_day(secret):
    post(secret)
    IdempotencyKey.objects.update(created_at=database_now() - DAY)
    response = post(secret, name="other")
    assert (response.status_code, is_replay(response)) == (201, False)
    assert names() == ["job", "other"]
    assert IdempotencyKey.objects.count() == 1


def test_within_the_day_it_is_kept(secret):
    post(secret)
    IdempotencyKey.objects.update(created_at=database_now() - DAY + timedelta(minutes=1))
    assert is_replay(post(secret))


def test_old_answers_are_deleted_a_few_at_a_time(secret, django_capture_on_commit_callbacks):
    user = User.objects.get()
    now = database_now()
    IdempotencyKey.objects.bulk_create(
        IdempotencyKey(user=user, key_digest=f"{n}", created_at=now - DAY - timedelta(minutes=n))
        for n in range(FORGOTTEN + 5)
    )
    with django_capture_on_commit_callbacks(execute=True):
        post(secret)
    left = IdempotencyKey.objects.order_by("-created_at").values_list("key_digest", flat=True)
    assert list(left)[1:] == ["0", "1", "2", "3", "4"]
    forget_old(now)
    assert IdempotencyKey.objects.count() == 1


# At once ------------------------------------------------------------------------------------------


def at_once(count, work):
    """What `work(0)` … `work(count - 1)` return that threads with connections of their own call."""
    barrier = Barrier(count)

    def call(number):
        try:
            barrier.wait(timeout=60)
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_make_one(secret):
    responses = at_once(20, lambda number: post(secret))
    assert [response.status_code for response in responses] == [201] * 20
    assert len({response.content for response in responses}) == 1
    assert sorted(map(is_replay, responses)) == [False] + [True] * 19
    assert names() == ["job"]
    assert (ScheduledTask.history.count(), IdempotencyKey.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_with_keys_of_their_own_make_twenty(secret):
    responses = at_once(20, lambda number: post(secret, f"k{number}", name=f"job {number:02}"))
    assert [response.status_code for response in responses] == [201] * 20
    assert sorted(names()) == [f"job {number:02}" for number in range(20)]


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_that_are_refused_store_nothing(secret):
    responses = at_once(20, lambda number: post(secret, then="refuse"))
    assert [response.status_code for response in responses] == [409] * 20
    assert names() == []
    assert not IdempotencyKey.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_twin_waits_and_takes_its_turn_when_the_first_fails(secret, monkeypatch):
    """The first has its key when the twin comes, and then fails: the twin's own turn has come."""
    taken, waited, create = Event(), Event(), board.Board.create

    def slow_at_first(self, request):
        if taken.is_set():
            return create(self, request)
        taken.set()
        if _somebody_waits():
            waited.set()
        raise RuntimeError("the first fails")

    monkeypatch.setattr(board.Board, "create", slow_at_first)

    def work(number):
        if number == 1:
            assert taken.wait(timeout=30)
        return post(secret)

    first, twin = at_once(2, work)
    assert waited.is_set()
    assert (first.status_code, twin.status_code, is_replay(twin)) == (500, 201, False)
    assert names() == ["job"]


_WAITING = {
    "postgresql": "SELECT count(*) FROM pg_locks WHERE NOT granted",
    "mysql": "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
}


def _somebody_waits():
    """Within 30 s. SQLite does not tell; there the twin waits where its transaction begins."""
    query = _WAITING.get(connection.vendor)
    deadline = time.monotonic() + 30
    while query and not _number(query):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.15)  # MariaDB looks anew when nobody has asked for 0.1 s
    return True


def _number(query):
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]
