"""One entry of the overview that cannot be shown does not take the page with it."""

import pytest
from django.urls import reverse

from dispatcher.admin.overview import schedules
from scheduling.database import database_now
from scheduling.models import ScheduledTask
from tests.dispatcher.rows import job

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("function", "key"), [("state_reason_text", "attention"), ("schedule_words", "upcoming")]
)
def test_the_others_are_shown(admin_client, monkeypatch, function, key):
    real = getattr(schedules, function)

    def words(task):
        if task.name == "bad":
            raise ValueError("of its own")
        return real(task)

    for name in ("bad", "good"):
        task = job(name, every=600)
        if key == "attention":
            ScheduledTask.objects.filter(pk=task.pk).keep(
                state_reason="set_aside", state_reason_at=database_now(), next_run_at=None
            )
    monkeypatch.setattr(schedules, function, words)
    page = admin_client.get(reverse("admin:dispatcher_overview"))
    assert page.status_code == 200
    entries = {entry["name"]: entry for entry in page.context[key]}
    assert set(entries) == {"bad", "good"}
    assert "cannot be shown" in page.content.decode()
