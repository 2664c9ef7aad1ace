"""What a valid scheduled task is: for each check the last value that is good, the first that is
not, the field that is named and the code of the error."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError

from scheduling.database import database_now
from scheduling.models import ScheduledTask
from scheduling.schedules import ScheduleError
from scheduling.validation import row as validation

pytestmark = pytest.mark.django_db

OK = "tests.integration.tasks_app.tasks.ok"
ADD = "tests.integration.tasks_app.tasks.add"
LATER = datetime(2099, 1, 1, 12, tzinfo=UTC)
PAST = datetime(2020, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
S = timedelta(seconds=1)
NUL = "a\x00b"

RULES = {
    "interval": {"interval_seconds": 60},
    "cron": {"cron_expression": "*/5 * * * *"},
    "one_time": {"run_at": LATER},
}


def unsaved(kind="interval", **columns):
    return ScheduledTask(**({"name": "job", "task": OK, "kind": kind} | RULES[kind] | columns))


def codes(row):
    """{field: codes of its errors}; empty where it is valid."""
    try:
        row.clean()
    except ValidationError as error:
        return {name: [e.code for e in errors] for name, errors in error.error_dict.items()}
    return {}


def stored(kind="interval", **columns):
    row = unsaved(kind, **columns)
    row.save()
    return ScheduledTask.objects.get(pk=row.pk)


@pytest.mark.parametrize("kind", RULES)
def test_a_plain_one_of_each_kind_is_valid(kind):
    assert codes(unsaved(kind)) == {}


# Texts --------------------------------------------------------------------------------------------

TEXTS = ("name", "description", "owner", "group", "task", "queue", "timezone", "cron_expression")


@pytest.mark.parametrize("field", TEXTS)
@pytest.mark.parametrize("text", [NUL, "\x00", "a\ud800", "\udfffb"])
def test_a_character_that_cannot_be_stored_is_refused_in_every_text(field, text):
    kind = "cron" if field == "cron_expression" else "interval"
    assert "not_storable" in codes(unsaved(kind, **{field: text}))[field]


@pytest.mark.parametrize("text", ["\ud7ff", "\ue000", "\U0001f600", "é\t\n"])
def test_its_neighbours_can_be_stored(text):
    assert codes(unsaved(name=text, description=text, owner=text)) == {}


NAMES = {
    "": ["blank"],
    "  \t": ["blank"],
    None: ["blank"],
    3: ["blank"],
    "x": [],
    " x": [],
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_says_something(name):
    assert codes(unsaved(name=name)).get("name", []) == NAMES[name]


@pytest.mark.parametrize("other", ["job", "JOB", "Job"])
def test_a_name_is_taken_whatever_its_case_but_not_by_the_row_itself(other):
    row = stored()
    assert codes(unsaved(name=other)) == {"name": ["unique"]}
    row.name = other
    assert codes(row) == {}
    assert codes(unsaved(name=f"{other}s")) == {}


TASKS = {
    "": ["blank"],
    "  ": ["blank"],
    None: ["blank"],
    7: ["blank"],
    " shop.report": ["spaces"],
    "shop.report ": ["spaces"],
    "shop. report": ["spaces"],
    "shop.\treport": ["spaces"],
    "celery.chord": ["refused_task"],
    "dispatcher.tick": ["refused_task"],
    "dispatcher.rescue": ["refused_task"],
    "celerystuff.report": [],
    "shop.celery.report": [],
    "shop.report": [],
}


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_a_name_without_spaces_and_not_our_own(task):
    assert codes(unsaved(task=task)).get("task", []) == TASKS[task]


@pytest.mark.parametrize(
    ("queue", "found"), [("dispatcher", ["reserved_queue"]), ("dispatcher2", []), ("", [])]
)
def test_the_dispatchers_queue_is_its_own(queue, found):
    assert codes(unsaved(queue=queue)).get("queue", []) == found


# Arguments ----------------------------------------------------------------------------------------

ARGUMENTS = {
    "args": {
        "wrong_shape": [{}, "[]", None, 3, (1,), True],
        "not_json": [[object()], [float("nan")], [float("inf")], [-float("inf")], [NUL], [{1: 2}]],
        None: [[], [1, "a", None, {"b": [0.5, True]}], ["é"]],
    },
    "kwargs": {
        "wrong_shape": [[], "{}", None, 3],
        "not_json": [{"a": object()}, {"a": float("nan")}, {"a": "\ud800"}, {1: 2}, {NUL: 1}],
        None: [{}, {"a": [1, {"b": None}]}],
    },
}
CASES = [(f, code, v) for f, kinds in ARGUMENTS.items() for code, vs in kinds.items() for v in vs]


@pytest.mark.parametrize(("field", "code", "value"), CASES)
def test_arguments_are_json_of_their_shape(field, code, value):
    if value == [{1: 2}]:
        code = None  # JSON makes a text of it
    found = codes(unsaved(task="elsewhere.report", **{field: value}))
    assert found == ({} if code is None else {field: [code]})


def test_arguments_that_refer_to_themselves_are_refused():
    loop = []
    loop.append(loop)
    assert codes(unsaved(args=loop)) == {"args": ["not_json"]}


@pytest.mark.parametrize(
    ("args", "kwargs", "found"),
    [
        ([1, 2], {}, {}),
        ([], {"a": 1, "b": 2}, {}),
        ([1], {"b": 2}, {}),
        ([1], {}, {"args": ["arguments"]}),
        ([1, 2, 3], {}, {"args": ["arguments"]}),
        ([1, 2], {"b": 2}, {"kwargs": ["arguments"]}),
        ([], {"c": 1}, {"kwargs": ["arguments"]}),
    ],
)
def test_arguments_fit_the_signature_of_a_task_that_is_known(args, kwargs, found):
    assert codes(unsaved(task=ADD, args=args, kwargs=kwargs)) == found


def test_arguments_of_the_wrong_shape_are_not_tried_on_the_signature():
    assert codes(unsaved(task=ADD, args={"a": 1})) == {"args": ["wrong_shape"]}


def test_each_wrong_field_is_named_at_once():
    row = unsaved(name="", task=" ", args=3, kwargs=[], queue="dispatcher", interval_seconds=0)
    assert codes(row) == {
        "name": ["blank"],
        "task": ["blank"],
        "args": ["wrong_shape"],
        "kwargs": ["wrong_shape"],
        "queue": ["reserved_queue"],
        "interval_seconds": ["interval_too_short"],
    }


# Moments ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["run_at", "starts_at", "ends_at", "paused_until"])
@pytest.mark.parametrize("value", [datetime(2099, 1, 1), "2099-01-01", 5, LATER.date()])
def test_a_moment_has_a_zone(field, value):
    for kind in ["one_time"] if field == "run_at" else RULES:
        found = codes(unsaved(kind, **{field: value}))
        assert (list(found), "naive" in found[field]) == ([field], True)


@pytest.mark.parametrize("field", ["starts_at", "ends_at", "paused_until"])
def test_a_moment_may_be_left_out(field):
    assert codes(unsaved(**{field: None})) == codes(unsaved(**{field: LATER})) == {}


@pytest.mark.parametrize("value", ["soon", "2099-13-01"])
def test_garbage_for_a_start_is_an_error_of_its_field_from_the_manager_too(value):
    with pytest.raises(ValidationError) as caught:
        ScheduledTask.objects.create_interval("job", OK, 60, starts_at=value)
    assert list(caught.value.message_dict) == ["starts_at"]


@pytest.mark.parametrize(
    ("ends_at", "found"),
    [
        (LATER - timedelta(microseconds=1), {"ends_at": ["ends_before_start"]}),
        (LATER, {}),
        (LATER + S, {}),
    ],
)
def test_it_may_end_with_its_start_and_not_before(ends_at, found):
    assert codes(unsaved(starts_at=LATER, ends_at=ends_at)) == found


@pytest.mark.parametrize(
    ("soft", "hard", "found"),
    [
        (9, 10, []),
        (10, 10, ["soft_not_shorter"]),
        (11, 10, ["soft_not_shorter"]),
        (10, None, []),
        (None, 10, []),
        ("x", 10, []),  # its field says so
        (10, "x", []),
    ],
)
def test_the_soft_limit_is_shorter_than_the_hard_one(soft, hard, found):
    row = unsaved(soft_time_limit=soft, time_limit=hard)
    assert codes(row).get("soft_time_limit", []) == found


# The rule -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["", None, "weekly", "CRON"])
def test_the_kind_is_one_of_three(kind):
    row = unsaved()
    row.kind = kind
    assert codes(row) == {"kind": ["invalid_choice"]}


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("empty", [None, ""])
def test_each_kind_needs_its_own_field(kind, empty):
    (field,) = RULES[kind]
    found = codes(unsaved(kind, **{field: empty}))
    assert (list(found), found[field][-1]) == ([field], "required")


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("other", RULES)
def test_each_kind_has_no_field_of_another(kind, other):
    if kind != other:
        (field,) = RULES[other]
        assert codes(unsaved(kind, **RULES[other])) == {field: ["other_kind"]}
        assert codes(unsaved(kind, **{field: None})) == {}


TEN_YEARS = 3650 * 86400


@pytest.mark.parametrize(
    ("seconds", "found"),
    [
        (1, []),
        (0, ["interval_too_short"]),
        (-1, ["interval_too_short"]),
        (TEN_YEARS, []),
        (TEN_YEARS + 1, ["interval_too_long"]),
        (10**30, ["not_a_duration"]),
        ("60", ["not_a_duration"]),
    ],
)
def test_an_interval_is_one_second_to_ten_years(seconds, found):
    assert codes(unsaved(interval_seconds=seconds)).get("interval_seconds", []) == found


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("zone", ["Mars/Olympus", "localtime", ""])
def test_the_zone_is_known_for_every_kind(kind, zone):
    assert list(codes(unsaved(kind, timezone=zone))) == ["timezone"]
    assert codes(unsaved(kind, timezone="Asia/Shanghai")) == {}


GOOD_EVERY = {60: 60, 61.0: 61, timedelta(minutes=1): 60, timedelta(days=3650): TEN_YEARS, 0: 0}


@pytest.mark.parametrize("every", GOOD_EVERY)
def test_whole_seconds_are_read(every):
    seconds = validation.whole_seconds(every)
    assert (seconds, type(seconds)) == (GOOD_EVERY[every], int)


@pytest.mark.parametrize(
    ("every", "code"),
    [
        (True, "not_a_duration"),
        (False, "not_a_duration"),
        ("60", "not_a_duration"),
        (None, "not_a_duration"),
        ([], "not_a_duration"),
        (float("nan"), "fraction_of_second"),
        (float("inf"), "fraction_of_second"),
        (0.5, "fraction_of_second"),
        (timedelta(microseconds=1), "fraction_of_second"),
        (timedelta(seconds=1, milliseconds=1), "fraction_of_second"),
    ],
)
def test_other_seconds_are_refused(every, code):
    with pytest.raises(ValidationError) as caught:
        validation.whole_seconds(every)
    ((error,),) = caught.value.error_dict.values()
    assert (list(caught.value.error_dict), error.code) == (["interval_seconds"], code)


@pytest.mark.parametrize("seconds", [None, "x", [], 10**30])
def test_garbage_is_no_interval(seconds):
    with pytest.raises(ScheduleError) as caught:
        validation.interval_of(seconds)
    assert (caught.value.code, caught.value.field) == ("not_a_duration", "interval_seconds")
    assert validation.interval_of(90) == timedelta(seconds=90)


def test_of_garbage_60_characters_are_told():
    with pytest.raises(ScheduleError) as caught:
        validation.interval_of("x" * 100)
    assert caught.value.params["text"] == repr("x" * 100)[:60]


# A slot to come -----------------------------------------------------------------------------------

OVER = {
    "one time": ("one_time", {"run_at": PAST}, {"run_at": ["past"]}),
    "one time, after its end": (
        "one_time",
        {"run_at": LATER, "ends_at": LATER - S},
        {"ends_at": ["no_further_slot"]},
    ),
    "one time, before its start": (
        "one_time",
        {"run_at": LATER, "starts_at": LATER + S},
        {"run_at": ["no_further_slot"]},
    ),
    "interval": ("interval", {"ends_at": PAST}, {"ends_at": ["no_further_slot"]}),
    "cron": ("cron", {"ends_at": PAST}, {"ends_at": ["no_further_slot"]}),
    "all used": ("interval", {"max_runs": 3, "slots_used": 3}, {"max_runs": ["no_further_slot"]}),
    "more used": ("interval", {"max_runs": 3, "slots_used": 4}, {"max_runs": ["no_further_slot"]}),
}


@pytest.mark.parametrize("case", OVER)
def test_a_new_schedule_has_a_slot_to_come_or_is_disabled(case):
    kind, columns, found = OVER[case]
    assert codes(unsaved(kind, **columns)) == found
    assert codes(unsaved(kind, enabled=False, **columns)) == {}


@pytest.mark.parametrize("case", OVER)
def test_one_that_is_over_may_be_edited_but_not_enabled_or_timed_anew(case):
    kind, columns, found = OVER[case]
    row = stored(kind)
    ScheduledTask.objects.filter(pk=row.pk).keep(**columns)
    row = ScheduledTask.objects.get(pk=row.pk)
    row.description, row.kwargs = "over, and kept", {}
    assert codes(row) == {}
    row.timezone = "Asia/Shanghai"  # timed anew
    assert codes(row) == found
    row.enabled = False
    assert codes(row) == {}
    ScheduledTask.objects.filter(pk=row.pk).keep(enabled=False)
    row = ScheduledTask.objects.get(pk=row.pk)
    assert codes(row) == {}
    row.enabled = True
    assert codes(row) == found


def test_the_last_slot_that_is_left_is_enough():
    assert codes(unsaved(max_runs=3, slots_used=2)) == {}
    soon = database_now().replace(microsecond=0) + 60 * S
    assert codes(unsaved("one_time", run_at=soon, starts_at=soon, ends_at=soon)) == {}


def test_now_itself_is_past(monkeypatch):
    """A slot is strictly after now."""
    monkeypatch.setattr(validation, "database_now", lambda: LATER)
    assert codes(unsaved("one_time", run_at=LATER)) == {"run_at": ["past"]}
    assert codes(unsaved("one_time", run_at=LATER + S)) == {}


def test_other_errors_come_first():
    assert codes(unsaved("one_time", run_at=PAST, queue="dispatcher")) == {
        "queue": ["reserved_queue"]
    }
