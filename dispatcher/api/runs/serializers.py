"""Runs in JSON."""

from typing import Any

from rest_framework import serializers

from dispatcher.api.kernel import fields
from dispatcher.api.kernel.prepared import Prepared
from dispatcher.models import RunAttempt, TaskRun
from dispatcher.reasons import describe


class _Reasoned(Prepared, serializers.ModelSerializer):
    serializer_field_mapping = serializers.ModelSerializer.serializer_field_mapping | fields.MAPPING

    reason_params = fields.Named(read_only=True, help_text="What the sentence of the reason names.")
    reason_text = serializers.SerializerMethodField(help_text="The reason in a sentence, or empty.")

    def get_reason_text(self, row: Any) -> str:
        return describe(row.reason, row.reason_params) if row.reason else ""


class RunSerializer(_Reasoned):
    """One firing of a task, as lists show it."""

    scheduled_task = serializers.IntegerField(
        source="scheduled_task_id",
        allow_null=True,
        read_only=True,
        help_text="The definition; null where there is none, or none any more.",
    )
    rerun_of = serializers.UUIDField(source="rerun_of_id", allow_null=True, read_only=True)
    duration_seconds = serializers.SerializerMethodField(
        help_text="From the first start to the end; null before, and where it never started."
    )
    lateness_seconds = serializers.SerializerMethodField(
        help_text="From when it should have started to its start; null as above, and after retries."
    )

    class Meta:
        model = TaskRun
        fields: tuple[str, ...] = (
            "id",
            "scheduled_task",
            "name",
            "task",
            "trigger",
            "status",
            "reason",
            "reason_params",
            "reason_text",
            "scheduled_for",
            "last_slot",
            "slot_count",
            "start_at",
            "expires_at",
            "attempt",
            "retries",
            "revision",
            "queue",
            "priority",
            "time_limit",
            "soft_time_limit",
            "planned_at",
            "published_at",
            "started_at",
            "finished_at",
            "duration_seconds",
            "lateness_seconds",
            "worker",
            "pid",
            "triggered_by",
            "triggered_via",
            "rerun_of",
        )
        read_only_fields = fields
        ref_name = "Run"

    def get_duration_seconds(self, run: TaskRun) -> float | None:
        return None if run.duration is None else run.duration.total_seconds()

    def get_lateness_seconds(self, run: TaskRun) -> float | None:
        return None if run.lateness is None else run.lateness.total_seconds()


class AttemptSerializer(_Reasoned):
    """An attempt that ended and was followed by another one of the same run."""

    class Meta:
        model = RunAttempt
        fields: tuple[str, ...] = (
            "attempt",
            "retries",
            "status",
            "reason",
            "reason_params",
            "reason_text",
            "started_at",
            "finished_at",
            "worker",
            "pid",
            "exception",
            "traceback",
            "log",
        )
        read_only_fields = fields
        ref_name = "Attempt"


class RunDetailSerializer(RunSerializer):
    """One firing of a task, with what it was given, what it returned and what it said."""

    args = fields.Positional(read_only=True, help_text="Masked as those of the scheduled task.")
    kwargs = fields.Named(read_only=True, help_text="Masked likewise.")
    result = fields.Result(
        read_only=True,
        help_text='Any JSON; above 64 KiB `{"truncated": true, "size": bytes, "head": text}`.',
    )
    attempts = AttemptSerializer(many=True, read_only=True, help_text="The earlier attempts.")

    class Meta(RunSerializer.Meta):
        fields = (
            *RunSerializer.Meta.fields,
            "message_id",
            "args",
            "kwargs",
            "result",
            "exception",
            "traceback",
            "log",
            "attempts",
        )
        read_only_fields = fields
        ref_name = "RunDetail"
