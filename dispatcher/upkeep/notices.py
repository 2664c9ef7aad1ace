"""Notices: which schedules started failing or work again, and a mail about it to the owner.

Read from the runs, after each rescue pass, so that no run waits for it. What is true is committed
first, as a row of `Failing`; the mails follow, each by whoever holds the lease of its rows.
"""

import logging
import smtplib
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Subquery, UUIDField, Value
from django.db.models.functions import Coalesce

from dispatcher.models import Failing, TaskRun, Tick
from dispatcher.models.status import BAD, COUNTED, Status
from dispatcher.upkeep import mails
from scheduling.database import database_now, locked, retry_contention
from scheduling.models import ScheduledTask, State

logger = logging.getLogger(__name__)

#: How far back the first pass looks, or the first after all dispatchers were away.
LOOK_BACK = timedelta(days=1)
#: Ends so long before the last pass are looked at again: one may be committed later than the time
#: that it says, and the process of that pass may have died before it came to them.
MARGIN = timedelta(minutes=5)
#: How long a sender has for the mails that it took, and so when they are tried again.
LEASE = timedelta(minutes=1)
#: A mail that could not be sent for so long is given up.
GIVE_UP = timedelta(hours=1)
#: Seconds in which one pass sends mails; the others wait for the next one.
SENDING_SECONDS = 20.0
#: Schedules looked at in one question.
JUDGED_AT_ONCE = 500

_BEFORE_ALL = Value(UUID(int=0), output_field=UUIDField())


def notice(now: datetime) -> None:
    """Note and tell, at the end of a rescue pass, which must not fail for it."""
    try:
        note_changes(now)
        tell()
    except Exception:
        logger.exception("What fails could not be noticed", extra={"action": "notices_failed"})


# What is true -------------------------------------------------------------------------------------


def note_changes(now: datetime) -> int:
    """Write down which schedules fail since the last pass, and which do not any more."""
    started = sum(_note_failing(ids, now) for ids in _batches(_suspects(_last_pass(now))))
    return started + _note_recovered(now) + _note_paused(now)


def _last_pass(now: datetime) -> datetime:
    """Ends before this have been looked at."""
    passes = Tick.objects.rescues().filter(started_at__gt=now - LOOK_BACK, started_at__lt=now)
    last = passes.exclude(finished_at=None).last()
    return (last.started_at if last else now - LOOK_BACK) - MARGIN


def _suspects(since: datetime) -> list[int]:
    """Schedules of which a run ended badly since then, and that are not known to fail."""
    known = Failing.objects.filter(scheduled_task=OuterRef("scheduled_task"))
    ends = TaskRun.objects.filter(status__in=BAD, finished_at__gte=since)
    ends = ends.filter(~Exists(known), scheduled_task__isnull=False).order_by()
    found = ends.values_list("scheduled_task", flat=True).distinct()
    return [pk for pk in found if pk is not None]


def _batches(ids: list[int]) -> Iterable[list[int]]:
    return (ids[start : start + JUDGED_AT_ONCE] for start in range(0, len(ids), JUDGED_AT_ONCE))


def _runs_of(**conditions: Any) -> Any:
    """The runs of the schedule of the outer query that say whether it works, newest first."""
    runs = TaskRun.objects.filter(scheduled_task=OuterRef("pk"), **conditions)
    return runs.filter(status__in=COUNTED).order_by("-pk")


def _note_failing(ids: list[int], now: datetime) -> int:
    """Those whose newest run since they were armed failed."""
    counted = _runs_of(finished_at__gte=OuterRef("armed_at"))
    succeeded = Subquery(counted.filter(status=Status.SUCCEEDED).values("pk")[:1])
    series = counted.filter(pk__gt=Coalesce(OuterRef("succeeded"), _BEFORE_ALL)).order_by("pk")
    tasks = (
        ScheduledTask.objects.filter(pk__in=ids)
        .order_by()
        .annotate(
            newest=Subquery(counted.values("pk")[:1]),
            newest_status=Subquery(counted.values("status")[:1]),
            succeeded=succeeded,
        )
        .filter(newest_status__in=BAD)
        .annotate(since=Subquery(series.values("finished_at")[:1]))
    )
    return _insert(
        [
            Failing(scheduled_task_id=pk, run_id=run, since=since, noticed_at=now, tell_at=now)
            for pk, run, since in tasks.values_list("pk", "newest", "since")
        ]
    )


def _insert(rows: list[Failing]) -> int:
    """The insert is the lock: a row that is there already was another dispatcher's."""
    try:
        with transaction.atomic():
            return len(Failing.objects.bulk_create(rows))
    except IntegrityError:
        if len(rows) == 1:
            return 0
        return sum(_insert([row]) for row in rows)


