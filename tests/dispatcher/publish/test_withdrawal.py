"""`withdraw_run` takes one run's messages out of the broker, and leaves the others in order."""

import uuid
from io import StringIO

import pytest
from celery.app import app_or_default
from django.core.management import CommandError, call_command

from dispatcher import run_task
from dispatcher.models import TaskRun
from dispatcher.publish import publisher
from scheduling.database import database_now
from tests.dispatcher.rows import OK

pytestmark = pytest.mark.django_db(transaction=True)


def withdraw(*words):
    out = StringIO()
    call_command("withdraw_run", *map(str, words), stdout=out)
    return out.getvalue()


def send_again(run):
    now = database_now()
    TaskRun.objects.filter(pk=run.pk).update(status="planned", publish_at=now)
    publisher.publish(publisher.take(TaskRun.objects.filter(pk=run.pk)), now)


def left(sent_messages):
    return [message["headers"]["run_id"] for message in sent_messages()]


def test_all_messages_of_the_run_are_gone_and_the_others_are_as_they_were(sent_messages):
    runs = [run_task(OK) for _n in range(4)]
    send_again(runs[1])
    said = withdraw(runs[1].pk)
    assert "is cancelled" in said
    assert "2 messages" in said
    assert left(sent_messages) == [str(runs[n].pk) for n in (0, 2, 3)]
    runs[1].refresh_from_db()
    assert (runs[1].status, runs[1].reason) == ("cancelled", "by_person")


def test_also_of_a_run_whose_row_is_gone(sent_messages):
    run, other = run_task(OK), run_task(OK)
    TaskRun.objects.filter(pk=run.pk).delete()
    with pytest.raises(CommandError, match="--queue"):
        withdraw(run.pk)
    assert "1 messages" in withdraw(run.pk, "--queue", "celery")
    assert left(sent_messages) == [str(other.pk)]


def test_also_with_a_priority(sent_messages):
    run = run_task(OK)
    sent_messages()
    TaskRun.objects.filter(pk=run.pk).update(priority=5)
    run.refresh_from_db()
    send_again(run)
    assert "1 messages" in withdraw(run.pk)
    assert left(sent_messages) == []


def test_also_what_a_dead_worker_took_along(sent_messages):
    """On Redis it would come back after the visibility timeout; RabbitMQ puts it back at once."""
    app, run = app_or_default(), run_task(OK)
    with app.connection_for_read() as connection:
        if connection.transport.driver_type != "redis":
            pytest.skip("RabbitMQ knows when a worker is dead")
        queue = connection.SimpleQueue(app.amqp.queues["celery"])
        queue.get(block=False)  # and never acknowledged
        client = connection.default_channel.client
        assert client.hlen("unacked") == 1
        assert "1 messages" in withdraw(run.pk)
        assert (client.hlen("unacked"), client.zcard("unacked_index")) == (0, 0)


def test_nothing_there_is_nothing_taken(sent_messages):
    run_task(OK)
    assert "0 messages" in withdraw(uuid.uuid4(), "--queue", "celery")
    assert len(sent_messages()) == 1


def test_a_broker_that_is_away_is_said(broken_broker):
    with pytest.raises(CommandError, match="does not answer"):
        withdraw(uuid.uuid4(), "--queue", "celery")
