"""What every test may use. Servers and settings come from tests/environment.py."""

from pathlib import Path

import pytest


def pytest_configure() -> None:
    from django.conf import settings

    # The hashed names of the production storage exist only after collectstatic.
    settings.STORAGES["staticfiles"]["BACKEND"] = (
        "django.contrib.staticfiles.storage.StaticFilesStorage"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folder is the marker. Browser tests come last: Playwright leaves an event loop running
    in this thread, and from then on Django refuses database calls unless told otherwise."""
    items.sort(key=lambda item: "browser" in Path(item.path).parts)
    for item in items:
        for folder in ("integration", "browser"):
            if folder in Path(item.path).parts:
                item.add_marker(folder)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix) -> None:
    from django.db import connection

    test = connection.settings_dict["TEST"]
    if connection.vendor == "sqlite":
        # A file, not memory: threads and processes have to see the same database.
        test["NAME"] = str(Path(connection.settings_dict["NAME"]).with_name("test.sqlite3"))
    elif connection.vendor == "mysql":
        test["CHARSET"] = "utf8mb4"
