"""Scheduled tasks through the API: created, read, changed, deleted; and what acts on them."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client

from dispatcher.api.kernel.fields import iso
from dispatcher.models import TaskRun
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.registry import masking
from tests.dispatcher.api.conftest import ADD, CRON, EVERY, OK, Api
from tests.dispatcher.rows import run_at

WHOLE = CRON | {"timezone": "UTC"}
SECRET = {"region": "eu", "password": "open sesame"}


def stored(row):
    return ScheduledTask.objects.get(pk=row["id"])


def codes(answer):
    return {(error["field"], error["code"]) for error in answer.json()["errors"]}


# Create ---------------------------------------------------------------------------------------


def test_what_is_created_is_answered_with_its_address_and_its_next_run(api):
    answer = api.post("scheduled-tasks/", CRON)

    row = answer.json()
    assert answer.status_code == 201
    assert answer["Location"] == f"http://testserver/api/v1/scheduled-tasks/{row['id']}/"
    assert api.get(answer["Location"]).json() == row
    assert row["name"] == "Nightly"
    assert row["state"] == "active"
    assert row["schedule_text"] == "every day at 03:30 (UTC)"
    slot = stored(row).upcoming(1)[0]
    assert datetime.fromisoformat(row["next_run_at"]) == slot


def test_the_trail_says_who_created_it_and_from_where(api):
    entry = stored(api.create()).history.get()

    assert (entry.via, entry.by, entry.history_user) == (
        "api",
        "ann",
        get_user_model().objects.get(),
    )


def test_several_mistakes_are_told_at_once_each_with_its_code(api):
    api.create()

    answer = api.post(
        "scheduled-tasks/", CRON | {"name": "NIGHTLY", "cron_expression": "99 * * * *"}
    )

    assert answer.status_code == 400
    assert codes(answer) == {("name", "unique"), ("cron_expression", "out_of_range")}
    assert ScheduledTask.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"colour": "red"}, ("colour", "unknown_field")),
        ({"interval_seconds": "60"}, ("interval_seconds", "invalid")),
        ({"enabled": "yes"}, ("enabled", "invalid")),
        ({"name": 5}, ("name", "invalid")),
        ({"name": ""}, ("name", "blank")),
        ({"task": "celery.backend_cleanup"}, ("task", "refused_task")),
        ({"args": {"a": 1}}, ("args", "wrong_shape")),
        ({"task": ADD}, ("args", "arguments")),
        ({"timezone": "Mars/Base"}, ("timezone", "unknown_timezone")),
        ({"starts_at": "2026-11-21T09:00:00"}, ("starts_at", "naive")),
        ({"starts_at": "tomorrow"}, ("starts_at", "invalid")),
        ({"starts_at": 5}, ("starts_at", "invalid")),
        ({"priority": 10}, ("priority", "max_value")),
        ({"max_runs": 2**31}, ("max_runs", "max_value")),
        ({"overlap_policy": "dance"}, ("overlap_policy", "invalid_choice")),
        ({"run_at": "2030-01-01T00:00:00Z"}, ("run_at", "other_kind")),
        ({"kwargs": {"password": masking.MASK}}, ("kwargs", "masked")),
    ],
)
def test_what_is_wrong_is_refused_by_field_and_code(api, body, expected):
    answer = api.post("scheduled-tasks/", EVERY | body)

    assert answer.status_code == 400
    assert codes(answer) == {expected}
    assert not ScheduledTask.objects.exists()


def test_fields_that_do_not_exist_are_named_beside_those_that_are_wrong(api):
    body = {"colour": "red", "revision": 7, "kind": "cron", "name": 5, "starts_at": "tomorrow"}

    answer = api.post("scheduled-tasks/", body)

    assert codes(answer) == {
        ("colour", "unknown_field"),
        ("name", "invalid"),
        ("task", "required"),
        ("starts_at", "invalid"),
    }
    assert answer.json()["errors"][0]["field"] == "colour"


def test_times_come_in_with_any_offset_and_go_out_in_utc(api):
    row = api.create(starts_at="2030-03-01T09:00:00+08:00")

    assert row["starts_at"] == "2030-03-01T01:00:00Z"
    assert stored(row).starts_at == datetime(2030, 3, 1, 1, tzinfo=UTC)


# Change ---------------------------------------------------------------------------------------


def test_patch_touches_only_what_it_names(api):
    row = api.create(kwargs={"x": 1})
    ScheduledTask.objects.filter(pk=row["id"]).keep(last_run_at=datetime(2026, 1, 1, tzinfo=UTC))
    before = ScheduledTask.objects.filter(pk=row["id"]).values().get()

    answer = api.patch(f"scheduled-tasks/{row['id']}/", {"description": "new"})

    after = ScheduledTask.objects.filter(pk=row["id"]).values().get()
    assert answer.json()["description"] == "new"
    assert {name for name in after if after[name] != before[name]} == {"description", "updated_at"}


def test_a_patch_that_changes_nothing_leaves_no_trace(api):
    row = api.create()
    before = ScheduledTask.objects.filter(pk=row["id"]).values().get()

    answer = api.patch(f"scheduled-tasks/{row['id']}/", {"name": "Nightly", "args": []})

    assert answer.status_code == 200
    assert ScheduledTask.objects.filter(pk=row["id"]).values().get() == before
    assert stored(row).history.count() == 1


def test_another_kind_takes_the_place_of_the_old_rule(api):
    row = api.create()

    answer = api.patch(
        f"scheduled-tasks/{row['id']}/", {"kind": "interval", "interval_seconds": 60}
    )

    assert answer.status_code == 200
    assert (answer.json()["cron_expression"], answer.json()["interval_seconds"]) == ("", 60)


def test_a_rule_of_another_kind_is_refused(api):
    row = api.create()

    answer = api.patch(f"scheduled-tasks/{row['id']}/", {"interval_seconds": 60})

    assert codes(answer) == {("interval_seconds", "other_kind")}


def test_patch_refuses_what_cannot_be_set(api):
    row = api.create()

    answer = api.patch(f"scheduled-tasks/{row['id']}/", {"revision": 1, "statee": "paused"})

    assert codes(answer) == {("revision", "read_only"), ("statee", "unknown_field")}


def test_put_gives_what_it_leaves_out_its_default(api):
    row = api.create(description="old", max_retries=3, enabled=False, kwargs={"x": 1})

    answer = api.put(f"scheduled-tasks/{row['id']}/", WHOLE | {"name": "Renamed"})

    shown = answer.json()
    assert answer.status_code == 200
    assert (shown["name"], shown["description"], shown["max_retries"]) == ("Renamed", "", 0)
    assert (shown["enabled"], shown["kwargs"]) == (True, {})


def test_put_needs_what_has_no_default(api):
    row = api.create()

    answer = api.put(f"scheduled-tasks/{row['id']}/", {"name": "Renamed"})

    missing = ("task", "kind", "timezone")
    assert codes(answer) == {(name, "required") for name in missing}
    assert stored(row).name == "Nightly"


@pytest.mark.parametrize("left_out", ["name", "task", "kind", "cron_expression", "timezone"])
def test_put_never_resets_by_silence_what_decides_when_it_runs(api, left_out):
    row = api.create(timezone="Asia/Shanghai", description="old")
    body = {name: value for name, value in WHOLE.items() if name != left_out}

    answer = api.put(f"scheduled-tasks/{row['id']}/", body)

    assert (answer.status_code, codes(answer)) == (400, {(left_out, "required")})
    kept = stored(row)
    assert (kept.timezone, kept.cron_expression) == ("Asia/Shanghai", CRON["cron_expression"])
    assert kept.description == "old"


@pytest.mark.parametrize(
    ("kind", "rule"), [("interval", "interval_seconds"), ("one_time", "run_at")]
)
def test_put_needs_the_rule_of_its_kind(api, kind, rule):
    row = api.create()
    body = {"name": "Nightly", "task": CRON["task"], "kind": kind, "timezone": "UTC"}

    assert codes(api.put(f"scheduled-tasks/{row['id']}/", body)) == {(rule, "required")}


def test_a_body_that_was_read_can_be_put_back_unchanged(api):
    row = api.create(task="unknown.task", kwargs=SECRET, starts_at="2030-03-01T09:00:00+08:00")

    answer = api.put(f"scheduled-tasks/{row['id']}/", row)

    assert answer.status_code == 200
    assert answer.json() == row
    assert stored(row).history.count() == 1


def test_a_body_that_was_read_makes_a_copy_under_another_name(api):
    row = api.create(description="of mine")

    answer = api.post("scheduled-tasks/", row | {"name": "Copy"})

    assert answer.status_code == 201
    assert answer.json()["id"] != row["id"]
    assert answer.json()["description"] == "of mine"


def test_secrets_are_masked_and_the_mask_stands_for_what_it_hid(api):
    row = api.create(task="unknown.task", kwargs=SECRET)
    assert row["kwargs"] == {"region": "eu", "password": masking.MASK}

    changed = api.patch(
        f"scheduled-tasks/{row['id']}/", {"kwargs": row["kwargs"] | {"region": "us"}}
    )

    assert changed.json()["kwargs"] == {"region": "us", "password": masking.MASK}
    assert stored(row).kwargs == {"region": "us", "password": "open sesame"}
    assert b"sesame" not in api.get("scheduled-tasks/").content


def test_delete_leaves_the_runs(api):
    row = api.create()
    run = api.post(f"scheduled-tasks/{row['id']}/run/").json()

    assert api.delete(f"scheduled-tasks/{row['id']}/").status_code == 204

    assert api.get(f"scheduled-tasks/{row['id']}/").status_code == 404
    assert api.get(f"runs/{run['id']}/").json()["name"] == "Nightly"


@pytest.mark.parametrize("pk", ["1", "99999999999999999999999999", "0"])
def test_an_unknown_id_is_not_found(api, pk):
    for answer in (
        api.get(f"scheduled-tasks/{pk}/"),
        api.patch(f"scheduled-tasks/{pk}/", {}),
        api.delete(f"scheduled-tasks/{pk}/"),
        api.post(f"scheduled-tasks/{pk}/run/"),
        api.post(f"scheduled-tasks/{pk}/pause/"),
        api.get(f"scheduled-tasks/{pk}/runs/"),
        api.get(f"scheduled-tasks/{pk}/upcoming/"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


# What became of it ----------------------------------------------------------------------------


def test_run_starts_one_with_other_arguments_and_says_where_it_is(api):
    row = api.create(task=OK, kwargs={"x": 1})

    answer = api.post(f"scheduled-tasks/{row['id']}/run/", {"kwargs": {"x": 2}})

    run = answer.json()
    assert answer.status_code == 201
    assert answer["Location"] == f"http://testserver/api/v1/runs/{run['id']}/"
    assert (run["trigger"], run["scheduled_task"], run["kwargs"]) == ("manual", row["id"], {"x": 2})
    assert (run["triggered_by"], run["triggered_via"]) == ("ann", "api")
    assert stored(row).kwargs == {"x": 1}


def test_a_mask_in_the_arguments_of_a_run_stands_for_what_it_hid(api):
    row = api.create(task="unknown.task", kwargs=SECRET)

    run = api.post(f"scheduled-tasks/{row['id']}/run/", {"kwargs": row["kwargs"]}).json()

    assert run["kwargs"]["password"] == masking.MASK
    assert TaskRun.objects.get(pk=run["id"]).kwargs == SECRET


def test_arguments_that_do_not_fit_start_nothing(api):
    row = api.create(task=OK)

    answer = api.post(f"scheduled-tasks/{row['id']}/run/", {"kwargs": {"y": 2}})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "kwargs"
    assert not TaskRun.objects.exists()


def test_backfill_says_what_it_would_do_and_then_does_it(api):
    row = api.create()
    span = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-03T00:00:00Z"}
    slots = ["2026-01-01T03:30:00Z", "2026-01-02T03:30:00Z"]

    dry = api.post(f"scheduled-tasks/{row['id']}/backfill/", span | {"dry_run": True})
    assert (dry.status_code, dry.json()) == (200, {"slots": slots, "runs": []})
    assert not TaskRun.objects.exists()

    done = api.post(f"scheduled-tasks/{row['id']}/backfill/", span)
    assert done.status_code == 201
    assert done.json()["slots"] == slots
    assert [run["scheduled_for"] for run in done.json()["runs"]] == slots
    assert TaskRun.objects.count() == 2


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [
        ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", "end"),
        ("2026-01-02T00:00:00Z", "2099-01-01T00:00:00Z", "end"),
        ("2026-01-02T00:00:00", "2026-01-03T00:00:00Z", "start"),
    ],
)
def test_a_backfill_is_of_a_range_of_the_past(api, start, end, field):
    row = api.create()

    answer = api.post(f"scheduled-tasks/{row['id']}/backfill/", {"start": start, "end": end})

    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_the_list_shows_how_the_newest_run_went(api):
    row = api.create()
    assert api.get("scheduled-tasks/").json()["results"][0]["last_status"] is None
    run = api.post(f"scheduled-tasks/{row['id']}/run/").json()
    api.post(f"runs/{run['id']}/cancel/")

    shown = api.get("scheduled-tasks/").json()["results"][0]

    assert (shown["last_status"], shown["last_run_id"]) == ("cancelled", run["id"])


def test_the_last_run_is_the_newest_that_has_begun_not_the_next_that_is_planned(api):
    row = api.create()
    definition, now = stored(row), database_now()
    began = now - timedelta(minutes=9)

    def shown():
        return api.get(f"scheduled-tasks/{row['id']}/").json()["last_run_at"]

    run_at(now + timedelta(minutes=1), definition, status="planned")
    ScheduledTask.objects.filter(pk=row["id"]).keep(last_run_at=now + timedelta(minutes=1))
    assert shown() is None

    missed = run_at(now - timedelta(minutes=20), definition, status="missed")
    assert shown() == iso(missed.scheduled_for)

    run_at(now - timedelta(minutes=10), definition, status="succeeded", started_at=began)
    assert shown() == iso(began)


def test_the_history_tells_who_changed_what_and_no_secret(api):
    row = api.create(task="unknown.task", kwargs=SECRET)
    path = f"scheduled-tasks/{row['id']}/"
    api.patch(path, {"description": "new"})
    stored(row).pause(by="bob")

    found = api.get(f"{path}history/").json()["results"]

    assert [(entry["kind"], entry["via"], entry["by"]) for entry in found] == [
        ("changed", "code", "bob"),
        ("changed", "api", "ann"),
        ("created", "api", "ann"),
    ]
    changed = {"field": "description", "label": "Description", "old": "", "new": "new"}
    assert found[1]["changes"] == [changed]
    assert "sesame" not in str(found)
    pages = [api.get(f"{path}history/?page_size=2").json()]
    pages.append(api.get(pages[0]["next"]).json())
    assert [entry for page in pages for entry in page["results"]] == found
    assert pages[1]["next"] is None


@pytest.mark.django_db(transaction=True)
def test_of_those_who_take_a_name_at_the_same_time_one_gets_it(api):
    """The others are told so, and by no server error."""
    barrier = threading.Barrier(5)
    found = []

    def create() -> None:
        client = Client()
        client.cookies = api.client.cookies
        barrier.wait(10)
        answer = Api(client).post("scheduled-tasks/", CRON)
        found.append((answer.status_code, answer.json().get("errors")))
        connection.close()

    threads = [threading.Thread(target=create) for _number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(status for status, _errors in found) == [201] + [400] * 4
    assert {errors[0]["code"] for status, errors in found if status == 400} == {"unique"}
    assert ScheduledTask.objects.count() == 1


def test_a_row_that_raw_sql_has_spoilt_harms_no_other(api):
    api.create(name="Good")
    bad = api.create(name="Spoilt")
    spoilt = {"cron_expression": "nonsense", "timezone": "Mars", "args": "text", "kwargs": [1]}
    ScheduledTask.objects.filter(pk=bad["id"]).keep(**spoilt)

    rows = api.get("scheduled-tasks/").json()["results"]

    assert [(row["name"], row["state"]) for row in rows] == [
        ("Good", "active"),
        ("Spoilt", "set_aside"),
    ]
    assert rows[1]["next_run_at"] is None
    assert rows[1]["state_text"]
    path = f"scheduled-tasks/{bad['id']}/"
    assert api.get(path).json() == rows[1]
    assert api.get(f"{path}upcoming/").json()["runs"] == []
    cured = api.patch(path, {name: CRON[name] for name in ("cron_expression",)} | CURE)
    assert (cured.status_code, cured.json()["state"]) == (200, "active")


CURE = {"timezone": "UTC", "args": [], "kwargs": {}}
