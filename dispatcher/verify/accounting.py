"""Account for the slots of one scheduled task: those that there should be, against its runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Q

from dispatcher.models import Status, TaskRun
from dispatcher.models.status import ENDED
from dispatcher.models.times import HORIZON
from dispatcher.verify.findings import Account, Finding
from scheduling.audit import Entry, Term, expected, explains, term_of
from scheduling.models.state import State, noted
from scheduling.schedules.policies import INSTANT

#: Younger slots may still be on their way.
MARGIN = timedelta(minutes=2)
#: Rows read at a time.
PAGE = 10_000

#: A run of one slot that has ended: nothing more is to be said of it.
_PLAIN = Q(last_slot=None, status__in=ENDED)


@dataclass
class Subject:
    """What is known of one scheduled task: its terms, and how it stands now (None: deleted)."""

    pk: int
    name: str
    names: set[str]
    terms: list[Term]
    now: Entry | None
    last: Entry  # the newest row of the audit trail

    @property
    def deleted_at(self) -> datetime | None:
        return self.terms[-1].start if self.now is None else None

    def runs(self) -> Any:
        """The runs of the task; of a deleted one, detached runs that bear one of its names, too."""
        own = Q(scheduled_task=self.pk)
        if self.now is None:
            own |= Q(scheduled_task=None, name__in=self.names)
        return TaskRun.objects.filter(own, slot__gt=self.terms[0].start)


class Row(NamedTuple):
    """What is read of a run."""

    pk: UUID
    slot: datetime
    last_slot: datetime | None
    slot_count: int
    status: str
    start_at: datetime
    planned_at: datetime
    lease_until: datetime | None


class Comparison:
    """One walk along the slots that should be and the runs that are, both oldest first."""

    def __init__(
        self, subject: Subject, since: datetime, until: datetime, *, now: datetime, paused: bool
    ) -> None:
        """Of the slots in [since, until]; `paused`: whether everything is."""
        self.subject, self.now, self.paused = subject, now, paused
        self.after = max(since - INSTANT, subject.terms[0].start)
        self.until = min(until, subject.deleted_at or until)
        self.account = Account()
        self.gap: tuple[str, datetime, datetime, int] | None = None

    def run(self) -> Account:
        slots: Iterator[datetime] = expected(self.subject.terms, self._begin(), self.until)
        for runs, page in self._pages():
            wanted = list(islice(slots, len(page)))
            if wanted == page and not runs.exclude(_PLAIN).exists():
                self.account.slots += len(page)
            else:
                slots = self._walk(chain(wanted, slots), runs)
        for slot in slots:
            self._miss(self._why(slot), slot)
        self._close_gap()
        return self.account

    def _pages(self) -> Iterator[tuple[Any, list[datetime]]]:
        """The runs, some at a time, as a query and as their slots: enough where all is well."""
        after, more = self.after, True
        while more:
            runs = self.subject.runs().filter(slot__gt=after, slot__lte=self.until)
            page = list(runs.order_by("slot").values_list("slot", flat=True)[:PAGE])
            more = len(page) == PAGE
            if page:
                after = page[-1]
                yield runs.filter(slot__lte=after), page

    def _walk(self, slots: Iterator[datetime], runs: Any) -> Iterator[datetime]:
        """Row by row along these runs; the slots that come after them."""
        slot = next(slots, None)
        for row in map(Row._make, runs.order_by("slot").values_list(*Row._fields)):
            while slot is not None and slot < row.slot:
                self._miss("no_run", slot)
                slot = next(slots, None)
            self._close_gap()
            self._look_at(row)
            if slot == row.slot:
                slot = self._take(row, slots)
            elif not explains(self.subject.terms, row.slot, row.planned_at, HORIZON):
                self._find("extra", "no_slot", row.slot, row.slot, row.slot_count, row.pk)
        return slots if slot is None else chain([slot], slots)

    def _begin(self) -> datetime:
        """A row of missed slots from before may reach into the time that is verified."""
        if self.after == self.subject.terms[0].start:
            return self.after
        earlier = self.subject.runs().filter(slot__lte=self.after).order_by("-slot")
        reach = earlier.values_list("last_slot", flat=True).first()
        return max(self.after, reach) if reach else self.after

    def _take(self, row: Row, slots: Iterator[datetime]) -> datetime | None:
        """Account for the slots that this row stands for; the next one that it does not."""
        last, count = row.last_slot or row.slot, 1
        slot = next(slots, None)
        while slot is not None and slot <= last:
            slot, count = next(slots, None), count + 1
        self.account.slots += count
        if count > row.slot_count:
            self._find("missing", "short_span", row.slot, last, count - row.slot_count, row.pk)
        elif count < row.slot_count and last <= self.until:
            self._find("extra", "long_span", row.slot, last, row.slot_count - count, row.pk)
        return slot

    def _look_at(self, row: Row) -> None:
        """Whether the run itself is decided, or on its way."""
        due = self.now - MARGIN
        why = ""
        if row.status == Status.RUNNING:
            held = row.lease_until is None or row.lease_until > due
            self.account.running += held
            why = "" if held else "not_ended"
        elif row.status == Status.RETRYING and row.start_at < due:
            why = "not_ended"
        elif row.status in (Status.PLANNED, Status.PUBLISHED) and row.start_at < due:
            why = "everything_paused" if self.paused else "not_started"
        if why:
            self._find("undecided", why, row.slot, row.slot, run=row.pk)

    def _why(self, slot: datetime) -> str:
        """Why there is neither a run nor a later one: the scheduler may yet come to it."""
        now = self.subject.now
        if now is None or not now["enabled"]:
            return "no_run"
        if now["next_run_at"] is not None and slot < now["next_run_at"]:
            return "no_run"
        if noted(now["enabled"], now["state_reason"]) == State.SET_ASIDE:
            return "set_aside"
        return "everything_paused" if self.paused else "not_planned"

    # Consecutive slots without a run are one finding.

    def _miss(self, why: str, slot: datetime) -> None:
        if why == "no_run" and term_of(self.subject.terms, slot).set_aside:
            return
        if self.gap is not None and self.gap[0] != why:
            self._close_gap()
        _why, first, _last, count = self.gap or (why, slot, slot, 0)
        self.gap = why, first, slot, count + 1

    def _close_gap(self) -> None:
        if self.gap is not None:
            why, first, last, count = self.gap
            self._find("missing" if why == "no_run" else "undecided", why, first, last, count)
            self.gap = None

    def _find(
        self,
        kind: str,
        why: str,
        first: datetime,
        last: datetime,
        count: int = 1,
        run: UUID | None = None,
    ) -> None:
        subject = self.subject
        self.account.find(Finding(kind, why, subject.pk, subject.name, first, last, count, run))
