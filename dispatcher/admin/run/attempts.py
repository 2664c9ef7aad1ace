"""The attempts of a run: the earlier ones, each with what went wrong and what it logged, and the
present one."""

from collections.abc import Sequence

from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from dispatcher.admin.kit.html import status_badge
from dispatcher.admin.run.life import is_its_own
from dispatcher.admin.run.texts import log_block, traceback_block
from dispatcher.models import RunAttempt, TaskRun
from dispatcher.reasons import describe
from scheduling.words import duration_text, moment_text


def attempts_of(run: TaskRun) -> list[RunAttempt]:
    """The attempts before the present one, read once for the page."""
    known: list[RunAttempt] | None = run.__dict__.get("_past_attempts")
    if known is None:
        rows = RunAttempt.objects.filter(run=run.pk).order_by("attempt", "pk")
        known = run.__dict__["_past_attempts"] = list(rows) if run.attempt > 1 else []
    return known


def attempt_list(run: TaskRun, attempts: Sequence[RunAttempt]) -> SafeString:
    """The earlier attempts, each with what went wrong and what it logged, and the present one."""
    rows = [
        {
            "number": row.attempt,
            "badge": status_badge(row.status),
            "started": moment_text(row.started_at) or "–",
            "took": duration_text(row.finished_at - row.started_at) if row.started_at else "",
            "worker": _worker_text(row),
            "said": row.exception or describe(row.reason, row.reason_params),
            "traceback": traceback_block(row.traceback) if row.traceback else "",
            "log": log_block(row.log) if row.log else "",
        }
        for row in attempts
    ]
    if run.claimed_at is not None and is_its_own(run, attempts):
        took = run.finished_at - run.claimed_at if run.finished_at else None
        rows.append(
            {
                "number": run.attempt,
                "badge": status_badge(run.status),
                "started": moment_text(run.claimed_at),
                "took": duration_text(took),
                "worker": _worker_text(run),
                "said": run.exception,
                "above": bool(run.traceback or run.log),
            }
        )
    return render_to_string("admin/dispatcher/taskrun/attempts.html", {"attempts": rows})


def _worker_text(row: TaskRun | RunAttempt) -> str:
    if not row.worker:
        return ""
    pid = _("pid %(pid)d") % {"pid": row.pid} if row.pid else ""
    return " ".join(filter(None, (row.worker, pid)))
