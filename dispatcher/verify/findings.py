"""What a verification finds: slots that are not accounted for, and in what way."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

#: Findings of each kind that are listed; all are counted.
LISTED = 100
KINDS = ("missing", "extra", "undecided")

SENTENCES = {
    # missing
    "no_run": "{name}: no run for {slots}.",
    "short_span": "{name}: the row of missed slots from {first} to {last} counts {count} too few "
    "(run {run}).",
    # extra
    "no_slot": "{name}: a run for {first}, which is no slot of the rule in force (run {run}).",
    "long_span": "{name}: the row of missed slots from {first} to {last} counts {count} too many "
    "(run {run}).",
    # undecided
    "not_planned": "{name}: the scheduler has not come to {slots}.",
    "set_aside": "{name}: set aside, nothing is decided for {slots}.",
    "everything_paused": "{name}: everything is paused, nothing is decided for {slots}.",
    "not_started": "{name}: the run for {first} has not started (run {run}).",
    "not_ended": "{name}: the run for {first} has not ended, and no worker answers for it "
    "(run {run}).",
}


@dataclass(frozen=True)
class Finding:
    """`count` slots of one scheduled task, from `first` to `last`, that are not accounted for."""

    kind: str
    why: str
    scheduled_task: int
    name: str
    first: datetime
    last: datetime
    count: int = 1
    run: UUID | None = None

    @property
    def sentence(self) -> str:
        first, last = text(self.first), text(self.last)
        slots = first if self.count == 1 else f"{self.count} slots from {first} to {last}"
        said = vars(self) | {"first": first, "last": last, "slots": slots}
        return SENTENCES[self.why].format(**said)


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


@dataclass
class Account:
    """Slots accounted for, runs running, and by kind how many slots are not accounted for; the
    first of those are listed."""

    slots: int = 0
    running: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    listed: dict[str, list[Finding]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def find(self, finding: Finding) -> None:
        self.counts[finding.kind] += finding.count
        if len(self.listed[finding.kind]) < LISTED:
            self.listed[finding.kind].append(finding)

    def add(self, other: "Account") -> None:
        self.slots += other.slots
        self.running += other.running
        self.counts += other.counts
        for kind, findings in other.listed.items():
            self.listed[kind] += findings[: LISTED - len(self.listed[kind])]
