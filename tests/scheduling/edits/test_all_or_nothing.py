"""An edit is one transaction: what stops it at its end leaves nothing of it."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from scheduling.models import ScheduledTask
from scheduling.signals import schedule_changed

pytestmark = pytest.mark.django_db(transaction=True)

OK = "tests.integration.tasks_app.tasks.ok"


class Stopped(Exception):
    """What a receiver, the last one of an edit, raises."""


@contextmanager
def a_receiver_that_fails():
    def fail(**signal):
        raise Stopped

    schedule_changed.connect(fail)
    try:
        with pytest.raises(Stopped):
            yield
    finally:
        schedule_changed.disconnect(fail)


def everything():
    trail = ScheduledTask.history.model.objects
    rows = ScheduledTask.objects.order_by("pk").values()
    return list(rows), list(trail.order_by("pk").values())


def create(task):
    ScheduledTask.objects.create_interval("another", OK, 60)


def create_paused(task):
    ScheduledTask.objects.create_interval("another", OK, 60, enabled=False)


def save(task):
    task.interval_seconds = 120
    task.save()


def update(task):
    ScheduledTask.objects.update(queue="other")


def bulk_update(task):
    task.queue = "other"
    ScheduledTask.objects.bulk_update([task], ["queue"])


EDITS = {
    "create": create,
    "create paused": create_paused,
    "save": save,
    "update": update,
    "bulk_update": bulk_update,
    "pause": lambda task: task.pause(),
    "skip_next": lambda task: task.skip_next(),
    "delete": lambda task: task.delete(),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_that_is_stopped_at_its_end_has_not_been(edit):
    task = ScheduledTask.objects.create_interval("job", OK, 3600)
    before = everything()

    with a_receiver_that_fails():
        EDITS[edit](ScheduledTask.objects.get(pk=task.pk))

    assert everything() == before
    assert not transaction.get_connection().in_atomic_block


@pytest.mark.parametrize("back", ["resume", "unskip"])
def test_what_takes_an_edit_back_is_one_transaction_too(back):
    start = datetime.now(UTC) + timedelta(hours=1)
    task = ScheduledTask.objects.create_interval("job", OK, 3600, starts_at=start)
    slot = task.skip_next()
    if back == "resume":
        task.pause()
    before = everything()

    with a_receiver_that_fails():
        row = ScheduledTask.objects.get(pk=task.pk)
        row.resume() if back == "resume" else row.unskip(slot)

    assert everything() == before
