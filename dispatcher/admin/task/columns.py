"""The columns of the list of scheduled tasks: each tells something of a row as text or HTML."""

from typing import Any

from django.contrib import admin
from django.template.defaultfilters import truncatechars
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy

from dispatcher.admin.kit.html import badge
from dispatcher.admin.task import run_marks
from scheduling.models import ScheduledTask
from scheduling.words import wording

#: The longest reason that is shown in full; the rest is told on hover.
LONGEST_REASON = 60


@admin.display(description=gettext_lazy("name"), ordering="name_key")
def named(task: ScheduledTask) -> str:
    """The name with its task, by which the list is searched, too; and where there is no room for
    the columns of group and owner, with those."""
    lines = [
        ("", task.task),
        ("mh-belongs", " · ".join(filter(None, [task.group, task.owner]))),
    ]
    line = '<span class="mh-task mh-quiet {}">{}</span>'
    below = format_html_join(" ", line, [(name, text) for name, text in lines if text])
    return format_html("{} {}", task.name or "–", below)


@admin.display(description=gettext_lazy("state"), ordering="state_reason")
def state(task: ScheduledTask) -> str:
    state, note = wording.state_of(task), wording.state_note(task)
    shown = badge(state, wording.state_label(state))
    if not note:
        return shown
    short = truncatechars(note, LONGEST_REASON)
    story = wording.state_story(task)
    return format_html('{} <div class="mh-quiet" title="{}">{}</div>', shown, story, short)


@admin.display(description=gettext_lazy("schedule"), ordering="kind")
def schedule(task: ScheduledTask) -> str:
    """The rule in words, with the expression where the words are not the expression itself."""
    words, text = wording.schedule_words(task), wording.schedule_text(task)
    expression = format_html('<div class="mh-quiet mh-code">{}</div>', task.cron_expression)
    shown = format_html('<span class="mh-schedule">{}</span>', words)
    return shown if words == text else shown + expression


@admin.display(description=gettext_lazy("next run"))
def next_run(task: Any) -> str:
    """How long until the next run; the time itself, on the clock of the job and in UTC, on
    hover."""
    slots, problem = wording.upcoming_or_problem(
        task, 1, task.read_at, bool(task.everything_paused)
    )
    if not slots:
        return format_html('<span class="mh-quiet" title="{}">–</span>', problem)
    times = [wording.moment_text(slots[0], name) for name in (task.timezone, "UTC")]
    return format_html(
        '<time class="mh-moment" datetime="{}" title="{}">{}</time>',
        slots[0].isoformat(),
        " · ".join(dict.fromkeys(times)),
        wording.until_text(slots[0] - task.read_at),
    )


@admin.display(description=gettext_lazy("newest runs"))
def ticks(task: Any) -> str:
    """What became of it: its newest runs as marks, the share that succeeded, how long they took."""
    return format_html(
        "{}{}", run_marks.strip(task, task.recent_runs), run_marks.facts(task.recent_runs)
    )
