"""The runs to come in JSON, of a stored schedule and of one that is only typed."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from dispatcher.api.kernel.described_problems import FieldErrorSerializer
from dispatcher.api.kernel.fields import Moment
from dispatcher.api.kernel.suggestions import SuggestionSerializer
from scheduling.words import ComingRun, Preview, in_zone


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
    suggestions = SuggestionSerializer(
        many=True, help_text="What a cron expression that is refused or in doubt probably meant."
    )
    errors = FieldErrorSerializer(
        many=True, help_text="What saving would refuse; other fields may still be missing."
    )


def runs_in_json(runs: Sequence[ComingRun], problem: str, zone: str) -> Any:
    """The body of an answer that tells runs to come, their slots also on the clock of `zone`."""
    return PlannedRunsSerializer(_values(runs, problem, zone)).data


def preview_in_json(preview: Preview, errors: Sequence[dict[str, Any]]) -> Any:
    """The body of an answer that tells what saving would lead to, and what it would refuse."""
    values = {
        **_values(preview.runs, preview.problem, preview.row.timezone),
        "schedule_text": preview.words,
        "warnings": preview.warnings,
        "suggestions": preview.suggestions,
        "errors": errors,
    }
    return PreviewSerializer(values).data


def _values(runs: Sequence[ComingRun], problem: str, zone: str) -> dict[str, Any]:
    values = [
        {
            "scheduled_for": run.slot,
            "start_at": run.start,
            "local": in_zone(run.slot, zone).isoformat(),
            "note": run.note,
        }
        for run in runs
    ]
    return {"runs": values, "problem": problem}
