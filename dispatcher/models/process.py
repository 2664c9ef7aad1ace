"""`Worker`, a worker process that has lived, and `Tick`, one pass of the scheduler."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar, cast
from uuid import UUID

from django.db import models
from django.db.models import Max, Q
from django.utils.translation import gettext_lazy as _

from dispatcher.models.times import LEASE, RESCUE_GAP, WORKER_LEASE
from scheduling.database import DatabaseNow, database_in


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self, now: datetime) -> "WorkerQuerySet":
        return self.filter(lease_until__gt=now, stopped_at=None)

    def silent(self) -> "WorkerQuerySet":
        """Workers whose word is broken, by the database's clock, and whom nobody took over, or not
        to the end."""
        unjudged = Q(lease_until=None, taking__isnull=False)
        return self.filter(Q(lease_until__lt=DatabaseNow()) | unjudged, stopped_at=None)

    def last_death(self) -> datetime | None:
        """The last word of the worker that was the last to die; not of one that was told to."""
        dead = self.filter(Q(lease_until=None) | Q(lease_until__lt=DatabaseNow()), stopped_at=None)
        last: datetime | None = dead.aggregate(last=Max("seen_at"))["last"]
        return last

    def takes(self, worker: UUID, run_id: UUID) -> bool:
        """The worker begins to take a message of this run; False where it counts as dead."""
        living = self.filter(pk=worker, lease_until__gte=DatabaseNow())
        return bool(living.update(taking=run_id))

    def has_taken(self, worker: UUID, run_id: UUID) -> bool:
        """It has taken it, or it died of it: there is nothing more to be noted."""
        return bool(self.filter(pk=worker, taking=run_id).update(taking=None))

    def speak(self, worker: UUID, held: bytes, **columns: Any) -> bool:
        """Note the word of a worker: it lives, and holds these; False where nobody knows it."""
        rows = self.filter(pk=worker)
        word = {"seen_at": DatabaseNow(), "lease_until": database_in(WORKER_LEASE), "held": held}
        return bool(rows.update(**word | columns))

    def take_over(self, worker: "Worker") -> bool:
        """Take what a silent worker held; True for the one who may send it again."""
        same = self.filter(pk=worker.pk, stopped_at=None, lease_until=worker.lease_until)
        return bool(same.update(held=b"", lease_until=None))

    def held_by_living(self) -> set[UUID]:
        """The runs whose messages a living worker holds, by the database's clock."""
        living = self.filter(stopped_at=None, lease_until__gte=DatabaseNow())
        words = living.exclude(held=b"").values_list("held", flat=True)
        return {run_id for word in words for run_id in unpacked(word)}

    def stop(self, worker: UUID) -> bool:
        return bool(
            self.filter(pk=worker, stopped_at=None).update(
                stopped_at=DatabaseNow(), lease_until=None, held=b"", taking=None
            )
        )


def packed(run_ids: Iterable[UUID]) -> bytes:
    """Run ids as 16 bytes each.

    >>> unpacked(packed([UUID(int=7), UUID(int=9)]))
    [UUID('00000000-0000-0000-0000-000000000007'), UUID('00000000-0000-0000-0000-000000000009')]
    """
    return b"".join(run_id.bytes for run_id in run_ids)


def unpacked(word: bytes | memoryview) -> list[UUID]:
    """The run ids of a word, as `packed` wrote them."""
    data = bytes(word)  # psycopg2 and MySQL's drivers give other kinds of bytes
    return [UUID(bytes=data[start : start + 16]) for start in range(0, len(data), 16)]


