"""The questions that the stages ask of runs: each narrows a query, and changes nothing."""

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Self
from uuid import UUID

from django.db import models
from django.db.models import Exists, F, OuterRef, Q

from dispatcher.models.claim import not_stopped
from dispatcher.models.status import ACTIVE, ENDED, UNSTARTED, WAITING, Status, Trigger
from dispatcher.models.times import HORIZON, UNSTARTED_GRACE
from scheduling.database import DatabaseNow

if TYPE_CHECKING:
    from dispatcher.models.run import TaskRun  # noqa: F401 (the name below)


class TaskRunQuestions(models.QuerySet["TaskRun"]):
    def unstarted(self) -> Self:
        return self.filter(status__in=UNSTARTED)

    def waiting(self) -> Self:
        return self.filter(status__in=WAITING)

    def begun(self) -> Self:
        """Runs that have started, or ended without: all but the unstarted."""
        return self.exclude(status__in=UNSTARTED)

    def active(self) -> Self:
        return self.filter(status__in=ACTIVE)

    def ended(self) -> Self:
        return self.filter(status__in=ENDED)

    def owed(self, tasks: Collection[int], now: datetime) -> Self:
        """Runs that a pause of these scheduled tasks cancels: they are due, or wait for a retry."""
        due = Q(scheduled_for__lte=now) | Q(status=Status.RETRYING)
        return self.of_schedule().waiting().filter(due, scheduled_task__in=tasks)

    def of_schedule(self) -> Self:
        return self.filter(trigger=Trigger.SCHEDULE)

    def not_stopped(self) -> Self:
        """Runs that may be sent and start: while everything is paused, none of a schedule's."""
        return self.filter(not_stopped())

    def untouched(self) -> Self:
        """Runs of slots that have not started and that no gate has seen."""
        return self.unstarted().of_schedule().filter(attempt=0, waits=None, reason="")

    def publishable(self, now: datetime) -> Self:
        """Runs to be sent now: never handed to the broker, or retrying without a message."""
        unsent = Q(status=Status.PLANNED) | Q(
            status=Status.RETRYING, start_at__gt=now - UNSTARTED_GRACE
        )
        return self.not_stopped().filter(unsent, publish_at__lte=now, start_at__lte=now + HORIZON)

    def unanswered(self, now: datetime) -> Self:
        """Published runs that have not started, well past their start: the broker should hold them.

        Left out are runs that wait for a running one of their scheduled task: their message is
        used up, and the end of that one publishes them.
        """
        holder = self.model._base_manager.filter(holds=OuterRef("scheduled_task_id"))
        in_line = Q(waits__isnull=False) | Q(reason="takes_turns")
        return self.not_stopped().filter(
            ~Q(in_line, Exists(holder)),
            status__in=(Status.PUBLISHED, Status.RETRYING),
            publish_at__isnull=False,
            start_at__lte=now - UNSTARTED_GRACE,
        )

    def started_at_first_sending(self) -> Self:
        """Runs that the only message that they ever had has started."""
        sent_once = Q(published_at__lt=F("start_at") + UNSTARTED_GRACE, attempt=1, retries=0)
        return self.filter(sent_once, started_at__isnull=False)

    def lost(self) -> Self:
        """Running runs whose lease has run out, by the database's clock."""
        return self.filter(status=Status.RUNNING, lease_until__lt=DatabaseNow())

    def expired(self) -> Self:
        """Unstarted runs that may not start any more, by the database's clock."""
        return self.unstarted().filter(expires_at__lte=DatabaseNow())

    def claimed_by_message(self, run_id: UUID, attempt: int, retries: int, message_id: str) -> Self:
        """Attempt that this message started, for a process that does not know its token."""
        return self.filter(
            pk=run_id,
            attempt=max(attempt, 1),
            retries=retries,
            message_id=message_id,
            status=Status.RUNNING,
        )

    def taking_turns(self, scheduled_task_id: int) -> Self:
        """Runs of the scheduled task that `wait_turn` left waiting, oldest slot first."""
        rows = self.waiting().filter(scheduled_task=scheduled_task_id, reason="takes_turns")
        return rows.order_by("scheduled_for", "pk")
