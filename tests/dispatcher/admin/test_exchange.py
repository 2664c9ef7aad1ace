"""Import and export: what leaves comes back the same, and nothing else gets in."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from dispatcher.admin.exchange import files as task_files
from dispatcher.admin.exchange import resource as exchange
from dispatcher.admin.exchange.resource import COLUMNS
from scheduling.models import ScheduledTask
from scheduling.registry.masking import MASK

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
LIST = "/admin/scheduling/scheduledtask/"
IMPORT, EXPORT = f"{LIST}import/", f"{LIST}export/"
HEADS = "name,task,kind,interval_seconds"


def job(name="job", task=OK, every=3600, **options):
    return ScheduledTask.objects.create_interval(name, task, every, **options)


def export(client, kind="csv", query="", **data):
    response = client.post(EXPORT + query, {"format": kind, **data})
    assert response["Content-Disposition"].endswith(f'.{kind}"')
    return response.content


def upload(client, content, name="tasks.csv"):
    if isinstance(content, str):
        content = content.encode()
    return client.post(IMPORT, {"file": SimpleUploadedFile(name, content)})


def confirm(client, page):
    return client.post(IMPORT, {"kept": page.context["kept"]}, follow=True)


def take(client, content, name="tasks.csv"):
    """Import the file and say yes."""
    return confirm(client, upload(client, content, name))


def said(response):
    return [str(message) for message in response.context["messages"]]


def refusals(page):
    return [(row.number, row.name, row.errors) for row in page.context["outcome"].refused]


def stored():
    return list(ScheduledTask.objects.order_by("name").values(*COLUMNS))


@pytest.fixture
def of_every_kind():
    """What people enter: three kinds, zones, Chinese, times to the microsecond, odd texts."""
    shanghai = {"timezone": "Asia/Shanghai", "owner": "小明", "group": "报表"}
    cron = ScheduledTask.objects.create_cron(
        "每日 报告", OK, "30 3 * * mon-fri", description="第一行\r\n第二行, “引号”\n", **shanghai
    )
    job("Interval", starts_at=datetime(2099, 7, 1, 9, 0, 30, 123456, tzinfo=UTC), priority=9)
    job("Secret", task="far.away", args=[1, {"token": "t"}], kwargs={"password": "p", "n": None})
    moment = datetime(2099, 10, 25, 1, 30, tzinfo=UTC)  # the second pass of 02:30 in Berlin
    ScheduledTask.objects.create_one_time(
        "=once()", OK, moment, timezone="Europe/Berlin", retry_backoff=True, max_runs=3
    )
    job("'quoted", description="-1", ends_at=datetime(2100, 1, 1, tzinfo=UTC))
    cron.pause(by="ada", until=datetime(2099, 1, 1, tzinfo=UTC))


# There and back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_an_export_imported_again_changes_nothing(admin_client, of_every_kind, kind):
    before = list(ScheduledTask.objects.order_by("pk").values())
    page = upload(admin_client, export(admin_client, kind), f"tasks.{kind}")
    outcome = page.context["outcome"]
    assert (outcome.refused, dict(outcome.counts)) == ([], {"unchanged": 5})
    confirm(admin_client, page)
    assert list(ScheduledTask.objects.order_by("pk").values()) == before


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_an_export_makes_the_same_rows_where_they_are_gone(admin_client, of_every_kind, kind):
    ScheduledTask.objects.get(name="Secret").delete()
    before, content = stored(), export(admin_client, kind)
    ScheduledTask.objects.all().delete()
    told = said(take(admin_client, content, f"tasks.{kind}"))
    assert told == ["Imported: 4 new, 0 changed, 0 unchanged."]
    assert stored() == before


def test_what_is_imported_is_planned_and_on_record(admin_client):
    take(admin_client, f"{HEADS}\nnew,{OK},interval,60\n")
    task = ScheduledTask.objects.get(name="new")
    assert task.next_run_at is not None
    entry = ScheduledTask.history.get(id=task.pk)
    assert (entry.history_type, entry.via, entry.by) == ("+", "admin", "admin")


def test_a_change_is_an_edit_of_the_changed_columns_on_record(admin_client):
    task = job("Report", description="old", owner="ada")
    page = upload(admin_client, "name,interval_seconds,description\nREPORT,7200,new\n")
    (row,) = page.context["outcome"].accepted
    assert (row.kind, [(c.name, c.old, c.new) for c in row.changes]) == (
        "changed",
        [
            ("name", "Report", "REPORT"),
            ("description", "old", "new"),
            ("interval_seconds", "3600", "7200"),
        ],
    )
    task.refresh_from_db()
    assert task.name == "Report"  # nothing is written before somebody has said yes
    assert said(confirm(admin_client, page)) == ["Imported: 0 new, 1 changed, 0 unchanged."]
    again = ScheduledTask.objects.get(pk=task.pk)
    assert (again.name, again.interval_seconds, again.description) == ("REPORT", 7200, "new")
    assert (again.owner, again.revision) == ("ada", task.revision + 1)
    entry = ScheduledTask.history.filter(id=task.pk).first()
    assert (entry.history_type, entry.via, entry.by) == ("~", "admin", "admin")


def test_the_export_is_of_what_is_filtered_or_selected(admin_client):
    tasks = [job(name, group=group) for name, group in (("a", "x"), ("b", "x"), ("c", ""))]
    assert "Export 2 scheduled tasks" in admin_client.get(f"{EXPORT}?group=x").content.decode()
    filtered = json.loads(export(admin_client, "json", "?group=x"))
    assert [row["name"] for row in filtered] == ["a", "b"]
    action = {"action": "export", "_selected_action": [tasks[0].pk, tasks[2].pk]}
    page = admin_client.post(LIST, action)
    selected = json.loads(export(admin_client, "json", ids=page.context["ids"]))
    assert [row["name"] for row in selected] == ["a", "c"]


# Cells --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "＝1", "'=1", "''", "'x", "x", "", "x=1"]
)
def test_no_cell_begins_a_formula_and_each_comes_back_as_it_was(text):
    cell = task_files.guarded(text)
    assert not cell.startswith(task_files.FORMULA)
    assert task_files.unguarded(cell) == text


def test_a_csv_file_is_one_that_spreadsheets_read(admin_client):
    job("=cmd()", description="每")
    content = export(admin_client)
    assert content.startswith(b"\xef\xbb\xbf")
    heads, row = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    assert (tuple(heads), row[0], row[1]) == (COLUMNS, "'=cmd()", "每")


def test_a_time_without_an_offset_is_on_the_clock_of_the_job(admin_client):
    heads = "name,task,kind,run_at,timezone"
    take(
        admin_client,
        f"{heads}\n"
        f"naive,{OK},one_time,2099-07-01 09:00,Asia/Shanghai\n"
        f"aware,{OK},one_time,2099-07-01T09:00:00+02:00,Asia/Shanghai\n",
    )
    found = dict(ScheduledTask.objects.values_list("name", "run_at"))
    assert found == {
        "naive": datetime(2099, 7, 1, 1, 0, tzinfo=UTC),
        "aware": datetime(2099, 7, 1, 7, 0, tzinfo=UTC),
    }


def test_a_column_that_is_missing_stays_and_an_empty_cell_is_the_default(admin_client):
    task = job(max_retries=5, owner="ada", priority=3, kwargs={}, misfire_policy="skip")
    take(admin_client, "name,max_retries,priority,kwargs,enabled\njob,,,,TRUE\n")
    task = ScheduledTask.objects.get(pk=task.pk)
    assert (task.max_retries, task.priority, task.enabled) == (0, None, True)
    assert (task.owner, task.misfire_policy) == ("ada", "skip")


def test_objects_of_a_json_file_may_have_different_keys(admin_client):
    job("a", owner="ada")
    rows = [{"name": "a", "group": "x"}, {"owner": "bob", "name": "a2", "task": OK}]
    rows[1] |= {"kind": "interval", "interval_seconds": 60, "kwargs": {}}
    take(admin_client, json.dumps(rows), "tasks.json")
    found = ScheduledTask.objects.order_by("name").values_list("name", "owner", "group")
    assert list(found) == [("a", "ada", "x"), ("a2", "bob", "")]


# Secrets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_secrets_leave_masked_and_a_mask_that_comes_back_stands_for_its_secret(admin_client, kind):
    task = job("Secret", task="far.away", kwargs={"password": "hunter2", "n": 1})
    content = export(admin_client, kind).decode()
    assert "hunter2" not in content and MASK in content
    page = upload(admin_client, content.replace("far.away", "far.off"), f"tasks.{kind}")
    assert "hunter2" not in page.content.decode()
    confirm(admin_client, page)
    task = ScheduledTask.objects.get(pk=task.pk)
    assert (task.task, task.kwargs) == ("far.off", {"password": "hunter2", "n": 1})


def test_a_mask_with_nothing_behind_it_is_refused(admin_client):
    job("known", task="far.away")
    row = {"task": "far.away", "kind": "interval", "interval_seconds": 60}
    rows = [row | {"name": name, "kwargs": {"password": MASK}} for name in ("known", "new")]
    page = upload(admin_client, json.dumps(rows), "tasks.json")
    why = [("Keyword arguments", "The value of “password” was hidden. Give it anew.")]
    assert refusals(page) == [(1, "known", why), (2, "new", why)]


# Refused ------------------------------------------------------------------------------------------


def test_one_bad_row_keeps_all_out_and_is_named_with_the_reason(admin_client):
    job("known")
    content = f"{HEADS}\nnew,{OK},interval,60\nknown,{OK},interval,0\nworse,{OK},cron,\n"
    page = upload(admin_client, content)
    assert [(number, name) for number, name, _errors in refusals(page)] == [
        (2, "known"),
        (3, "worse"),
    ]
    (_label, message) = refusals(page)[1][2][0]
    assert message == "Give the cron expression."
    html = page.content.decode()
    assert "2 rows cannot be imported, so nothing is." in html
    assert "Yes, import it" not in html
    confirm(admin_client, page)  # as somebody would who makes up the form
    assert list(ScheduledTask.objects.values_list("name", "interval_seconds")) == [("known", 3600)]


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("run_at", "tomorrow", "Give a date and time such as"),
        ("starts_at", "2027-03-28 02:30", "does not exist"),
        ("kwargs", "{", "This is not valid JSON."),
        ("kwargs", "[1]", "Give a JSON object"),
        ("max_runs", "many", "must be an integer"),
        ("enabled", "perhaps", "must be either True or False"),
        ("timezone", "Mars/Olympus", "is not a known time zone"),
        ("misfire_policy", "dream", "is not a valid choice"),
        ("interval_seconds", "60.5", "must be an integer"),
    ],
)
def test_a_cell_that_cannot_be_is_told_with_its_column(admin_client, column, cell, message):
    heads = "name,task,kind,interval_seconds,timezone"
    row = dict(zip(heads.split(","), ["x", OK, "interval", "60", "Europe/Berlin"], strict=True))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*row, *({column} - {*row})])
    writer.writeheader()
    writer.writerow(row | {column: cell})
    ((_number, _name, errors),) = refusals(upload(admin_client, text.getvalue()))
    label = str(ScheduledTask._meta.get_field(column).verbose_name)
    assert errors[0][0].lower() == label.lower()
    assert message in errors[0][1]


@pytest.mark.parametrize("value", [60.5, True, [60], {"s": 60}])
def test_a_number_of_a_json_file_is_not_rounded(admin_client, value):
    row = {"name": "x", "task": OK, "kind": "interval", "interval_seconds": value}
    assert refusals(upload(admin_client, json.dumps([row]), "x.json"))[0][0] == 1


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("name,next_run_at\nx,\n", "x.csv", "These columns cannot be imported: next_run_at."),
        ("name,nonsense\nx,\n", "x.csv", "These columns cannot be imported: nonsense."),
        ("task\nx\n", "x.csv", "The file has no column “name”"),
        ("name\n", "x.csv", "The file has no rows."),
        ("name,name\nx,y\n", "x.csv", "A column is there twice."),
        ("name\nx\nX\n", "x.csv", "The name “x” is there twice."),
        ("name\nx,y\n", "x.csv", "A row has more cells than there are columns."),
        ("", "x.csv", "The submitted file is empty."),
        ("{}", "x.json", "The file is no list of objects."),
        ("{", "x.json", "The file cannot be read"),
        ("[" * 100_000, "x.json", "The file cannot be read"),
        ("name\nx\n", "x.txt", "Choose a file whose name ends in .csv or .json."),
        ("name\n报表\n".encode("gbk"), "x.csv", "The file is not UTF-8."),
    ],
)
def test_a_file_that_cannot_be_is_refused_as_a_whole(admin_client, content, name, message):
    html = upload(admin_client, content, name).content.decode()
    assert message in html
    assert not ScheduledTask.objects.exists()


def test_a_file_has_a_limit_of_rows(admin_client, monkeypatch):
    monkeypatch.setattr(exchange, "MOST_ROWS", 1)
    content = f"{HEADS}\na,{OK},interval,60\nb,{OK},interval,60\n"
    assert "1 rows at most" in upload(admin_client, content).content.decode()


# Between the two pages ----------------------------------------------------------------------------


def test_what_others_changed_meanwhile_is_shown_before_it_is_overwritten(admin_client):
    task = job(description="mine")
    page = upload(admin_client, "name,description\njob,from the file\n")
    ScheduledTask.objects.filter(pk=task.pk).update(description="theirs")
    again = confirm(admin_client, page)
    assert "Somebody changed something meanwhile." in again.content.decode()
    assert again.context["outcome"].accepted[0].changes[0].old == "theirs"
    task.refresh_from_db()
    assert task.description == "theirs"
    confirm(admin_client, again)
    task.refresh_from_db()
    assert task.description == "from the file"


def test_a_file_that_was_tampered_with_or_is_another_users_is_not_taken(admin_client, login):
    page = upload(admin_client, f"{HEADS}\nnew,{OK},interval,60\n")
    kept = page.context["kept"]
    other = login("view_scheduledtask", "add_scheduledtask", "change_scheduledtask")
    for client, text in ((admin_client, kept[:-1] + "!"), (admin_client, ""), (other, kept)):
        html = client.post(IMPORT, {"kept": text}).content.decode()
        assert "Choose the file again." in html
    assert not ScheduledTask.objects.exists()


# Who may ------------------------------------------------------------------------------------------

VIEW, ADD, CHANGE = (f"{verb}_scheduledtask" for verb in ("view", "add", "change"))


@pytest.mark.parametrize(
    ("permissions", "imports", "exports"),
    [
        ([], False, False),
        ([VIEW], False, True),
        ([VIEW, ADD], False, True),
        ([VIEW, CHANGE], False, True),
        ([VIEW, ADD, CHANGE], True, True),
    ],
)
def test_an_import_takes_two_permissions_and_an_export_one(login, permissions, imports, exports):
    client = login(*permissions)
    assert (client.get(IMPORT).status_code == 200) == imports
    assert (client.get(EXPORT).status_code == 200) == exports
    page = upload(client, f"{HEADS}\nnew,{OK},interval,60\n")
    assert page.status_code == (200 if imports else 403)
    assert client.post(EXPORT, {"format": "csv"}).status_code == (200 if exports else 403)
    if exports:
        html = client.get(LIST).content.decode()
        assert (f'href="{IMPORT}"' in html, f'href="{EXPORT}"' in html) == (imports, exports)


def test_both_need_a_login(client):
    assert [client.get(url).status_code for url in (IMPORT, EXPORT)] == [302, 302]


def test_the_columns_are_those_that_people_set():
    kept = {
        "id",
        "name_key",
        "created_at",
        "updated_at",
        "skip_slots",
        "next_run_at",
        "last_run_at",
    }
    kept |= {"armed_at", "slots_used", "revision", "state_reason", "state_reason_params"}
    kept |= {"state_reason_at", "state_reason_by"}
    assert {field.name for field in ScheduledTask._meta.concrete_fields} - {*COLUMNS} == kept
