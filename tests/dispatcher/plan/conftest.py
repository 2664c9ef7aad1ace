"""The present second, at which an outage ends."""

import pytest

from scheduling.database import database_now


@pytest.fixture
def end():
    return database_now().replace(microsecond=0)
