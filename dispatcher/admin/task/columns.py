"""The list of scheduled tasks in the admin: its columns, and what it can be filtered by."""

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import truncatechars
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy

from dispatcher.admin.kit.html import badge
from dispatcher.admin.kit.list_filters import (
    GroupFilter,
    OwnerFilter,
    QueueFilter,
    StateFilter,
    TaskFilter,
)
from dispatcher.admin.task.history import TrailAdmin
from scheduling.database import DatabaseNow
from scheduling.models import ScheduledTask
from scheduling.stop import is_everything_paused
from scheduling.words import wording

#: The longest reason that is shown in full; the rest is told on hover.
LONGEST_REASON = 60


class TaskList(TrailAdmin):
    """The columns of the list that say what should run and when."""

    list_display: Any = ("named", "state", "schedule", "next_run", "group", "owner")
    list_display_links: Any = ("named",)
    list_filter: ClassVar[Any] = (
        StateFilter,
        "kind",
        GroupFilter,
        OwnerFilter,
        TaskFilter,
        QueueFilter,
    )
    search_fields = ("name", "task", "description", "owner")
    search_help_text = gettext_lazy("Name, task, description or owner")
    ordering = ("name_key",)  # unique, with an index: a page of the list sorts nothing
    empty_value_display = "–"
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def get_queryset(self, request: HttpRequest) -> Any:
        """Each row with the time at which it was read, one `now` for the page, and whether
        everything was paused then: no query more."""
        rows = super().get_queryset(request)
        return rows.annotate(read_at=DatabaseNow(), everything_paused=is_everything_paused())

    def list_links(self, request: HttpRequest) -> list[tuple[str, str]]:
        """What one may do besides: (address, label)."""
        return []

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        links = {"list_links": self.list_links(request)}
        return super().changelist_view(request, links | (extra_context or {}))

    @admin.display(description=gettext_lazy("name"), ordering="name_key")
    def named(self, task: ScheduledTask) -> str:
        """With its task, by which the list is searched, too; and where there is no room for the
        columns of group and owner, with those."""
        lines = [
            ("", task.task),
            ("mh-belongs", " · ".join(filter(None, [task.group, task.owner]))),
        ]
        line = '<span class="mh-task mh-quiet {}">{}</span>'
        below = format_html_join(" ", line, [(name, text) for name, text in lines if text])
        return format_html("{} {}", task.name or "–", below)

    @admin.display(description=gettext_lazy("state"), ordering="state_reason")
    def state(self, task: ScheduledTask) -> str:
        state, note = wording.state_of(task), wording.state_note(task)
        shown = badge(state, wording.state_label(state))
        if not note:
            return shown
        short = truncatechars(note, LONGEST_REASON)
        story = wording.state_story(task)
        return format_html('{} <div class="mh-quiet" title="{}">{}</div>', shown, story, short)

    @admin.display(description=gettext_lazy("schedule"), ordering="kind")
    def schedule(self, task: ScheduledTask) -> str:
        """In words, with the expression where the words are not the expression itself."""
        words, text = wording.schedule_words(task), wording.schedule_text(task)
        expression = format_html('<div class="mh-quiet mh-code">{}</div>', task.cron_expression)
        shown = format_html('<span class="mh-schedule">{}</span>', words)
        return shown if words == text else shown + expression

    @admin.display(description=gettext_lazy("next run"))
    def next_run(self, task: Any) -> str:
        """How long until then; the time itself, on the clock of the job and in UTC, on hover."""
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
