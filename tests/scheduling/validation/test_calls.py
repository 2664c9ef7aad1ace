"""`create_*` with a signature, with None and with options that there are not."""

from datetime import UTC, datetime, timedelta

import pytest
from celery import chain, chord, current_app, group, signature
from django.core.exceptions import ValidationError
from django.db.models import CharField, TextField
from kombu import Queue

from scheduling.models import ScheduledTask
from tests.integration.tasks_app.tasks import add, ok

pytestmark = pytest.mark.django_db

NOON = datetime(2035, 3, 2, 12, 0, tzinfo=UTC)
MAKERS = {
    "one_time": lambda task, **options: ScheduledTask.objects.create_one_time(
        "job", task, NOON, **options
    ),
    "interval": lambda task, **options: ScheduledTask.objects.create_interval(
        "job", task, 60, **options
    ),
    "cron": lambda task, **options: ScheduledTask.objects.create_cron(
        "job", task, "0 4 * * *", **options
    ),
}
TEXTS = [
    field.name
    for field in ScheduledTask._meta.concrete_fields
    if isinstance(field, (CharField, TextField))
    and field.has_default()
    and field.editable
    and field.name != "cron_expression"
]


@pytest.fixture(params=sorted(MAKERS))
def make(request):
    return MAKERS[request.param]


def refused(make, *args, **options):
    with pytest.raises(ValidationError) as caught:
        make(*args, **options)
    return caught.value.message_dict


def test_there_are_texts_with_a_default():
    assert {"queue", "owner", "group", "description", "timezone", "misfire_policy"} < {*TEXTS}


@pytest.mark.parametrize("name", TEXTS)
def test_none_for_a_text_is_its_default(make, name):
    row = make(ok, **{name: None})
    row.refresh_from_db()
    assert getattr(row, name) == ScheduledTask._meta.get_field(name).get_default()


def test_none_for_arguments_is_none_of_them(make):
    row = make(ok, args=None, kwargs=None)
    assert (row.args, row.kwargs) == ([], {})


@pytest.mark.parametrize("name", ["description", "owner", "group", "queue"])
def test_a_saved_none_for_a_text_is_refused_by_name(make, name):
    row = make(ok)
    setattr(row, name, None)
    with pytest.raises(ValidationError) as caught:
        row.save()
    assert [*caught.value.message_dict] == [name]


@pytest.mark.parametrize(
    "name",
    ["colour", "kind", "next_run_at", "armed_at", "created_at", "revision", "name_key", "history"],
)
def test_an_option_that_cannot_be_used_is_refused_by_name(make, name):
    assert name in refused(make, ok, **{name: 1})[name][0]
    assert not ScheduledTask.objects.exists()


def test_every_unknown_option_is_told_at_once(make):
    assert {*refused(make, ok, colour=1, shape=2)} == {"colour", "shape"}


def test_the_rule_is_no_option():
    told = refused(MAKERS["interval"], ok, interval_seconds=5)
    assert [*told] == ["interval_seconds"]
    assert [*refused(MAKERS["interval"], ok, cron_expression="* * * * *")] == ["cron_expression"]


# Signatures -----------------------------------------------------------------------------------


def test_a_signature_brings_its_arguments_and_options(make):
    row = make(
        add.s(1, b=2).set(queue="slow", priority=3, expires=60, time_limit=20, soft_time_limit=10)
    )
    row.refresh_from_db()
    assert (row.task, row.args, row.kwargs) == (add.name, [1], {"b": 2})
    assert (row.queue, row.priority, row.expires_seconds) == ("slow", 3, 60)
    assert (row.time_limit, row.soft_time_limit) == (20, 10)


@pytest.mark.parametrize(
    "task",
    [add.si(1, 2), signature(add.name, args=(1, 2)), add.signature((1, 2)), add.subtask((1, 2))],
    ids=["si", "by name", "signature", "subtask"],
)
def test_every_form_of_a_signature_is_honoured(make, task):
    row = make(task)
    assert (row.task, row.args, row.kwargs) == (add.name, [1, 2], {})


