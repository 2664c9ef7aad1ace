"""What is wrong and what to do about it, in sentences."""

import logging
from collections.abc import Callable, Iterator
from datetime import datetime

from django.db import DatabaseError, InterfaceError

from dispatcher.watch.doctor import installed, machinery, needs, schedules, setting_up
from dispatcher.watch.doctor.finding import Finding
from scheduling.database import database_now

logger = logging.getLogger(__name__)

__all__ = ["Finding", "examine"]

CHECKS: tuple[Callable[[datetime], Iterator[Finding]], ...] = (
    *setting_up.CHECKS,
    *machinery.CHECKS,
    *needs.CHECKS,
    *schedules.CHECKS,
    installed.check_recommended,
)


def examine(now: datetime | None = None) -> list[Finding]:
    """Everything that is wrong now; empty when all is well."""
    unmigrated = list(setting_up.check_migrations())
    if unmigrated:
        return unmigrated  # the tables that the others read may not be there
    now = now or database_now()
    return [finding for check in CHECKS for finding in _found(check, now)]


def _found(check: Callable[[datetime], Iterator[Finding]], now: datetime) -> list[Finding]:
    """What a check finds; where it fails, that is a finding, and the others are asked all the same.

    A database that is away is for the caller.
    """
    try:
        return list(check(now))
    except (DatabaseError, InterfaceError):
        raise
    except Exception as error:
        logger.exception("A check of doctor failed: %s", check.__name__)
        sentence = f"The check {check.__name__} failed: {type(error).__name__}: {error}."
        return [Finding("check_failed", f"{sentence[:500]} The log has its traceback.")]
