"""Who claims which attempt of a run, and who may: the conditions of the one UPDATE that starts it.

Conditions are for a query of `TaskRun`. A claim wins in one of four cases, each a function below.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, Subquery

from dispatcher.models.status import ACTIVE, UNSTARTED, Status, Trigger
from scheduling.database import DatabaseNow
from scheduling.models import ScheduledTask
from scheduling.models.state import where_may_run
from scheduling.stop import is_everything_paused


@dataclass(frozen=True)
class Claim:
    """Who claims which attempt: all that a worker knows of itself and of the message."""

    run_id: UUID
    attempt: int  # the message's header; 0 and 1 both mean the first
    retries: int  # the message's count of the task's own `self.retry`
    token: UUID
    worker: str
    worker_uuid: UUID | None
    pid: int
    message_id: str

    @property
    def number(self) -> int:
        """The attempt, counted from 1."""
        return max(self.attempt, 1)


def may_start(claim: Claim) -> Q:
    """The run, if this claim may have it; else it is duplicate, stale, cancelled or expired."""
    anew = next_attempt(claim.number) if claim.number > 1 else first_start()
    return ((anew | own_retry(claim)) & not_stopped()) | same_token(claim)


def first_start() -> Q:
    """Runs that nobody has claimed and that may still start.

    One of a schedule needs its scheduled task as it was when the run was planned: not edited since
    (same revision), and neither paused nor set aside. A finished one still starts its last runs.
    """
    current = ScheduledTask.objects.filter(
        where_may_run(),
        pk=OuterRef("scheduled_task_id"),
        revision=OuterRef("revision"),
    )
    alive = Q(expires_at=None) | Q(expires_at__gt=DatabaseNow())
    wanted = ~Q(trigger=Trigger.SCHEDULE) | Exists(current)
    return Q(alive, wanted, attempt=0, status__in=UNSTARTED)


def next_attempt(number: int) -> Q:
    """Runs whose earlier attempt has ended, and that have not started this one (2, 3, …)."""
    return Q(attempt=number, status=Status.RETRYING, token=None)


def own_retry(claim: Claim) -> Q:
    """The attempt that has called `self.retry`: the message counts more retries than the row.

    The row may still say `running`: Celery sends the next message before we can write.
    """
    known = Q(attempt=claim.number, retries__lt=claim.retries)
    return known & Q(status__in=ACTIVE, token__isnull=False)


def same_token(claim: Claim) -> Q:
    """The run that this very claim has won already, when its answer got lost on the way."""
    return Q(token=claim.token, status=Status.RUNNING)


def not_stopped() -> Q:
    """Runs that the switch does not stop: while everything is paused, those asked for by people."""
    return ~Q(trigger=Trigger.SCHEDULE) | ~Q(is_everything_paused())


def place_held() -> Any:
    """The value of `holds`: the scheduled task's id, unless its runs may overlap."""
    policy = ScheduledTask.objects.filter(pk=OuterRef("scheduled_task_id"))
    return Subquery(policy.exclude(overlap_policy="allow").values("pk")[:1])
