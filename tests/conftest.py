"""What every test may use. Servers and settings come from tests/environment.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import translation


def pytest_configure() -> None:
    from django.conf import settings

    # The hashed names of the production storage exist only after collectstatic.
    settings.STORAGES["staticfiles"]["BACKEND"] = (
        "django.contrib.staticfiles.storage.StaticFilesStorage"
    )
    # The production hasher is slow by design: a third of a second for each test that logs in.
    settings.PASSWORD_HASHERS.insert(0, "django.contrib.auth.hashers.MD5PasswordHasher")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folder is the marker. Browser tests come last: Playwright leaves an event loop running
    in this thread, and from then on Django refuses database calls unless told otherwise."""
    items.sort(key=lambda item: "browser" in Path(item.path).parts)
    for item in items:
        for folder in ("integration", "browser"):
            if folder in Path(item.path).parts:
                item.add_marker(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Half a surrogate, logged on purpose, is nothing that a process of pytest-xdist can send."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def own_language() -> Iterator[None]:
    """A request leaves its language in the thread; the next test begins in that of the settings."""
    yield
    translation.deactivate()


@pytest.fixture
def login(db):
    """A client of a staff user with the given permissions (codenames), and no more."""
    from django.contrib.auth.models import Permission, User
    from django.test import Client

    def make(*codenames):
        user = User.objects.create_user(f"user{User.objects.count()}", is_staff=True)
        found = Permission.objects.filter(codename__in=codenames)
        assert found.count() == len(codenames)
        user.user_permissions.set(found)
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix) -> None:
    from django.db import connection

    test = connection.settings_dict["TEST"]
    if connection.vendor == "sqlite":
        # A file, not memory: threads and processes have to see the same database.
        test["NAME"] = str(Path(connection.settings_dict["NAME"]).with_name("test.sqlite3"))
    elif connection.vendor == "mysql":
        test["CHARSET"] = "utf8mb4"
