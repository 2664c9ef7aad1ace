"""The clock that a test sets."""

from datetime import UTC, datetime

import pytest

from tests.dispatcher.verify.clock import (
    HOUR,
    Clock,
)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(datetime.now(UTC).replace(second=17, microsecond=0) - HOUR)
    monkeypatch.setattr("scheduling.edits.transaction.database_now", clock)
    monkeypatch.setattr("scheduling.validation.row.database_now", clock)
    return clock
