"""A scheduled task in JSON. What is valid `ScheduledTask.clean()` says; here are the shapes."""

from collections.abc import Collection
from functools import partial
from typing import Any

from django.core.exceptions import ValidationError as ModelError
from django.db import IntegrityError
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from dispatcher.api.kernel import fields
from dispatcher.api.kernel.prepared import Prepared
from dispatcher.api.kernel.problems import invalid
from dispatcher.api.kernel.strict import Strict
from dispatcher.api.tasks.filters import BEGUN
from scheduling.database import database_now
from scheduling.models import ScheduledTask, State
from scheduling.stop import current_stop
from scheduling.validation import KIND_FIELDS, with_tied
from scheduling.words import wording

#: Of a column of whole numbers on every database.
LARGEST_NUMBER = 2**31 - 1

#: What a person sets, in the order of the form.
WRITABLE = (
    "name",
    "description",
    "owner",
    "group",
    "task",
    "args",
    "kwargs",
    "kind",
    "cron_expression",
    "interval_seconds",
    "run_at",
    "timezone",
    "starts_at",
    "ends_at",
    "max_runs",
    "jitter_seconds",
    "enabled",
    "misfire_policy",
    "misfire_grace_seconds",
    "expires_seconds",
    "overlap_policy",
    "max_retries",
    "retry_delay_seconds",
    "retry_backoff",
    "on_lost",
    "pause_after_failures",
    "time_limit",
    "soft_time_limit",
    "queue",
    "priority",
)
SHOWN = (
    "state",
    "state_text",
    "state_reason_at",
    "state_reason_by",
    "paused_until",
    "skip_slots",
    "schedule_text",
    "next_run_at",
    "last_run_at",
    "revision",
    "created_at",
    "updated_at",
    "last_status",
    "last_run_id",
)


class ScheduledTaskSerializer(Strict, Prepared, serializers.ModelSerializer):
    """When a Celery task should run, with what, by which rules; and how its newest run ended."""

    serializer_field_mapping = serializers.ModelSerializer.serializer_field_mapping | fields.MAPPING

    args = fields.Positional(
        required=False,
        help_text="A JSON list. Values under secret names go out as ••••••••; that mask, sent "
        "back, stands for what it hides.",
    )
    kwargs = fields.Named(required=False, help_text="A JSON object, masked as `args`.")
    state = serializers.SerializerMethodField(help_text="Whether it is evaluated, and why not.")
    skip_slots = fields.Slots(read_only=True, help_text="Slots that are skipped by hand.")
    state_text = serializers.SerializerMethodField(help_text="The reason in a sentence, or empty.")
    schedule_text = serializers.SerializerMethodField(help_text="The schedule in words.")
    next_run_at = serializers.SerializerMethodField(
        help_text="The first slot to come that will run, planned already or not; null without."
    )
    last_run_at = fields.Moment(
        source="last_began_at",
        read_only=True,
        allow_null=True,
        help_text="When the newest run that has started or ended began; its slot if it never "
        "started (missed, skipped, cancelled); null before the first.",
    )
    last_status = serializers.SerializerMethodField(
        help_text="What became of that run, or becomes of it."
    )
    last_run_id = serializers.SerializerMethodField(help_text="The id of that run.")

    class Meta:
        model = ScheduledTask
        fields: tuple[str, ...] = ("id", *WRITABLE, *SHOWN)
        read_only_fields: tuple[str, ...] = ("id", *SHOWN)
        extra_kwargs = {
            "revision": {"help_text": "Grows with every edit that decides what runs."},
            "max_runs": {"max_value": LARGEST_NUMBER},
            "pause_after_failures": {"max_value": LARGEST_NUMBER},
        }

    # Out ------------------------------------------------------------------------------------------

    @extend_schema_field(serializers.ChoiceField(choices=State.choices))
    def get_state(self, row: ScheduledTask) -> str:
        return wording.state_of(row)

    def get_state_text(self, row: ScheduledTask) -> str:
        return wording.state_reason_text(row)

    def get_schedule_text(self, row: ScheduledTask) -> str:
        return wording.schedule_words(row)

    @extend_schema_field(fields.Moment(allow_null=True))
    def get_next_run_at(self, row: Any) -> str | None:
        now = getattr(row, "read_at", None) or database_now()
        paused = getattr(row, "everything_paused", None)
        paused = current_stop() is not None if paused is None else paused
        slots, _problem = wording.upcoming_or_problem(row, 1, now, paused)
        return fields.iso(slots[0]) if slots else None

    @extend_schema_field(serializers.ChoiceField(choices=BEGUN, allow_null=True))
    def get_last_status(self, row: Any) -> str | None:
        return getattr(row, "last_status", None)

    @extend_schema_field(serializers.UUIDField(allow_null=True))
    def get_last_run_id(self, row: Any) -> str | None:
        run_id = getattr(row, "last_run_id", None)
        return None if run_id is None else str(run_id)

    # In -------------------------------------------------------------------------------------------

    def is_refused(self, name: str) -> bool:
        """Whether the body may not name this field: a whole representation may come back as it went
        out, a PATCH names what it means."""
        return super().is_refused(name) or (self.partial and self.fields[name].read_only)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        for name, empty in (("args", []), ("kwargs", {})):
            if name in data:
                hidden: Any = getattr(self.instance, name, empty)
                data[name] = fields.restored(name, data[name], hidden)
        if self.instance is not None and not self.partial:
            data = {name: self._default(name) for name in WRITABLE} | data
        elif "kind" in data:
            data = self._without_other_kinds(data["kind"]) | data
        return data

    def _default(self, name: str) -> Any:
        """What PUT gives a field that it leaves out."""
        return ScheduledTask._meta.get_field(name).get_default()  # type: ignore[union-attr]

    def _without_other_kinds(self, kind: str) -> dict[str, Any]:
        own = KIND_FIELDS[kind][0]
        others = (name for name, _message in KIND_FIELDS.values() if name != own)
        return {name: "" if name == "cron_expression" else None for name in others}

    def create(self, data: dict[str, Any]) -> ScheduledTask:
        row = ScheduledTask(**data)
        check_values(row)
        return _saved(row, force_insert=True)

    def update(self, row: ScheduledTask, data: dict[str, Any]) -> ScheduledTask:
        """Writes the columns that change, and no other. Call it with the row locked."""
        changed = apply(row, data)
        if changed:
            check_values(row, only=changed)
            _saved(row, update_fields=changed)
        return row


