"""The one switch: everything is paused, and resumed. Each use of it leaves a row.

While it is in force no slot is planned and no run of a schedule is published or started. Runs that
people ask for work, and what is running goes on. Afterwards the misfire rules decide what was
late, as after an outage of the scheduler.
"""

import logging
from datetime import datetime
from typing import Any, ClassVar, cast

from django.db import IntegrityError, models, transaction
from django.db.models import Exists, Q
from django.utils.translation import gettext_lazy as _

from scheduling.database import DatabaseNow, database_now
from scheduling.database.after_commit import after_commit
from scheduling.signals import everything_resumed

logger = logging.getLogger(__name__)


class StopQuerySet(models.QuerySet["Stop"]):
    def in_force(self) -> "StopQuerySet":
        """The stop that is in force now, if there is one."""
        return self.filter(in_force=True)

    def between(self, start: datetime, end: datetime) -> "StopQuerySet":
        """Stops that were in force at some time in [start, end)."""
        return self.filter(Q(resumed_at=None) | Q(resumed_at__gt=start), paused_at__lt=end)


class Stop(models.Model):
    """A time in which everything was paused. At most one is in force."""

    paused_at = models.DateTimeField(_("paused"))
    paused_by = models.CharField(_("paused by"), max_length=200, blank=True, default="")
    paused_via = models.CharField(_("paused via"), max_length=20, blank=True, default="")
    resumed_at = models.DateTimeField(_("resumed"), null=True)
    resumed_by = models.CharField(_("resumed by"), max_length=200, blank=True, default="")
    # True or NULL, never false: a unique column admits any number of NULLs on every database.
    in_force = models.BooleanField(null=True, unique=True, default=True, editable=False)

    objects: ClassVar[StopQuerySet] = cast(StopQuerySet, StopQuerySet.as_manager())

    class Meta:
        verbose_name = _("stop of everything")
        verbose_name_plural = _("stops of everything")
        ordering = ("-pk",)

    def __str__(self) -> str:
        return f"{self.paused_at:%Y-%m-%d %H:%M:%S}"


def is_everything_paused() -> Exists:
    """True while the switch is in force, as an expression for conditions and annotations."""
    return Exists(Stop.objects.in_force())


def current_stop() -> Stop | None:
    """The stop in force, with who and since when; None while schedules run."""
    return Stop.objects.in_force().first()


def pause_everything(*, by: Any = None, via: str = "code") -> bool:
    """Hold every schedule until `resume_everything`; True if it was not so before."""
    if Stop.objects.in_force().exists():
        return False
    who = str(by or "")[:200]
    try:
        with transaction.atomic():
            Stop.objects.create(paused_at=database_now(), paused_by=who, paused_via=via[:20])
    except IntegrityError:
        return False  # somebody else did, at the same time
    logger.warning("Everything is paused by %s", who or via, extra={"action": "everything_paused"})
    return True


def resume_everything(*, by: Any = None) -> bool:
    """Let the schedules run again; True if everything was paused.

    Sends `everything_resumed` when this commits.
    """
    who = str(by or "")[:200]
    resumed = Stop.objects.in_force().update(
        in_force=None, resumed_at=DatabaseNow(), resumed_by=who
    )
    if not resumed:
        return False
    logger.warning("Everything is resumed by %s", who, extra={"action": "everything_resumed"})
    after_commit(everything_resumed.send_robust, sender=Stop)
    return True
