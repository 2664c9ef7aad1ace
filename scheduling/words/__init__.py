"""What is said to a person of a schedule, a moment, a duration and a state."""

from scheduling.words.preview import (
    ComingRun,
    Preview,
    coming_runs,
    cron_warnings,
    preview_of,
    task_advice,
)
from scheduling.words.suggestions import Suggested, cron_suggestions, suggested, zone_suggestions
from scheduling.words.wording import (
    duration_text,
    in_zone,
    moment_text,
    schedule_words,
    state_label,
    state_note,
    state_of,
    state_reason_text,
    upcoming_or_problem,
)

__all__ = [
    "ComingRun",
    "Preview",
    "Suggested",
    "coming_runs",
    "cron_suggestions",
    "cron_warnings",
    "duration_text",
    "in_zone",
    "moment_text",
    "preview_of",
    "schedule_words",
    "state_label",
    "state_note",
    "state_of",
    "state_reason_text",
    "suggested",
    "task_advice",
    "upcoming_or_problem",
    "zone_suggestions",
]
