"""`TaskRun`, one firing of a task, and `RunAttempt`, an earlier try of it."""

import uuid
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

import uuid_utils.compat
from django.core.checks import CheckMessage
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from dispatcher.models.status import ACTIVE, BAD, ENDED, Status, Trigger
from dispatcher.models.verbs import TaskRunQuerySet
from scheduling.models import ScheduledTask

__all__ = ["LARGE", "RunAttempt", "Status", "TaskRun", "Trigger"]

#: Columns of a run that may be large, and that a list does not read.
LARGE = ("args", "kwargs", "result", "exception", "traceback", "log")


def new_run_id() -> uuid.UUID:
    """A UUIDv7: ids grow with time, so that inserts and history stay at one end of the index."""
    return uuid_utils.compat.uuid7()


def run_id_at(moment: datetime) -> uuid.UUID:
    """The smallest id that a run made at `moment` may have: the age of runs needs no index."""
    return uuid.UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)


class TaskRun(models.Model):
    """One firing. Written only by the verbs of its QuerySet, each a conditional UPDATE."""

    id = models.UUIDField(primary_key=True, default=new_run_id, editable=False)
    # No constraint in the database: a schedule with a million runs is deleted at once, and its
    # runs are detached in batches.
    scheduled_task = models.ForeignKey(
        ScheduledTask,
        verbose_name=_("scheduled task"),
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="runs",
    )
    name = models.CharField(_("name"), max_length=200)
    task = models.CharField(_("task"), max_length=255)
    trigger = models.CharField(
        _("trigger"), max_length=10, choices=Trigger.choices, default=Trigger.SCHEDULE
    )
    scheduled_for = models.DateTimeField(_("scheduled for"))
    slot = models.DateTimeField(_("slot"), null=True)
    last_slot = models.DateTimeField(_("last slot"), null=True)
    slot_count = models.PositiveIntegerField(_("slots"), default=1)
    start_at = models.DateTimeField(_("starts at"))
    publish_at = models.DateTimeField(_("to be published at"), null=True)
    expires_at = models.DateTimeField(_("expires at"), null=True)

    status = models.CharField(
        _("status"), max_length=10, choices=Status.choices, default=Status.PLANNED
    )
    reason = models.CharField(_("reason"), max_length=40, blank=True, default="")
    reason_params = models.JSONField(default=dict, blank=True)
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=0)
    retries = models.PositiveIntegerField(_("the task's own retries"), default=0)
    revision = models.PositiveIntegerField(_("revision of the schedule"), null=True)

    # What the message of its own next try carries: task, Celery's retries, arguments as text.
    next_try = models.JSONField(null=True, editable=False)

    args = models.JSONField(_("positional arguments"), default=list)
    kwargs = models.JSONField(_("keyword arguments"), default=dict)
    queue = models.CharField(_("queue"), max_length=255, blank=True, default="")
    priority = models.PositiveSmallIntegerField(_("priority"), null=True)
    time_limit = models.PositiveIntegerField(_("time limit (seconds)"), null=True)
    soft_time_limit = models.PositiveIntegerField(_("soft time limit (seconds)"), null=True)

    planned_at = models.DateTimeField(_("planned"))
    published_at = models.DateTimeField(_("published"), null=True)
    started_at = models.DateTimeField(_("started"), null=True)
    claimed_at = models.DateTimeField(_("attempt started"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)

    worker = models.CharField(_("worker"), max_length=255, blank=True, default="")
    worker_uuid = models.UUIDField(null=True)
    pid = models.PositiveIntegerField(_("process id"), null=True)
    message_id = models.CharField(_("message id"), max_length=155, blank=True, default="")
    token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    # Workers that died while they took its message, or may have (`worker.suspects`).
    took_workers = models.PositiveSmallIntegerField(default=0, db_default=0, editable=False)
    holds = models.BigIntegerField(null=True, unique=True)
    waits = models.BigIntegerField(null=True, unique=True)

    result = models.JSONField(_("result"), null=True)
    exception = models.TextField(_("exception"), blank=True, default="")
    traceback = models.TextField(_("traceback"), blank=True, default="")

    # What it logged in this attempt; in an older one's row, in that one.
    log = models.TextField(_("log"), blank=True, default="", db_default="")

    triggered_by = models.CharField(_("triggered by"), max_length=200, blank=True, default="")
    triggered_via = models.CharField(_("triggered via"), max_length=20, blank=True, default="")
    rerun_of = models.ForeignKey(
        "self",
        verbose_name=_("rerun of"),
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="reruns",
    )

    objects: ClassVar[TaskRunQuerySet] = cast(TaskRunQuerySet, TaskRunQuerySet.as_manager())

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        ordering = ("-id",)
        constraints = (
            # The promise that no slot runs twice rests on this line.
            models.UniqueConstraint(fields=("scheduled_task", "slot"), name="taskrun_one_per_slot"),
        )
        indexes = (
            models.Index(fields=("publish_at",), name="taskrun_publishable"),
            models.Index(fields=("lease_until",), name="taskrun_lost"),
            models.Index(fields=("scheduled_task", "id"), name="taskrun_history"),
            models.Index(fields=("status", "id"), name="taskrun_status"),
            # For the notices. Partial, so that a run that ends well costs no entry in it.
            models.Index(
                fields=("finished_at",), name="taskrun_bad_ends", condition=Q(status__in=BAD)
            ),
        )
        permissions = (
            ("cancel_taskrun", _("Can cancel runs")),
            ("rerun_taskrun", _("Can run runs again")),
        )

    @classmethod
    def check(cls, **options: Any) -> list[CheckMessage]:
        """Leave out a warning of Django: MariaDB makes a partial index whole, which serves too."""
        return [message for message in super().check(**options) if message.id != "models.W037"]

    def __str__(self) -> str:
        return f"{self.name} {self.scheduled_for:%Y-%m-%d %H:%M:%S %Z}"

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE

    @property
    def duration(self) -> timedelta | None:
        """From the first claim to the end; None before it ended or where it never started."""
        if self.started_at is None or self.finished_at is None:
            return None
        return self.finished_at - self.started_at

    @property
    def lateness(self) -> timedelta | None:
        """From the time it should have started to its first claim. None where it never started,
        and where it was tried again: `start_at` is then that of the latest try."""
        moved = self.attempt > 1 or self.retries > 0 or self.status == Status.RETRYING
        if self.started_at is None or moved:
            return None
        return self.started_at - self.start_at


class RunAttempt(models.Model):
    """An attempt that ended and was followed by another one of the same run."""

    run = models.ForeignKey(
        TaskRun, on_delete=models.CASCADE, related_name="attempts", verbose_name=_("run")
    )
    attempt = models.PositiveSmallIntegerField(_("attempt"))
    retries = models.PositiveIntegerField(_("the task's own retries"), default=0)
    status = models.CharField(_("status"), max_length=10, choices=Status.choices)
    reason = models.CharField(_("reason"), max_length=40, blank=True, default="")
    reason_params = models.JSONField(default=dict, blank=True)
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"))
    worker = models.CharField(_("worker"), max_length=255, blank=True, default="")
    pid = models.PositiveIntegerField(_("process id"), null=True)
    message_id = models.CharField(_("message id"), max_length=155, blank=True, default="")
    exception = models.TextField(_("exception"), blank=True, default="")
    traceback = models.TextField(_("traceback"), blank=True, default="")
    log = models.TextField(_("log"), blank=True, default="", db_default="")

    class Meta:
        verbose_name = _("earlier attempt")
        verbose_name_plural = _("earlier attempts")
        ordering = ("run", "attempt", "pk")

    def __str__(self) -> str:
        return f"{self.run_id} #{self.attempt}"

    @classmethod
    def of(cls, run: TaskRun, **columns: Any) -> "RunAttempt":
        """The present attempt of `run` as a row of its own, not saved; `columns` say its end."""
        return cls(
            run=run,
            attempt=max(run.attempt, 1),  # a message that no worker could take was an attempt too
            retries=run.retries,
            started_at=run.claimed_at,
            worker=run.worker,
            pid=run.pid,
            message_id=run.message_id,
            **columns,
        )
