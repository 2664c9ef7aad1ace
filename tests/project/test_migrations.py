"""The migrations go forwards and back on every database."""

import pytest
from django.core.management import call_command
from django.db import connection

TABLES = {
    "scheduling_scheduledtask",
    "scheduling_historicalscheduledtask",
    "dispatcher_taskrun",
    "dispatcher_runattempt",
    "dispatcher_tick",
    "dispatcher_worker",
    "scheduling_api_apitoken",
    "scheduling_api_idempotencykey",
}


@pytest.mark.django_db(transaction=True)
def test_the_migrations_can_be_taken_back_and_applied_again():
    try:
        call_command("migrate", "scheduling_api", "zero", verbosity=0)
        call_command("migrate", "dispatcher", "zero", verbosity=0)
        call_command("migrate", "scheduling", "zero", verbosity=0)
        assert TABLES.isdisjoint(connection.introspection.table_names())
    finally:
        call_command("migrate", verbosity=0)
    assert set(connection.introspection.table_names()) >= TABLES
