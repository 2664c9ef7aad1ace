"""`Failing`: a scheduled task whose last run failed, and what its owner has been told of it."""

from datetime import datetime
from typing import ClassVar, cast

from django.db import models
from django.utils.translation import gettext_lazy as _

from dispatcher.models.run import TaskRun
from scheduling.models import ScheduledTask


class FailingQuerySet(models.QuerySet["Failing"]):
    def now(self) -> "FailingQuerySet":
        """Scheduled tasks that still fail."""
        return self.filter(recovered_at=None)

    def owed(self, now: datetime) -> "FailingQuerySet":
        """Rows whose owner is to be told something, and nobody else is at it."""
        return self.filter(tell_at__lte=now)

    def recover(self, recovered_at: datetime, now: datetime) -> int:
        """Note that the newest run succeeded: the owner is owed a word, then the row goes."""
        rows = self.filter(recovered_at=None)
        return rows.update(recovered_at=recovered_at, noticed_at=now, tell_at=now)

    def fail_again(self, now: datetime) -> int:
        """Note one more failure before the owner was told of a recovery: nothing is new.
        Where somebody is telling it just now, it is."""
        rows = self.filter(recovered_at__isnull=False, tell_at__lte=now)
        return rows.update(recovered_at=None, tell_at=None)

    def tell(self, now: datetime) -> int:
        """Note that the owner is owed a word."""
        return self.filter(tell_at=None).update(noticed_at=now, tell_at=now)

    def told(self, now: datetime, lease: datetime) -> int:
        """Note, as the holder of the lease, that owners know what was true at `now`; how many rows
        are gone because they had recovered."""
        self.filter(recovered_at=None).update(told_at=now)
        still = self.filter(tell_at=lease)
        gone = still.filter(recovered_at__isnull=False).delete()[0]
        still.update(tell_at=None)
        return gone


class Failing(models.Model):
    """One row while a scheduled task fails: its insert and its delete say each thing once."""

    # Without a constraint: its insert would wait, on MariaDB, for whoever edits the task.
    scheduled_task = models.OneToOneField(
        ScheduledTask,
        on_delete=models.CASCADE,
        db_constraint=False,
        related_name="failing",
        verbose_name=_("scheduled task"),
    )
    since = models.DateTimeField(_("since"))  # the end of the first run that failed
    # Gone when the run is pruned, so without a constraint.
    run = models.ForeignKey(
        TaskRun,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
        verbose_name=_("run"),
    )
    recovered_at = models.DateTimeField(_("recovered"), null=True)
    noticed_at = models.DateTimeField(_("noticed"))
    # When to tell the owner: also the lease of who is at it. NULL: there is nothing to tell.
    tell_at = models.DateTimeField(_("to be told at"), null=True)
    told_at = models.DateTimeField(_("told"), null=True)

    objects: ClassVar[FailingQuerySet] = cast(FailingQuerySet, FailingQuerySet.as_manager())

    class Meta:
        verbose_name = _("failing scheduled task")
        verbose_name_plural = _("failing scheduled tasks")
        ordering = ("since", "pk")

    def __str__(self) -> str:
        return f"{self.scheduled_task_id} {self.since:%Y-%m-%d %H:%M:%S}"
