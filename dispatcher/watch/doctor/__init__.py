"""What is wrong and what to do about it, in sentences."""

from collections.abc import Callable, Iterator
from datetime import datetime

from dispatcher.watch.doctor import installed, machinery, schedules, setting_up
from dispatcher.watch.doctor.finding import Finding
from scheduling.database import database_now

__all__ = ["Finding", "examine"]

CHECKS: tuple[Callable[[datetime], Iterator[Finding]], ...] = (
    *setting_up.CHECKS,
    *machinery.CHECKS,
    *schedules.CHECKS,
    installed.check_recommended,
)


def examine(now: datetime | None = None) -> list[Finding]:
    """Everything that is wrong now; empty when all is well."""
    unmigrated = list(setting_up.check_migrations())
    if unmigrated:
        return unmigrated  # the tables that the others read may not be there
    now = now or database_now()
    return [finding for check in CHECKS for finding in check(now)]
