"""The examples of `make run`."""

import pytest
from celery import current_app
from django.core.management import call_command

from project.quickstart import admin_login
from scheduling.models import ScheduledTask


@pytest.fixture
def _demo_installed(settings) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "project.demo"]
    import project.demo.tasks  # noqa: F401  registers them, as autodiscovery would have


@pytest.mark.django_db
@pytest.mark.usefixtures("_demo_installed")
def test_a_second_run_leaves_the_examples_alone(capsys) -> None:
    call_command("create_demo")
    assert "Heartbeat" in capsys.readouterr().out
    ScheduledTask.objects.filter(name__startswith="Heartbeat").update(description="mine")
    before = list(ScheduledTask.objects.order_by("id").values())

    call_command("create_demo")

    assert capsys.readouterr().out == ""
    assert list(ScheduledTask.objects.order_by("id").values()) == before
    assert {row["task"] for row in before} <= set(current_app.tasks)


@pytest.mark.django_db
def test_the_admin_user_is_created_once(monkeypatch, django_user_model) -> None:
    monkeypatch.delenv("ADMIN_PASSWORD", raising=False)
    password = admin_login().rpartition(" ")[2]
    admin = django_user_model.objects.get()
    assert admin.is_superuser
    assert admin.check_password(password)

    assert "changepassword admin" in admin_login()
    assert django_user_model.objects.count() == 1


@pytest.mark.django_db
def test_the_password_comes_from_the_environment(monkeypatch, django_user_model) -> None:
    monkeypatch.setenv("ADMIN_PASSWORD", "correct horse")
    assert "correct horse" not in admin_login()
    assert django_user_model.objects.get(username="admin").check_password("correct horse")
