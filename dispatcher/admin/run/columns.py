"""The columns of the list of runs: each tells something of a run as text or HTML."""

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dispatcher.admin.kit.html import moment_span, run_url, status_badge
from dispatcher.admin.run.life import lateness
from dispatcher.models import TaskRun
from dispatcher.reasons import describe
from scheduling.words import duration_text, moment_text


@admin.display(description=gettext_lazy("status"), ordering="status")
def status_now(run: TaskRun) -> str:
    return status_badge(run.status)


@admin.display(description=gettext_lazy("name"), ordering="name")
def name_link(run: TaskRun) -> str:
    link = format_html('<a href="{}">{}</a>', run_url(run.pk), run.name)
    reason = why(run)  # where its column has no room
    return format_html('{}<span class="mh-task mh-why">{}</span>', link, reason) if reason else link


@admin.display(description=gettext_lazy("scheduled for"), ordering="scheduled_for")
def planned_for(run: TaskRun) -> str:
    if run.slot_count == 1:
        return moment_span(run.scheduled_for)
    return format_html("{} ×{}", moment_span(run.scheduled_for), run.slot_count)


@admin.display(description=gettext_lazy("started"), ordering="started_at")
def began(run: TaskRun) -> str:
    """The time of its first start; without the date, where that is the one of the column before."""
    full = moment_text(run.started_at)
    same_day = full[:10] == moment_text(run.scheduled_for)[:10]
    shown = full[11:19] if same_day else full
    return format_html('<span class="mh-moment" title="{}">{}</span>', full, shown or "–")


@admin.display(description=gettext_lazy("duration"))
def took(run: TaskRun) -> str:
    if run.is_active and run.started_at is not None:
        elapsed = run.read_at - run.started_at  # type: ignore[attr-defined]
        return _("%(time)s so far") % {"time": duration_text(elapsed)}
    return duration_text(run.duration)


@admin.display(description=gettext_lazy("late by"))
def late(run: TaskRun) -> str:
    return duration_text(lateness(run))


@admin.display(description=gettext_lazy("reason"))
def why(run: TaskRun) -> str:
    head: str = getattr(run, "exception_head", "")
    return head or (describe(run.reason, run.reason_params) if run.reason else "")
