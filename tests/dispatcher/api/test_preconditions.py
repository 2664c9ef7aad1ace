"""ETags: a change that was made meanwhile is not undone, and what is known is not sent again."""

import threading

import pytest
from django.db import connection
from django.test import Client

from scheduling.models import ScheduledTask
from tests.dispatcher.api.conftest import Api


def tag(api, row):
    return api.get(f"scheduled-tasks/{row['id']}/")["ETag"]


EDITS = [
    lambda row: row.pause(),
    lambda row: row.skip_next(),
    lambda row: save(row, description="new"),
    lambda row: save(row, owner="bob"),
    lambda row: save(row, timezone="Asia/Shanghai"),
    lambda row: ScheduledTask.objects.filter(pk=row.pk).update(group="night"),
]


def save(row, **columns):
    for name, value in columns.items():
        setattr(row, name, value)
    row.save(update_fields=list(columns))


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_changes_the_tag_and_the_old_one_is_refused(api, edit):
    row = api.create()
    before = tag(api, row)

    edit(ScheduledTask.objects.get(pk=row["id"]))

    assert tag(api, row) != before
    path = f"scheduled-tasks/{row['id']}/"
    for answer in (
        api.patch(path, {"max_retries": 1}, if_match=before),
        api.put(path, row, if_match=before),
        api.delete(path, if_match=before),
        api.post(f"{path}pause/", if_match=before),
        api.post(f"{path}resume/", if_match=before),
        api.post(f"{path}skip-next/", if_match=before),
    ):
        assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed")


def test_the_tag_that_was_answered_is_good_for_the_next_change(api):
    row = api.create()
    path = f"scheduled-tasks/{row['id']}/"

    first = api.patch(path, {"description": "1"}, if_match=tag(api, row))
    second = api.patch(path, {"description": "2"}, if_match=first["ETag"])

    assert (first.status_code, second.status_code) == (200, 200)
    assert second["ETag"] == tag(api, row)


def test_what_the_scheduler_does_meanwhile_does_not_stop_a_change(api):
    """Its last run is another one, the row is shown otherwise: no edit."""
    row = api.create()
    before = tag(api, row)

    run = api.post(f"scheduled-tasks/{row['id']}/run/").json()
    api.post(f"runs/{run['id']}/cancel/")

    path = f"scheduled-tasks/{row['id']}/"
    assert api.get(path, if_none_match=before).status_code == 200
    assert api.patch(path, {"description": "1"}, if_match=before).status_code == 200


@pytest.mark.parametrize("value", ["*", '"x", {tag}', "{tag}"])
def test_a_tag_matches_alone_in_a_list_and_as_a_star(api, value):
    row = api.create()
    value = value.format(tag=tag(api, row))

    answer = api.patch(f"scheduled-tasks/{row['id']}/", {"description": "1"}, if_match=value)

    assert answer.status_code == 200


@pytest.mark.parametrize("value", ["W/{tag}", '"x"', "x", '""', '"1"'])
def test_no_other_tag_matches(api, value):
    row = api.create()
    value = value.format(tag=tag(api, row))

    answer = api.patch(f"scheduled-tasks/{row['id']}/", {"description": "1"}, if_match=value)

    assert answer.status_code == 412


def test_what_is_known_is_not_sent_again(api):
    row = api.create()
    path = f"scheduled-tasks/{row['id']}/"
    known = tag(api, row)

    same = api.get(path, if_none_match=f'"x", W/{known}')
    assert (same.status_code, same.content, same["ETag"]) == (304, b"", known)
    api.post(f"{path}pause/")
    assert api.get(path, if_none_match=known).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_of_changes_that_are_made_at_the_same_time_one_wins(api):
    """Each has read the same version; all but one are told that it is gone."""
    row = api.create()
    known = tag(api, row)
    cookies = api.client.cookies
    barrier = threading.Barrier(6)
    found = []

    def change(number: int) -> None:
        client = Client()
        client.cookies = cookies
        barrier.wait(10)
        answer = Api(client).patch(
            f"scheduled-tasks/{row['id']}/", {"max_retries": number}, if_match=known
        )
        found.append((answer.status_code, number))
        connection.close()

    threads = [threading.Thread(target=change, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(status for status, _number in found) == [200] + [412] * 5
    (winner,) = (number for status, number in found if status == 200)
    assert ScheduledTask.objects.get(pk=row["id"]).max_retries == winner
    assert ScheduledTask.objects.get(pk=row["id"]).history.count() == 2