def test_arguments_are_joined_as_celery_joins_them(make):
    row = make(add.s(2), args=[1])
    assert row.args == list(add.s(2).clone(args=(1,)).args) == [1, 2]
    ScheduledTask.objects.all().delete()
    assert make(add.s(1, b=2), kwargs={"b": 3}).kwargs == {"b": 3}


def test_arguments_of_a_signature_that_do_not_fit_are_refused(make):
    assert [*refused(make, add.s(1))] == ["args"]


def test_an_option_wins_over_the_signature_and_none_does_not(make):
    row = make(ok.s().set(queue="slow", priority=3, expires=60), queue="fast", priority=None)
    assert (row.queue, row.priority, row.expires_seconds) == ("fast", 3, 60)


def test_a_queue_is_named_by_itself_too(make):
    assert make(ok.s().set(queue=Queue("slow"))).queue == "slow"
    ScheduledTask.objects.all().delete()
    assert make(ok, queue=Queue("slow")).queue == "slow"


UNUSABLE = {
    "countdown": 5,
    "eta": NOON,
    "link": [ok.s()],
    "link_error": [ok.s()],
    "headers": {"tenant": 1},
    "task_id": "mine",
    "serializer": "pickle",
    "compression": "zlib",
    "routing_key": "a.b",
    "exchange": "ex",
    "shadow": "else",
    "ignore_result": False,
    "retry_policy": {"max_retries": 3},
    "reply_to": "me",
    "colour": "red",
    # of ours, but with values that no column has
    "priority": 11,
    "expires": timedelta(seconds=60),
    "time_limit": 1.5,
    "soft_time_limit": 0,
}


@pytest.mark.parametrize("name", sorted(UNUSABLE))
def test_what_of_a_signature_cannot_be_used_is_refused_by_name(make, name):
    told = refused(make, ok.s().set(**{name: UNUSABLE[name]}))
    assert [*told] == [name]


@pytest.mark.parametrize("expires", [NOON, 0.5, -1], ids=["an instant", "a fraction", "negative"])
def test_an_expiry_that_slots_cannot_have_is_refused(make, expires):
    assert [*refused(make, ok.s().set(expires=expires))] == ["expires"]


def test_options_that_ask_for_nothing_are_no_obstacle(make):
    assert make(ok.s().set(link=[], countdown=None, ignore_result=True)).task == ok.name


def test_an_immutable_signature_takes_no_further_arguments(make):
    assert [*refused(make, add.si(1, 2), args=[3])] == ["args"]
    assert [*refused(make, add.si(1, 2), kwargs={"c": 3})] == ["kwargs"]


@pytest.mark.parametrize(
    ("several", "kind"),
    [
        (lambda: chain(ok.si(), ok.si()), "chain"),
        (lambda: group([ok.s(), ok.s()]), "group"),
        (lambda: chord([ok.s(), ok.s()], ok.si()), "chord"),
        (lambda: add.map([1]), "celery.map"),
        (lambda: add.starmap([(1, 2)]), "celery.starmap"),
        (lambda: add.chunks([(1, 2)], 1), "chunks"),
    ],
    ids=["chain", "group", "chord", "map", "starmap", "chunks"],
)
def test_several_tasks_are_refused_by_what_they_are(make, several, kind):
    told = refused(make, several())
    assert kind in told["task"][0]


@pytest.mark.parametrize("task", [None, 5, len, {"task": "x"}, b"name"], ids=repr)
def test_what_is_no_task_is_refused_by_name(make, task):
    assert [*refused(make, task)] == ["task"]


def test_a_task_is_named_by_itself_or_by_a_text(make):
    assert make(current_app.tasks[add.name], args=[1, 2]).task == add.name
    ScheduledTask.objects.all().delete()
    assert make("some.task").task == "some.task"