class ScheduledTaskReplacementSerializer(ScheduledTaskSerializer):
    """The whole of a scheduled task, as PUT takes it: what decides when it runs is said, and never
    reset by silence. What else is left out gets its default."""

    class Meta(ScheduledTaskSerializer.Meta):
        extra_kwargs = ScheduledTaskSerializer.Meta.extra_kwargs | {
            "timezone": {
                "required": True,
                "help_text": "The zone in which the cron expression and the times are meant.",
            }
        }


def apply(row: ScheduledTask, data: dict[str, Any]) -> list[str]:
    """Set the values; the columns that this changes, and those that a constraint ties to them."""
    changed = {name for name, value in data.items() if getattr(row, name) != value}
    for name in changed:
        setattr(row, name, data[name])
    return with_tied(changed)


def problems_of(row: ScheduledTask, only: Collection[str] | None = None) -> dict[str, Any]:
    """What is wrong with the row, by field; with `only`, of single values only these."""
    errors: dict[str, Any] = {}
    for question in (partial(row.clean_fields, exclude=_besides(only)), row.clean):
        try:
            question()
        except ModelError as error:
            errors = error.update_error_dict(errors)
    return errors


def _besides(only: Collection[str] | None) -> set[str]:
    names = {field.name for field in ScheduledTask._meta.concrete_fields}
    return set() if only is None else names.difference(only)


def check_values(row: ScheduledTask, only: Collection[str] | None = None) -> None:
    """Each value by itself; where one is wrong, with all else that is wrong. `save()` asks the
    rest, and asks the database for it: here it would be asked twice."""
    try:
        row.clean_fields(exclude=_besides(only))
    except ModelError as error:
        raise invalid(ModelError(problems_of(row, only))) from error


def _saved(row: ScheduledTask, **how: Any) -> ScheduledTask:
    try:
        row.save(**how)
    except IntegrityError:
        row.clean()  # another request has just taken the name: this says so
        raise
    return row
