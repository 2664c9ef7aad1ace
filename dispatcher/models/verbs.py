"""Every legal transition of a run, as a verb.

Each verb filters on the old state, writes in one UPDATE and says whether it won. That UPDATE is
the lock: of two processes that try the same arrow, one is told 1 and the other 0. A verb that is
stopped by the database, because of another writer, is tried again: its condition makes that safe.
"""

from collections.abc import Callable, Collection, Hashable
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import models, transaction
from django.db.models import Case, F, Value, When
from django.db.models.functions import Coalesce, Greatest

from dispatcher import conf
from dispatcher.models.claim import Claim, may_start, place_held
from dispatcher.models.ends import RELEASED, End, logged
from dispatcher.models.questions import TaskRunQuestions
from dispatcher.models.statements import Built, Slot, execute
from dispatcher.models.status import WAITING, Status
from dispatcher.models.times import LEASE, UNSTARTED_GRACE
from scheduling.database import DatabaseNow, database_in, retry_contention

if TYPE_CHECKING:
    from dispatcher.models.run import TaskRun


#: The state of a run whose message is in the broker.
_PUBLISHED = Case(
    When(status=Status.RETRYING, then=Value(Status.RETRYING)), default=Value(Status.PUBLISHED)
)

#: The columns that a claim names otherwise.
_CLAIMED = {"run_id": "id"}


