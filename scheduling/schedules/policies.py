"""The rules that decide what a slot becomes: window, misfire, jitter, retry. Pure: no Django."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduling.schedules.values import Schedule, Span, missed, newest, slots_between

#: The most slots that `run_all` catches up on; older ones are missed.
CATCH_UP_LIMIT = 1000

RETRY_CEILING_SECONDS = 3600
RERUN_LIMIT = 3

#: The smallest step of time that is stored: right before a moment, where a question is "after".
INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Window:
    """A schedule between `starts_at` and `ends_at`, both inclusive (None: open)."""

    schedule: Schedule
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def _after(self, moment: datetime) -> datetime:
        return max(moment, self.starts_at - INSTANT) if self.starts_at else moment

    def _until(self, moment: datetime) -> datetime:
        return min(moment, self.ends_at) if self.ends_at else moment

    def next_after(self, moment: datetime) -> datetime | None:
        """The first slot strictly after `moment`, or None when there is none."""
        slot = self.schedule.next_after(self._after(moment))
        return None if slot is None or (self.ends_at and slot > self.ends_at) else slot

    def has_slot(self, moment: datetime) -> bool:
        return self.next_after(moment - INSTANT) == moment

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The slots in (after, until], oldest first."""
        return slots_between(self.schedule, self._after(after), self._until(until))

    def span(self, after: datetime, until: datetime) -> Span | None:
        """First, last and number of the slots in (after, until]; None if there are none."""
        after, until = self._after(after), self._until(until)
        return missed(self.schedule, after, until) if after < until else None

    def newest(self, after: datetime, until: datetime, n: int) -> list[datetime]:
        """The newest at most `n` slots in (after, until], oldest first."""
        after, until = self._after(after), self._until(until)
        return newest(self.schedule, after, until, n) if after < until else []

    def until_count(self, after: datetime, until: datetime, count: int) -> datetime:
        """The latest moment up to `until` with at most `count` slots since `after`.

        By bisection over the count of slots: about 30 counts for a downtime of 10 years.
        """
        if count <= 0:
            return after
        span = self.span(after, until)
        if span is None or span.count <= count:
            return until
        low, high = after, until  # the answer is in [low, high)
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) / 2
            half = self.span(after, middle)
            low, high = (middle, high) if half is None or half.count <= count else (low, middle)
        return low


@dataclass(frozen=True)
class Misfire:
    """How a scheduled task treats slots older than `grace` when they come to be planned."""

    policy: str
    grace: timedelta


@dataclass(frozen=True)
class SlotPlan:
    """What the slots from `next_run_at` to the horizon become.

    `runs` oldest first; `missed` the consecutive slots that do not run; `used` how many slots that
    is together; `next_run_at` the first slot not yet planned, None when there is no further one.
    """

    runs: tuple[datetime, ...]
    missed: Span | None
    used: int
    next_run_at: datetime | None


def plan_slots(
    window: Window,
    next_run_at: datetime,
    *,
    now: datetime,
    horizon: datetime,
    misfire: Misfire,
    allowed: int | None = None,
) -> SlotPlan:
    """Decide every slot in [next_run_at, horizon]; at most `allowed` of them (None: no limit)."""
    after = next_run_at - INSTANT
    until = horizon
    if allowed is not None:
        until = window.until_count(after, horizon, allowed)
    due = min(now, until)
    catch_up_from = _catch_up_from(window, after, due, now=now, misfire=misfire)
    dropped = window.span(after, catch_up_from) if catch_up_from > after else None
    runs = tuple(window.between(catch_up_from, until))
    used = len(runs) + (dropped.count if dropped else 0)
    exhausted = allowed is not None and used >= allowed
    return SlotPlan(runs, dropped, used, None if exhausted else window.next_after(until))


def _catch_up_from(
    window: Window, after: datetime, due: datetime, *, now: datetime, misfire: Misfire
) -> datetime:
    """The moment after which slots run; those up to it are missed. `after` when none is late."""
    first = window.next_after(after)
    if first is None or first > due or first >= now - misfire.grace:
        return after
    if misfire.policy == "skip":
        return min(now - misfire.grace - INSTANT, due)
    kept = window.newest(after, due, CATCH_UP_LIMIT if misfire.policy == "run_all" else 1)
    return kept[0] - INSTANT if kept else after


def overtaken(
    waiting: Iterable[tuple[datetime, datetime]],
    keep_from: datetime | None,
    *,
    now: datetime,
    misfire: Misfire,
) -> list[datetime]:
    """Which planned slots do not run any more, because they could not be published in time.

    `waiting`: (slot, start) of the slots up to now that have not started, oldest first.
    `keep_from`: of the slots up to now, whatever became of them, the newest (`run_latest`) or the
    last of the newest CATCH_UP_LIMIT (`run_all`; None where there are fewer). Late is what should
    have *started* longer ago than the grace: the jitter of a slot is no lateness. As in planning,
    one late slot is enough for `run_latest` to run the newest only.
    """
    late = [slot for slot, start_at in waiting if start_at < now - misfire.grace]
    if not late:
        return []
    if misfire.policy == "skip":
        return late
    return [slot for slot, _ in waiting if keep_from is not None and slot < keep_from]


def jitter(seed: object, slot: datetime, seconds: int, next_slot: datetime | None) -> timedelta:
    """0 up to `seconds`, always the same for the same (seed, slot); ends before the next slot."""
    if seconds <= 0:
        return timedelta(0)
    width = float(seconds)
    if next_slot is not None:
        width = min(width, (next_slot - slot).total_seconds())
    digest = hashlib.sha256(f"{seed}/{slot.timestamp():.6f}".encode()).digest()
    fraction = int.from_bytes(digest[:8]) / 2**64
    return timedelta(milliseconds=int(fraction * width * 1000))


def retry_delay(base_seconds: int, attempt: int, *, backoff: bool) -> timedelta:
    """The wait after attempt number `attempt` (1 = the first); an hour at the most when it doubles.

    >>> retry_delay(60, 3, backoff=True)
    datetime.timedelta(seconds=240)
    """
    if not backoff:
        return timedelta(seconds=base_seconds)
    # In whole numbers: what is doubled 30 times may be more than a timedelta holds.
    doubled = base_seconds * 2 ** min(attempt - 1, 30)
    ceiling = max(RETRY_CEILING_SECONDS, base_seconds)
    return timedelta(seconds=min(doubled, ceiling))
