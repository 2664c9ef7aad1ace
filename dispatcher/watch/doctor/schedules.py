"""The schedules and their runs: what is stopped, set aside, failing, or waits too long."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from django.db.models import Count, Min, Q

from dispatcher.models import Failing, TaskRun
from dispatcher.watch.doctor.finding import SHOWN, Finding, listed
from dispatcher.watch.figures import BACKLOG_AGE
from scheduling.models import ScheduledTask, State
from scheduling.models.state import where
from scheduling.stop import current_stop
from scheduling.words import duration_text, state_reason_text

_LAST_MOMENT = datetime.max.replace(tzinfo=UTC)
CENTURY = timedelta(days=36_525)


def check_stop(now: datetime) -> Iterator[Finding]:
    stop = current_stop()
    if stop is not None:
        who = f" by {stop.paused_by}" if stop.paused_by else ""
        yield Finding(
            "everything_paused",
            f"Everything is paused{who} since {stop.paused_at:%Y-%m-%d %H:%M:%S} UTC: no schedule "
            "runs. manage.py resume_everything ends it.",
        )


def check_backlog(now: datetime) -> Iterator[Finding]:
    late = TaskRun.objects.waiting().not_stopped().filter(start_at__lt=now - BACKLOG_AGE)
    by_queue = late.order_by("queue").values_list("queue").annotate(Count("pk"), Min("start_at"))
    for queue, count, oldest in by_queue:
        yield Finding(
            "backlog",
            f"{count} runs of the queue “{queue}” should have started more than "
            f"{BACKLOG_AGE.total_seconds():.0f} s ago, the oldest {duration_text(now - oldest)} "
            "ago. Add workers, or look why those there are do not start them.",
        )


def check_set_aside(now: datetime) -> Iterator[Finding]:
    aside = ScheduledTask.objects.in_state(State.SET_ASIDE)
    rows = list(aside.order_by("pk").defer("args", "kwargs", "skip_slots")[: SHOWN + 1])
    for row in rows[:SHOWN]:
        yield Finding(
            "set_aside",
            f"Scheduled task “{row.name}” is set aside: {_sentence(state_reason_text(row))} Edit "
            "it; until then it is tried again once a day.",
        )
    if len(rows) > SHOWN:
        yield Finding("set_aside", f"In all {aside.count()} scheduled tasks are set aside.")


def check_never(now: datetime) -> Iterator[Finding]:
    """Schedules that no one living will see run: a slip in `starts_at`, mostly by SQL."""
    enabled = ScheduledTask.objects.evaluated(now)
    # Up to the end of the calendar: `infinity`, by SQL, cannot be read, and the next tick mends it.
    rows = enabled.filter(next_run_at__gt=now + CENTURY, next_run_at__lt=_LAST_MOMENT)
    hopeless = list(rows.order_by("pk").values_list("name", "next_run_at")[: SHOWN + 1])
    for name, slot in hopeless[:SHOWN]:
        yield Finding(
            "never_runs",
            f"Scheduled task “{name}” is enabled and its next slot is in the year {slot:%Y}. "
            "Correct its start, or disable it.",
        )
    if len(hopeless) > SHOWN:
        yield Finding("never_runs", f"In all {rows.count()} scheduled tasks never run.")


def _sentence(text: str) -> str:
    if not text:
        return "no reason is recorded."
    return text if text.endswith((".", "!", "?")) else f"{text}."


def check_failing(now: datetime) -> Iterator[Finding]:
    """Scheduled tasks that fail and are still to run, or that their failures have paused."""
    by_failures = Q(scheduled_task__state_reason_by="pause_after_failures")
    paused = where(State.PAUSED, through="scheduled_task__") & by_failures
    to_run = Q(scheduled_task__enabled=True) | paused
    rows = Failing.objects.now().filter(to_run)
    names = list(rows.values_list("scheduled_task__name", flat=True))
    if names:
        yield Finding(
            "failing",
            f"The last run of these scheduled tasks failed or was lost: {listed(names)}. Their "
            "pages in the admin show what went wrong.",
        )


CHECKS = (check_stop, check_backlog, check_set_aside, check_never, check_failing)
