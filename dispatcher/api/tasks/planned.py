"""The runs to come, of a stored schedule and of one that is only typed, as the admin shows them."""

from datetime import datetime
from typing import Any

from rest_framework import serializers

from dispatcher.api.kernel.described_problems import FieldErrorSerializer
from dispatcher.api.kernel.fields import Moment
from scheduling.models import ScheduledTask
from scheduling.words import in_zone, once_saved, wording
from scheduling.words import preview as words_preview


class PlannedRunSerializer(serializers.Serializer):
    """A slot to come."""

    scheduled_for = Moment(help_text="The slot, UTC.")
    start_at = Moment(
        allow_null=True,
        help_text="When the run starts: the slot and its jitter. Null where the jitter is not "
        "known before the scheduled task is saved.",
    )
    local = serializers.CharField(
        help_text="The slot on the clock of the scheduled task, ISO 8601 with its offset."
    )
    note = serializers.CharField(
        help_text="What a clock change does to it, in a sentence, or an empty text."
    )


class PlannedRunsSerializer(serializers.Serializer):
    runs = PlannedRunSerializer(many=True)
    problem = serializers.CharField(help_text="Why there are none, in a sentence, or empty.")


class PreviewSerializer(PlannedRunsSerializer):
    schedule_text = serializers.CharField(help_text="The schedule in words.")
    warnings = serializers.ListField(
        child=serializers.CharField(), help_text="What is accepted but probably not meant."
    )
    errors = FieldErrorSerializer(
        many=True, help_text="What saving would refuse; other fields may still be missing."
    )


def planned_runs(
    row: ScheduledTask, n: int, now: datetime, everything_paused: bool
) -> dict[str, Any]:
    slots, problem = wording.upcoming_or_problem(row, n, now, everything_paused)
    notes = words_preview.notes(row, slots, now) if slots else []
    return {
        "runs": [_planned(row, slot, note) for slot, note in zip(slots, notes, strict=True)],
        "problem": problem,
    }


def _planned(row: ScheduledTask, slot: datetime, note: str) -> dict[str, Any]:
    known = row.pk is not None or not row.jitter_seconds
    return {
        "scheduled_for": slot,
        "start_at": row.start_of(slot) if known else None,
        "local": in_zone(slot, row.timezone).isoformat(),
        "note": note,
    }


def preview(
    row: ScheduledTask, errors: list[dict[str, str]], is_schedule: bool, n: int, now: datetime
) -> dict[str, Any]:
    """What saving `row` would lead to; `is_schedule`: none of the errors is about when it runs."""
    truth = once_saved(row, now)
    shown = planned_runs(truth, n, now, False) if is_schedule else {"runs": [], "problem": ""}
    return {
        **shown,
        "schedule_text": wording.schedule_words(truth) if is_schedule else "",
        "warnings": wording.cron_warnings(row.cron_expression) if row.kind == "cron" else [],
        "errors": errors,
    }
