"""Which slots a schedule should have had: read from the audit trail, without asking the planner.

A `Term` is a time in which one rule was in force. An edit at `now` ends one and begins the next:
slots up to now belong to the old rule, later ones to the new.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from scheduling.models import ScheduledTask
from scheduling.models.state import State, may_run, noted
from scheduling.schedules import Schedule, slots_between
from scheduling.schedules.policies import INSTANT
from scheduling.trail import DELETED
from scheduling.validation import TIMING

#: Columns of the trail that say which slots there are, and when.
RULE = (*TIMING, "created_at")
COLUMNS = (
    *RULE,
    "id",
    "name",
    "enabled",
    "state_reason",
    "armed_at",
    "history_date",
    "history_type",
    "tzdata",
)

Entry = dict[str, Any]


@dataclass
class Term:
    """A rule and the time in which it decided, (start, end].

    `schedule` is None where no slot is expected: paused, deleted, or (`invalid`) no rule at all.
    In a term `set_aside` slots may have runs, for it may be decided later what becomes of them.
    `allowed` is how many slots `max_runs` left to it at its start; None for any number.
    """

    start: datetime
    end: datetime
    schedule: Schedule | None
    invalid: bool
    set_aside: bool
    starts_at: datetime | None
    ends_at: datetime | None
    max_runs: int | None
    tzdata: str
    allowed: int | None = None

    def slots(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The slots in (after, until] that it asks for, oldest first."""
        after, until = self._bounded(after, until)
        if self.schedule is None or after >= until:
            return
        left = self._left(after)
        for number, slot in enumerate(slots_between(self.schedule, after, until)):
            if left is not None and number >= left:
                return
            yield slot

    def has_slot(self, slot: datetime) -> bool:
        """Whether its rule has this slot, whenever it was in force."""
        inside = (self.starts_at or slot) <= slot <= (self.ends_at or slot)
        found = self.schedule and inside and self.schedule.next_after(slot - INSTANT)
        return found == slot

    def count(self) -> int:
        """How many slots it asks for in its whole time."""
        number = self._count(self.start, self.end)
        return number if self.allowed is None else min(number, self.allowed)

    def _left(self, after: datetime) -> int | None:
        if self.allowed is None:
            return None
        return max(self.allowed - self._count(self.start, after), 0)

    def _count(self, after: datetime, until: datetime) -> int:
        after, until = self._bounded(after, until)
        return self.schedule.count(after, until) if self.schedule and after < until else 0

    def _bounded(self, after: datetime, until: datetime) -> tuple[datetime, datetime]:
        after, until = max(after, self.start), min(until, self.end)
        if self.starts_at is not None:
            after = max(after, self.starts_at - INSTANT)
        if self.ends_at is not None:
            until = min(until, self.ends_at)
        return after, until


def terms(entries: Iterable[Entry], until: datetime) -> list[Term]:
    """The terms of one scheduled task up to `until`, from the rows of its trail, oldest first."""
    all_terms: list[Term] = []
    for entry in entries:
        # The first rule counts from when it was armed: of rows inserted without an edit earlier.
        start = entry["history_date"] if all_terms else entry["armed_at"]
        if all_terms:
            all_terms[-1].end = min(all_terms[-1].end, start)
        all_terms.append(_term(entry, start, until))
    _allot(all_terms)
    return all_terms


def _term(entry: Entry, start: datetime, end: datetime) -> Term:
    schedule, invalid = None, False
    if _in_force(entry):
        try:
            schedule = ScheduledTask(**{name: entry[name] for name in RULE}).schedule()
        except Exception:  # whatever SQL wrote there: no rule, no slot
            invalid = True
    bounds = {name: entry[name] for name in ("starts_at", "ends_at", "max_runs", "tzdata")}
    set_aside = noted(entry["enabled"], entry["state_reason"]) == State.SET_ASIDE
    return Term(start, end, schedule, invalid, set_aside, **bounds)


def _in_force(entry: Entry) -> bool:
    """Finished ones, too: that no slot was left is for their rule to say, not for the planner."""
    deleted = entry["history_type"] == DELETED
    return not deleted and may_run(entry["enabled"], entry["state_reason"])


def _allot(all_terms: list[Term]) -> None:
    """`max_runs` counts slots from the creation on, under whichever rule they were."""
    if all(term.max_runs is None for term in all_terms):
        return
    used = 0
    for term in all_terms:
        if term.max_runs is not None:
            term.allowed = max(term.max_runs - used, 0)
        used += term.count()


def expected(all_terms: list[Term], after: datetime, until: datetime) -> Iterator[datetime]:
    """The expected slots in (after, until], oldest first."""
    first = max(bisect_right(all_terms, after, key=lambda term: term.start) - 1, 0)
    for term in all_terms[first:]:
        yield from term.slots(after, until)


def term_of(all_terms: list[Term], slot: datetime) -> Term:
    """The term to which a slot belongs."""
    return all_terms[max(bisect_left(all_terms, slot, key=lambda term: term.start) - 1, 0)]


def explains(all_terms: list[Term], slot: datetime, planned_at: datetime, ahead: timedelta) -> bool:
    """Whether a run of a slot that is not expected may still be there.

    It was planned, up to `ahead` before its slot, by a rule that an edit has replaced since; or
    afterwards, by the rule that followed one that could not be read.
    """
    planned_in = (t for t in all_terms if t.start <= planned_at <= t.end and t.has_slot(slot))
    return any(
        term.end < slot <= term.end + ahead
        or (slot <= term.start and term_of(all_terms, slot).invalid)
        for term in planned_in
    )