class Worker(models.Model):
    """One start of one worker process: its name may come back, its id does not."""

    id = models.UUIDField(primary_key=True)
    hostname = models.CharField(_("name"), max_length=255)
    pid = models.PositiveIntegerField(_("process id"))
    pool = models.CharField(_("pool"), max_length=100, blank=True, default="")
    concurrency = models.PositiveIntegerField(_("concurrency"), null=True)
    queues = models.JSONField(_("queues"), default=list)
    tasks = models.JSONField(_("tasks"), null=True)  # the names that it knows, Celery's left out
    # Its clock minus the database's, at its last word.
    clock_offset = models.FloatField(_("clock off by (seconds)"), null=True)
    started_at = models.DateTimeField(_("started"))
    seen_at = models.DateTimeField(_("last seen"))
    lease_until = models.DateTimeField(_("alive until"), null=True)
    stopped_at = models.DateTimeField(_("stopped"), null=True)
    # The runs whose messages it has received and not started, 16 bytes each (`packed`).
    held = models.BinaryField(default=b"")
    # The run of a suspect message that it is taking at this moment (`worker.suspects`).
    taking = models.UUIDField(null=True)

    objects: ClassVar[WorkerQuerySet] = cast(WorkerQuerySet, WorkerQuerySet.as_manager())

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        ordering = ("-started_at",)
        indexes = (models.Index(fields=("lease_until",), name="worker_lease"),)

    def __str__(self) -> str:
        return f"{self.hostname} (pid {self.pid})"

    @property
    def can_terminate(self) -> bool:
        """Whether it can limit a run's time, or end one that is running: only prefork can."""
        return "prefork" in self.pool


class TickQuerySet(models.QuerySet["Tick"]):
    def ticks(self) -> "TickQuerySet":
        return self.filter(kind=Tick.Kind.TICK)

    def rescues(self) -> "TickQuerySet":
        return self.filter(kind=Tick.Kind.RESCUE)

    def finished(self) -> "TickQuerySet":
        """Passes that came to their end."""
        return self.exclude(finished_at=None)

    def last(self) -> "Tick | None":
        return self.order_by("-started_at").first()

    def leases_can_be_judged(self, now: datetime) -> bool:
        """Whether rescue passes ran without a gap of over 60 s for a full lease time.

        After a database outage or a resumed machine the workers must have had time to renew.
        """
        starts = self.rescues().filter(started_at__gte=now - LEASE - RESCUE_GAP)
        later = now
        for start in starts.order_by("-started_at").values_list("started_at", flat=True):
            if later - start > RESCUE_GAP:
                return False
            if now - start >= LEASE:
                return True
            later = start
        return False


class Tick(models.Model):
    """One pass: when it ran and what it did. Rescue passes are kept here too."""

    class Kind(models.TextChoices):
        TICK = "tick", _("tick")
        RESCUE = "rescue", _("rescue")

    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices, default=Kind.TICK)
    started_at = models.DateTimeField(_("started"))
    finished_at = models.DateTimeField(_("finished"), null=True)
    dispatcher = models.CharField(_("dispatcher"), max_length=255, blank=True, default="")
    planned = models.PositiveIntegerField(_("planned"), default=0)
    published = models.PositiveIntegerField(_("published"), default=0)
    missed = models.PositiveIntegerField(_("missed"), default=0)
    set_aside = models.PositiveIntegerField(_("set aside"), default=0)
    lost = models.PositiveIntegerField(_("lost"), default=0)
    tzdata = models.CharField(_("time zone data"), max_length=20, blank=True, default="")
    error = models.TextField(_("error"), blank=True, default="")

    objects: ClassVar[TickQuerySet] = cast(TickQuerySet, TickQuerySet.as_manager())

    class Meta:
        verbose_name = _("tick")
        verbose_name_plural = _("ticks")
        ordering = ("-started_at",)
        indexes = (models.Index(fields=("kind", "-started_at"), name="tick_latest"),)

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.started_at:%Y-%m-%d %H:%M:%S}"

    def close(self, **counts: Any) -> None:
        """Note the end of the pass and what it did."""
        Tick.objects.filter(pk=self.pk).update(finished_at=DatabaseNow(), **counts)
