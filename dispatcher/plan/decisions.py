"""Decide: what the slots of one row, from `next_run_at` to the horizon, become. Nothing is written.

`planner` writes what is decided here, for the rows that it holds locked.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import OuterRef, Subquery
from django.db.models.functions import Coalesce

from dispatcher.models import TaskRun, bulk
from dispatcher.models.times import HORIZON
from dispatcher.plan.new_runs import missed_run, slot_run
from scheduling.models import ScheduledTask, spoilt_rows
from scheduling.schedules.policies import Misfire, SlotPlan, plan_slots


@dataclass
class Decision:
    """A row, the slots that its planner found, and the runs that they become."""

    row: ScheduledTask
    plan: SlotPlan
    runs: list[TaskRun]
    missed: TaskRun | None

    def move(self) -> bulk.Move:
        row, plan = self.row, self.plan
        last = plan.runs[-1] if plan.runs else row.last_run_at
        return bulk.Move(row.pk, row.next_run_at, plan.next_run_at, last, plan.used)

    def show_move(self) -> None:
        """Make the row what it is in the database after `move`."""
        move = self.move()
        self.row.next_run_at, self.row.last_run_at = move.after, move.last_run_at
        self.row.slots_used += move.used
        self.row.state_reason, self.row.state_reason_params = "", {}

    def drop_slots_with_runs(self) -> None:
        """Leave out the slots that have a row already, by whatever hand."""
        drafts = self.runs + ([self.missed] if self.missed is not None else [])
        present = self.row.runs.filter(slot__in=[run.slot for run in drafts])
        taken = set(present.values_list("slot", flat=True))
        self.runs = [run for run in self.runs if run.slot not in taken]
        if self.missed is not None and self.missed.slot in taken:
            self.missed = None


@dataclass
class KnownSlots:
    """The newest slot up to now that is accounted for, and those that were planned ahead."""

    until: datetime | None = None
    ahead: set[datetime] = field(default_factory=set)


def decide(
    row: ScheduledTask, now: datetime, known_slots: KnownSlots | None = None
) -> Decision | None:
    """What the row's slots up to the horizon become; None where it has no further slot.

    `known_slots` is looked up if it is needed and not given. Raises `ScheduleError`, or whatever
    garbage in the row provokes.
    """
    spoilt_rows.check(row)
    window = row.window()
    first = first_unplanned(row, now, known_slots)
    if first is None:
        # A rule changed behind our back may leave a `next_run_at` that is no slot: it goes first.
        return Decision(row, SlotPlan((), None, 0, None), [], None) if row.next_run_at else None
    plan = plan_slots(
        window,
        first,
        now=now,
        horizon=max(now + HORIZON, now),
        misfire=Misfire(row.misfire_policy, timedelta(seconds=row.misfire_grace_seconds)),
        allowed=row.slots_left(),
    )
    runs = [slot_run(row, slot, now) for slot in plan.runs]
    missed = missed_run(row, plan.missed, now, "misfire") if plan.missed else None
    return Decision(row, plan, runs, missed)


def first_unplanned(
    row: ScheduledTask, now: datetime, known_slots: KnownSlots | None = None
) -> datetime | None:
    """What `next_run_at` says where it is a slot of the rule, or would say: the first slot since
    the row was armed that has no run."""
    if row.next_run_at is not None and row.window().has_slot(row.next_run_at):
        return row.next_run_at
    known_slots = known_slots or known_slots_of([row.pk], now)[row.pk]
    slot = row.first_slot(max(row.armed_at, known_slots.until or row.armed_at))
    while slot in known_slots.ahead:
        slot = row.first_slot(slot)
    return slot


def known_slots_of(ids: list[int], now: datetime) -> dict[int, KnownSlots]:
    """What has a run already, by row: two queries that look at the end of the histories only."""
    if not ids:
        return {}
    newest = TaskRun.objects.filter(scheduled_task=OuterRef("pk"), slot__lte=now).order_by("-slot")
    until = Subquery(newest.values(until=Coalesce("last_slot", "slot"))[:1])
    rows = ScheduledTask.objects.filter(pk__in=ids).order_by().annotate(until=until)
    by_row = {pk: KnownSlots(moment) for pk, moment in rows.values_list("pk", "until")}
    ahead = TaskRun.objects.filter(scheduled_task__in=ids, slot__gt=now).order_by()
    for pk, slot in ahead.values_list("scheduled_task", "slot"):
        by_row[pk].ahead.add(slot)  # type: ignore[arg-type]  # never NULL: it is > now
    return by_row
