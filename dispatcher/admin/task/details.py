"""What the page of a scheduled task shows besides the inputs of its form. Each is a function of the
task, a read-only field of the admin."""

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dispatcher.admin.kit import html
from dispatcher.admin.task import panels
from dispatcher.admin.task.run_marks import strip
from dispatcher.admin.task.skipping import slots_skipped_by_hand
from dispatcher.models.run import LARGE
from dispatcher.watch import recent_runs as newest
from scheduling.models import ScheduledTask
from scheduling.words import duration_text, moment_text, wording

#: How many of its runs the page of a scheduled task shows.
RECENT = 5

# How it stands now --------------------------------------------------------------------------------


@admin.display(description=gettext_lazy("state"))
def state_now(task: ScheduledTask) -> str:
    state = wording.state_of(task)
    shown = html.badge(state, wording.state_label(state))
    return format_html("{} {}", shown, wording.state_story(task))


@admin.display(description=gettext_lazy("skipped by hand"))
def skipped(task: ScheduledTask) -> str:
    """The slots to come that will not run."""
    return ", ".join(moment_text(slot, task.timezone) for slot in slots_skipped_by_hand(task))


@admin.display(description=gettext_lazy("newest runs"))
def recent_runs(task: ScheduledTask) -> str:
    recent = newest.recent_runs_of([task.pk])[task.pk]
    newest_runs = list(task.runs.defer(*LARGE).order_by("-pk")[:RECENT])
    if not newest_runs:
        return format_html('<span class="mh-quiet">{}</span>', _("None yet."))
    heads = [_("status"), _("scheduled for"), _("duration")]
    rows = [
        [
            html.status_link(run.status, run.pk),
            moment_text(run.scheduled_for, task.timezone),
            duration_text(run.duration),
        ]
        for run in newest_runs
    ]
    every = reverse("admin:dispatcher_taskrun_changelist")
    link = format_html(
        '<a href="{}?scheduled_task__id__exact={}">{}</a>', every, task.pk, _("All its runs")
    )
    return format_html("<div>{}{}{}</div>", strip(task, recent), html.table(heads, rows), link)


# For who sees no form -----------------------------------------------------------------------------


@admin.display(description=gettext_lazy("next runs"))
def next_runs(task: ScheduledTask) -> str:
    """The next runs, shown in place of the preview."""
    return panels.stored_panel(task)


@admin.display(description=gettext_lazy("positional arguments"))
def shown_args(task: ScheduledTask) -> str:
    return html.json_block(task.args)


@admin.display(description=gettext_lazy("keyword arguments"))
def shown_kwargs(task: ScheduledTask) -> str:
    return html.json_block(task.kwargs)


@admin.display(description=gettext_lazy("run at"))
def shown_run_at(task: ScheduledTask) -> str:
    return moment_text(task.run_at, task.timezone)


@admin.display(description=gettext_lazy("starts at"))
def shown_starts_at(task: ScheduledTask) -> str:
    return moment_text(task.starts_at, task.timezone)


@admin.display(description=gettext_lazy("ends at"))
def shown_ends_at(task: ScheduledTask) -> str:
    return moment_text(task.ends_at, task.timezone)
