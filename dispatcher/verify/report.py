"""Verify: every slot that there should have been, against the runs that there are.

What should have been is computed from the audit trail, by none of the code that plans. A slot is
accounted for by exactly one run, or by one row that stands for consecutive missed slots.
"""

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dispatcher import conf
from dispatcher.models import Tick
from dispatcher.verify.accounting import MARGIN, Comparison, Subject
from dispatcher.verify.findings import Account, text
from scheduling.audit import Entry
from scheduling.audit.terms import COLUMNS, RULE, terms
from scheduling.database import database_now, in_batches
from scheduling.models import ScheduledTask
from scheduling.schedules.zones import tzdata_version
from scheduling.stop import current_stop
from scheduling.trail import CREATED, DELETED

#: Runs that will be older than their retention before the verification has ended are left out.
RETENTION_MARGIN = timedelta(minutes=10)
#: Scheduled tasks whose trails are read at a time.
VERIFIED_AT_ONCE = 200
#: How many names one note lists.
SHOWN = 10

#: What is read of the rows of the scheduled tasks themselves.
_NOW = (*RULE, "id", "name", "enabled", "state_reason", "next_run_at", "armed_at")


@dataclass(kw_only=True)
class Report(Account):
    """What was looked at, [since, until], and what was found."""

    since: datetime
    until: datetime
    schedules: int = 0
    notes: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Every slot is accounted for."""
        return not any(self.counts.values())


def verify(
    since: datetime | None = None,
    until: datetime | None = None,
    tasks: Collection[str | ScheduledTask] | None = None,
    now: datetime | None = None,
) -> Report:
    """Look at every slot in [since, until], of these scheduled tasks (or names), deleted ones too.

    By default since the oldest run that is kept for sure, until two minutes before `now`.
    `ValueError` if that is no time, or if a name is none that ever was.
    """
    now = now or database_now()
    kept = now - timedelta(days=_retention_days()) + RETENTION_MARGIN
    report = Report(since=max(since or kept, kept), until=min(until or now - MARGIN, now))
    if report.since >= report.until:
        raise ValueError("There is nothing to verify: the end is not after the start.")
    paused = current_stop() is not None
    for subject in _subjects(_ids(tasks), report.until):
        if subject.deleted_at is None or subject.deleted_at > report.since:
            _look(subject, report, now, paused)
    report.notes += _notes(report, since)
    return report


def _retention_days() -> int:
    return min(conf.RUN_RETENTION_DAYS.value, conf.FAILURE_RETENTION_DAYS.value)


def _look(subject: Subject, report: Report, now: datetime, paused: bool) -> None:
    """Compare; what seems wrong is looked at again, for it may have changed between two queries."""
    account = Comparison(subject, report.since, report.until, now=now, paused=paused).run()
    if account.counts or _is_untold(subject):
        subject = next(_subjects([subject.pk], report.until), subject)
        account = Comparison(subject, report.since, report.until, now=now, paused=paused).run()
    report.add(account)
    report.schedules += 1
    if _is_untold(subject):
        report.untold.append(subject.name)


# What is verified ---------------------------------------------------------------------------------


def _ids(tasks: Collection[str | ScheduledTask] | None) -> list[int]:
    """Ids of the scheduled tasks, living and deleted."""
    if tasks is not None:
        return sorted({pk for task in tasks for pk in _ids_of(task)})
    trail = ScheduledTask.history.order_by("id").values_list("id", flat=True).distinct()
    return sorted({*trail, *ScheduledTask.objects.order_by().values_list("pk", flat=True)})


def _ids_of(task: str | ScheduledTask) -> Collection[int]:
    if isinstance(task, ScheduledTask):
        return [task.pk]
    named = ScheduledTask.history.filter(name__iexact=task).order_by()
    ids = {*named.values_list("id", flat=True).distinct()}
    ids |= {*ScheduledTask.objects.filter(name_key=task.lower()).values_list("pk", flat=True)}
    if not ids:
        raise ValueError(f"No scheduled task is or was named {task}.")
    return ids


def _subjects(ids: Sequence[int], until: datetime) -> Iterator[Subject]:
    for start in range(0, len(ids), VERIFIED_AT_ONCE):
        batch = ids[start : start + VERIFIED_AT_ONCE]
        rows = ScheduledTask.objects.filter(pk__in=batch).order_by()  # also what SQL has spoilt
        present = {row.pk: {name: getattr(row, name) for name in _NOW} for row in rows}
        entries = ScheduledTask.history.filter(id__in=batch).order_by("id", "history_id")
        for pk, told in itertools.groupby(in_batches(entries.values(*COLUMNS)), _id_of):
            yield _subject(pk, list(told), present.pop(pk, None), until)
        for pk, row in present.items():  # inserted by SQL or an import, and not changed since
            entry = row | {"history_type": CREATED, "history_date": row["armed_at"], "tzdata": ""}
            yield _subject(pk, [entry], row, until)


def _id_of(entry: Entry) -> int:
    return int(entry["id"])


def _subject(pk: int, entries: list[Entry], now: Entry | None, until: datetime) -> Subject:
    last = entries[-1]
    return Subject(
        pk=pk,
        name=last["name"],
        names={entry["name"] for entry in entries},
        terms=terms(entries, until),
        now=None if last["history_type"] == DELETED else now,
        last=last,
    )


# What the reader should know ----------------------------------------------------------------------


def _is_untold(subject: Subject) -> bool:
    """Whether its row is not what the audit trail says."""
    now = subject.now
    return now is not None and any(now[name] != subject.last[name] for name in (*RULE, "enabled"))


def _notes(report: Report, since: datetime | None) -> Iterator[str]:
    if since is not None and since < report.since:
        yield f"Runs from before {text(report.since)} may be deleted: verified since then."
    if report.untold:
        names = ", ".join(report.untold[:SHOWN]) + (", …" if len(report.untold) > SHOWN else "")
        yield (
            f"Changed without a trace in the audit trail (by SQL, or an import): {names}. "
            "They are verified by what the trail says."
        )
    versions = [] if report.is_clean else _tzdata_versions(report)
    if len(versions) > 1:
        yield (
            f"The time zone data changed in this time ({', '.join(versions)}). Slots in zones "
            f"whose rules changed are judged by {tzdata_version()}, the one of this process."
        )


def _tzdata_versions(report: Report) -> list[str]:
    entries = ScheduledTask.history.filter(history_date__range=(report.since, report.until))
    ticks = Tick.objects.filter(started_at__range=(report.since, report.until))
    versions = {tzdata_version()}
    for rows in (entries, ticks):
        versions.update(rows.order_by().values_list("tzdata", flat=True).distinct())
    return sorted(versions - {""})