# django-stubs reads the type of rows from the bases named here only.
class TaskRunQuerySet(TaskRunQuestions, models.QuerySet["TaskRun"]):
    # Publish: planned -> published ----------------------------------------------------------------

    @retry_contention
    def take(self, lease: datetime) -> int:
        """Take the runs for publishing until `lease`."""
        return self.waiting().update(publish_at=lease)

    @retry_contention
    def mark_published(
        self,
        ids: Collection[UUID],
        attempt: int,
        lease: datetime,
        distance: timedelta | None = None,
    ) -> int:
        """Mark runs that the broker has; how many. Only the holder of the lease may do so.

        They are looked at again `distance` from now (None: 30 s after their start, or from now
        if that has passed).
        """
        again: Any = Greatest(F("start_at") + UNSTARTED_GRACE, database_in(UNSTARTED_GRACE))
        if distance is not None:
            again = database_in(distance)
        return (
            self.waiting()
            .filter(pk__in=ids, attempt=attempt, publish_at=lease)
            .update(status=_PUBLISHED, published_at=DatabaseNow(), publish_at=again)
        )

    @retry_contention
    def took_worker(self) -> int:
        """A worker died that was taking their messages, or may have been."""
        return self.waiting().update(took_workers=F("took_workers") + 1)

    # Gate: -> running -----------------------------------------------------------------------------

    @retry_contention
    def claim(self, claim: Claim) -> bool:
        """Take one attempt. False: a duplicate, stale, cancelled or expired message.

        `IntegrityError` when the run's schedule forbids overlap and another of its runs holds.
        """
        values = {field.name: getattr(claim, field.name) for field in fields(claim)}
        slots: dict[str, Any] = {
            name: Slot(name, self._stored(_CLAIMED.get(name, name))) for name in values
        }
        template = replace(claim, **slots | {"attempt": claim.attempt})
        return bool(self._execute(("claim", claim.number), lambda: self._claim(template), values))

    def _claim(self, claim: Claim) -> Built:
        return self.filter(may_start(claim), pk=claim.run_id), {
            "status": Status.RUNNING,
            "attempt": claim.number,
            "retries": claim.retries,
            "token": claim.token,
            "worker": claim.worker,
            "worker_uuid": claim.worker_uuid,
            "pid": claim.pid,
            "message_id": claim.message_id,
            "started_at": Coalesce("started_at", DatabaseNow()),
            "claimed_at": DatabaseNow(),
            "lease_until": database_in(LEASE),
            "publish_at": None,
            "waits": None,
            "reason": "",
            "holds": place_held(),
        }

    def _execute(
        self, key: tuple[Hashable, ...], build: Callable[[], Built], values: dict[str, Any]
    ) -> int:
        """Remembered for all rows; a selection of them is a question of its own."""
        return execute((*key, str(self.query.where)), build, values)

    def _stored(self, name: str) -> Any:
        return self.model._meta.get_field(name)

    @retry_contention
    def renew_leases(self, ids: Collection[UUID], worker: UUID) -> int:
        """Renew the leases of runs that this worker still runs; how many."""
        rows = self.filter(pk__in=ids, worker_uuid=worker, status=Status.RUNNING)
        return rows.update(lease_until=database_in(LEASE))

    # Record: running -> ended ---------------------------------------------------------------------

    @retry_contention
    def end(self, run_id: UUID, token: UUID, end: End, **held: Any) -> bool:
        """Record the end of a claimed attempt. A late end corrects `lost`."""
        values = {**end.columns(), "log": end.log, "id": run_id, "token": token}
        slots = {name: Slot(name, self._stored(name)) for name in values}
        key = ("end", bool(end.log), conf.RUN_LOG_KIB.value, *held.items())
        return bool(self._execute(key, lambda: self._end(slots, bool(end.log), held), values))

    def _end(self, slots: dict[str, Any], is_logged: bool, held: dict[str, Any]) -> Built:
        rows = self.filter(pk=slots["id"], token=slots["token"], **held)
        columns = {name: slots[name] for name in End("").columns()}
        lines = logged(slots["log"]) if is_logged else {}
        return rows.filter(status__in=(Status.RUNNING, Status.LOST)), {
            **columns,
            **lines,
            **RELEASED,
            "finished_at": DatabaseNow(),
        }

    @retry_contention
    def retry_own(
        self,
        run_id: UUID,
        token: UUID,
        start_at: datetime,
        exception: str,
        log: str = "",
        *,
        reason: str = "own_retry",
        next_try: dict[str, Any] | None = None,
    ) -> bool:
        """Note that the task called `self.retry`: same attempt, Celery has sent the next message.

        `next_try`: what that carries, as `worker.next_try` keeps it, to be sent again.
        """
        rows = self.filter(pk=run_id, token=token, status=Status.RUNNING)
        return bool(
            rows.update(
                status=Status.RETRYING,
                reason=reason,
                exception=exception,
                next_try=next_try,
                took_workers=0,
                **logged(log),
                lease_until=None,
                start_at=start_at,
                publish_at=start_at + UNSTARTED_GRACE,
            )
        )

    @retry_contention
    def try_again(self, run: "TaskRun", end: End, start_at: datetime, publish_at: datetime) -> bool:
        """Leave this attempt, started or refused, for the next: a RunAttempt row keeps it."""
        from dispatcher.models.run import RunAttempt

        left = WAITING if run.status in WAITING else (Status.RUNNING, Status.LOST)
        with transaction.atomic():
            mine = self.filter(pk=run.pk, attempt=run.attempt, token=run.token)
            won = mine.filter(status__in=left).update(
                **{**end.columns(), "status": Status.RETRYING},
                publish_at=publish_at,
                lease_until=None,  # `holds` stays: a run that retries still overlaps
                attempt=max(run.attempt, 1) + 1,
                retries=0,
                next_try=None,
                took_workers=0,
                token=None,
                start_at=start_at,
                finished_at=None,  # a late end of a run that was lost
                log="",
            )
            if won:
                ended = {k: v for k, v in end.columns().items() if k != "result"}
                finished_at = self.filter(pk=run.pk).values_list(DatabaseNow(), flat=True)[0]
                past = RunAttempt.of(run, finished_at=finished_at, log=run.log + end.log, **ended)
                past.save(force_insert=True)
        return bool(won)

    # Ends without a worker ------------------------------------------------------------------------

    @retry_contention
    def close(self, status: str, reason: str, **params: Any) -> int:
        """End runs of the selection that still wait: cancelled, missed, skipped or failed."""
        return self.waiting().update(
            status=status,
            reason=reason,
            reason_params=params,
            finished_at=DatabaseNow(),
            **RELEASED,
        )

    @retry_contention
    def cancel_running(self, run: "TaskRun", reason: str, **params: Any) -> bool:
        """End a running attempt as cancelled; its process can record nothing any more."""
        rows = self.filter(pk=run.pk, token=run.token, status=Status.RUNNING)
        return bool(
            rows.update(
                status=Status.CANCELLED,
                reason=reason,
                reason_params=params,
                finished_at=DatabaseNow(),
                **RELEASED,
            )
        )

    @retry_contention
    def wait(self, run_id: UUID, scheduled_task_id: int) -> bool:
        """Wait for the running one (`queue_one`). `IntegrityError` when another waits already."""
        return bool(self.waiting().filter(pk=run_id).update(waits=scheduled_task_id, **_seen()))

    @retry_contention
    def wait_turn(self) -> int:
        """Wait for the running one without a place in line: backfill and catch-up."""
        return self.waiting().update(reason="takes_turns", waits=None, **_seen())

    @retry_contention
    def detach(self) -> int:
        """Forget the definition: it is gone; `name` and `task` stay."""
        return self.update(scheduled_task=None)


def _seen() -> dict[str, Any]:
    """What a gate leaves that sends a run back to wait: its message came, and is used up."""
    return {"status": _PUBLISHED, "publish_at": database_in(UNSTARTED_GRACE)}