def _note_recovered(now: datetime) -> int:
    newest = TaskRun.objects.filter(scheduled_task=OuterRef("scheduled_task"), status__in=COUNTED)
    newest = newest.order_by("-pk")
    rows = Failing.objects.order_by().annotate(
        newest_status=Subquery(newest.values("status")[:1]),
        newest_end=Subquery(newest.values("finished_at")[:1]),
    )
    recovered = rows.filter(recovered_at=None, newest_status=Status.SUCCEEDED)
    found = list(recovered.values_list("pk", "newest_end"))
    failed_again = rows.filter(recovered_at__isnull=False, newest_status__in=BAD)
    Failing.objects.filter(pk__in=[row.pk for row in failed_again]).fail_again(now)
    return sum(Failing.objects.filter(pk=pk).recover(end or now, now) for pk, end in found)


def _note_paused(now: datetime) -> int:
    """Those that `pause_after_failures` has paused since their owner was told that they fail."""
    paused = ScheduledTask.objects.in_state(State.PAUSED).filter(
        pk=OuterRef("scheduled_task"),
        state_reason_by="pause_after_failures",
        state_reason_at__gt=OuterRef("told_at"),
    )
    return Failing.objects.now().filter(Exists(paused), told_at__isnull=False).tell(now)


# Telling it ---------------------------------------------------------------------------------------


def tell(now: datetime | None = None) -> int:
    """Send the mails that are owed; how many were. What a mail server does raises nothing."""
    now = now or database_now()
    lease = now + LEASE
    rows = _take(now, lease)
    fresh = [row for row in rows if row.noticed_at > now - GIVE_UP]
    _give_up([row for row in rows if row.noticed_at <= now - GIVE_UP], now, lease)
    addresses = mails.addresses({row.scheduled_task.owner for row in fresh})
    by_address: dict[str, list[Failing]] = defaultdict(list)
    for row in fresh:
        by_address[addresses.get(row.scheduled_task.owner, "")].append(row)
    _told(by_address.pop("", []), now, lease)  # nobody to tell
    return _send(by_address, now, lease) if by_address else 0


@retry_contention
def _take(now: datetime, lease: datetime) -> list[Failing]:
    """Lease what is owed: two dispatchers never have the same row."""
    with transaction.atomic():
        ids = [row.pk for row in locked(Failing.objects.owed(now).order_by("pk"), skip=True)]
        Failing.objects.filter(pk__in=ids).update(tell_at=lease)
    return list(Failing.objects.filter(pk__in=ids).prefetch_related("scheduled_task"))


def _send(by_address: dict[str, list[Failing]], now: datetime, lease: datetime) -> int:
    sent, deadline = 0, time.monotonic() + SENDING_SECONDS
    try:
        with mails.mailer() as mailer:
            for address, rows in sorted(by_address.items()):
                if time.monotonic() > deadline:
                    break  # their lease ends, and then another pass sends them
                sent += _send_one(address, rows, mailer, now, lease)
    except Exception as error:  # each backend has errors of its own
        _log_unsent(error)
    return sent


def _send_one(
    address: str, rows: list[Failing], mailer: Any, now: datetime, lease: datetime
) -> bool:
    try:
        mails.letter(address, rows, mailer).send()
    except (smtplib.SMTPServerDisconnected, ConnectionError, TimeoutError):
        raise  # the others would fare no better
    except Exception as error:
        _log_unsent(error)
        return False
    _told(rows, now, lease)
    logger.info("A mail was sent to %s", address, extra={"action": "mail_sent"})
    return True


def _told(rows: list[Failing], now: datetime, lease: datetime) -> None:
    """Note it. What failed anew while its owner was told of its recovery is news again."""
    gone = Failing.objects.filter(pk__in=[row.pk for row in rows]).told(now, lease)
    if gone:
        recovered = [row.scheduled_task_id for row in rows if row.recovered_at is not None]
        for ids in _batches(recovered):
            _note_failing(ids, now)


def _log_unsent(error: Exception) -> None:
    logger.error(
        "A mail to an owner could not be sent and is tried again in %d s: %s",
        LEASE.total_seconds(),
        error,
        extra={"action": "mail_failed"},
    )


def _give_up(rows: list[Failing], now: datetime, lease: datetime) -> None:
    for row in rows:
        logger.error(
            "The owner of scheduled task %s was not told about its runs: no mail could be sent",
            row.scheduled_task.name,
            extra={"action": "mail_given_up", "scheduled_task": row.scheduled_task_id},
        )
    _told(rows, now, lease)
