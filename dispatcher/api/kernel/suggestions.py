"""What was probably meant by a rule that is refused or in doubt, in JSON."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from scheduling.words import Suggested


class SuggestionSerializer(serializers.Serializer):
    """What to send instead, what it means and when it would run."""

    kind = serializers.CharField(help_text="`cron` or `interval`.")
    expression = serializers.CharField(
        help_text="For `cron_expression`; empty where an interval is meant."
    )
    interval_seconds = serializers.IntegerField(allow_null=True)
    timezone = serializers.CharField()
    starts_at = serializers.DateTimeField(
        allow_null=True, help_text="With `ends_at`, where the text named years."
    )
    ends_at = serializers.DateTimeField(allow_null=True)
    meaning = serializers.CharField(help_text="In words.")
    next_runs = serializers.ListField(
        child=serializers.DateTimeField(), help_text="The next three, UTC."
    )


def suggestions_in_json(suggestions: Sequence[Suggested]) -> Any:
    """The suggestions as an answer tells them."""
    return SuggestionSerializer(suggestions, many=True).data
