"""What the signal of an edit says."""

import pytest
from django.db import transaction

from scheduling.signals import schedule_changed


@pytest.fixture
def heard():
    found = []

    def hear(change, **signal):
        assert transaction.get_connection().in_atomic_block
        found.append(change)

    schedule_changed.connect(hear)
    yield found
    schedule_changed.disconnect(hear)
