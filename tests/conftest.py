"""What every test may use. Servers and settings come from tests/environment.py."""

import os
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from django.utils import translation

from scheduling.database import own_connection


def pytest_configure() -> None:
    from django.conf import settings

    # The hashed names of the production storage exist only after collectstatic.
    settings.STORAGES["staticfiles"]["BACKEND"] = (
        "django.contrib.staticfiles.storage.StaticFilesStorage"
    )
    # The production hasher is slow by design: a third of a second for each test that logs in.
    settings.PASSWORD_HASHERS.insert(0, "django.contrib.auth.hashers.MD5PasswordHasher")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The folder is the marker, and says whose turn it is."""
    left_out = _others(items, int(os.environ.get("TEST_SHARE", "1")))
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: _turn(Path(item.path)))
    for item in items:
        for folder in ("integration", "browser"):
            if folder in Path(item.path).parts:
                item.add_marker(folder)
    _sample(items)


def _others(items: list[pytest.Item], n: int) -> set[pytest.Item]:
    """All but the tests of one file in n, of others each day: TEST_SHARE=2 in a leg of .ci/run.
    TEST_DAY=1 chooses as tomorrow would: two legs share the files between them."""
    files = sorted({item.path for item in items})
    day = date.today().toordinal() + int(os.environ.get("TEST_DAY", "0"))
    chosen = set(files[day % n :: n])
    return {item for item in items if item.path not in chosen}


def _turn(path: Path) -> tuple[int, str]:
    """First those that fork, while there are no other threads; then those that wait for processes
    and those of the browser, mixed, so that some use the time in which others wait."""
    if "crash" in path.parts:
        return 0, ""
    return (1, path.name) if {"integration", "browser"} & {*path.parts} else (2, "")


def _sample(items: list[pytest.Item]) -> None:
    """Of a test marked `sampled(n)` one case in n runs, others each day; the rest are slow ones.

    The marker is for what is exhaustive and costs seconds a case: a week tries them all.
    """
    today = date.today().toordinal()
    seen: Counter[Any] = Counter()
    for item in items:
        marker = item.get_closest_marker("sampled")
        if marker is not None:
            test = item.nodeid.partition("[")[0]
            turn = crc32(test.encode()) + today  # not the same case of every test on one day
            if (seen[test] + turn) % marker.args[0]:
                item.add_marker("slow")
            seen[test] += 1


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tests that the machine could not run are no small print. Here, because the main process of
    pytest-xdist loads no conftest.py of a folder."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [r.longrepr[2] for r in skipped if isinstance(r.longrepr, tuple)]
    for reason, n in Counter(r for r in reasons if "`make tools`" in r).items():
        terminalreporter.section(f"{n} TESTS WERE SKIPPED", sep="!", red=True)
        terminalreporter.line(reason)


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


@pytest.fixture(autouse=True)
def no_worker() -> Iterator[None]:
    """A test that starts one in this process leaves none to the next."""
    yield
    own_connection.disable()


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
