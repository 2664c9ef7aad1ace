"""`ScheduledTask`: what should run and when. One row per schedule."""

import functools
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, ClassVar, cast

from django.conf import settings
from django.core.checks import CheckMessage
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone as django_timezone
from django.utils.translation import gettext_lazy as _

from scheduling import edits, trail, validation
from scheduling.database import DatabaseNow
from scheduling.models import spoilt_rows, stale_copies
from scheduling.models.choices import Kind, MisfirePolicy, OnLost, OverlapPolicy
from scheduling.models.constraints import CONSTRAINTS, INDEXES
from scheduling.models.fields import choice_field, seconds_field
from scheduling.models.queryset import ScheduledTaskQuerySet
from scheduling.models.upcoming import upcoming_slots
from scheduling.schedules import Cron, Interval, OneTime, Schedule, policies
from scheduling.schedules.zones import utc


def default_timezone() -> str:
    """The project's zone, as a new row gets it."""
    return str(settings.TIME_ZONE)


def _whole(start: datetime | None) -> datetime | None:
    """The first whole second from `start` on: the first slot of an interval that starts then."""
    if start is None or start.microsecond == 0 or utc(start, "starts_at") >= _LAST_SECOND:
        return start
    return utc(start).replace(microsecond=0) + timedelta(seconds=1)


_LAST_SECOND = datetime.max.replace(microsecond=0, tzinfo=UTC)


class ScheduledTask(models.Model):
    """When a Celery task should run, with what, and by which rules.

    First the columns, by what they are for; then what the row says of its slots; then its edits,
    each a call of `scheduling.edits`; and last what a copy in memory knows of the stored row.
    """

    # What runs, and whose it is -------------------------------------------------------------------

    name = models.CharField(
        _("name"), max_length=200, help_text=_("Unique; upper and lower case are the same.")
    )
    # Unique whatever the case on every database: MariaDB has no index on an expression, all four
    # have a unique index on a generated column.
    name_key = models.GeneratedField(
        expression=Lower("name"),
        output_field=models.CharField(max_length=200),
        db_persist=True,
        editable=False,
    )
    description = models.TextField(_("description"), blank=True, default="", db_default="")
    owner = models.CharField(
        _("owner"),
        max_length=200,
        blank=True,
        default="",
        db_default="",
        help_text=_(
            "Is told by mail when it starts failing and when it works again: a mail address, or "
            "the name of a user who has one."
        ),
    )
    group = models.CharField(
        _("group"),
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text=_("To find jobs that belong together."),
    )
    task = models.CharField(
        _("task"), max_length=255, help_text=_("The registered name of the Celery task.")
    )
    args = models.JSONField(
        _("positional arguments"),
        default=list,
        db_default=models.Value([], output_field=models.JSONField()),
        blank=True,
        help_text=_("A JSON list, for example [1, 2]."),
    )
    kwargs = models.JSONField(
        _("keyword arguments"),
        default=dict,
        db_default=models.Value({}, output_field=models.JSONField()),
        blank=True,
        help_text=_('A JSON object, for example {"region": "eu"}.'),
    )

    # When -----------------------------------------------------------------------------------------

    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    run_at = models.DateTimeField(
        _("run at"), null=True, blank=True, help_text=_("For a one-time job.")
    )
    interval_seconds = seconds_field(
        _("every (seconds)"),
        _(
            "For an interval. It counts elapsed time from the start: 86400 moves by an hour on "
            "the local clock when the clock changes; the cron “0 9 * * *” does not."
        ),
        low=1,
        null=True,
        blank=True,
    )
    cron_expression = models.CharField(
        _("cron expression"),
        max_length=256,
        blank=True,
        default="",
        db_default="",
        help_text=_(
            "minute hour day-of-month month day-of-week, or six fields with the seconds first: "
            "“0 9 * * MON-FRI” is nine o'clock on weekdays."
        ),
    )
    timezone = models.CharField(
        _("time zone"),
        max_length=64,
        default=default_timezone,
        db_default="UTC",
        help_text=_("The zone in which the cron expression and the times here are meant."),
    )
    starts_at = models.DateTimeField(
        _("starts at"), null=True, blank=True, help_text=_("No run before it; itself included.")
    )
    ends_at = models.DateTimeField(
        _("ends at"), null=True, blank=True, help_text=_("No run after it; itself included.")
    )
    max_runs = models.PositiveIntegerField(
        _("at most this many slots"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("After that many slots the schedule is finished."),
    )
    enabled = models.BooleanField(
        _("enabled"),
        default=True,
        db_default=True,
        help_text=_("Without the tick the job is paused: no slot of it runs."),
    )

    # By which rules -------------------------------------------------------------------------------

    misfire_policy = choice_field(
        _("late slots"),
        MisfirePolicy,
        "run_latest",
        _("What becomes of slots that were missed while the scheduler was down."),
    )
    misfire_grace_seconds = seconds_field(
        _("late after (seconds)"),
        _("A slot older than this counts as late."),
        default=60,
        db_default=60,
    )
    overlap_policy = choice_field(
        _("while the previous run is running"),
        OverlapPolicy,
        "allow",
        _("What becomes of a run that is about to start while another one is running."),
    )
    jitter_seconds = seconds_field(
        _("jitter (seconds)"),
        _("Starts up to this much later, by an amount fixed for each slot, to spread the load."),
        default=0,
        db_default=0,
    )
    queue = models.CharField(
        _("queue"),
        max_length=255,
        blank=True,
        default="",
        db_default="",
        help_text=_("Empty: the queue that Celery's routing gives the task."),
    )
    priority = models.PositiveSmallIntegerField(
        _("priority"),
        null=True,
        blank=True,
        validators=[MaxValueValidator(9)],
        help_text=_("0 to 9; 9 is first. It orders messages that wait in the queue."),
    )
    expires_seconds = seconds_field(
        _("expires after (seconds)"),
        _("A run that could not start within this time of its slot is missed."),
        low=1,
        null=True,
        blank=True,
    )
    time_limit = seconds_field(
        _("time limit (seconds)"),
        _("The worker kills the run after it. Only the prefork pool can."),
        low=1,
        null=True,
        blank=True,
    )
    soft_time_limit = seconds_field(
        _("soft time limit (seconds)"),
        _("The run gets a SoftTimeLimitExceeded after it. Only the prefork pool can."),
        low=1,
        null=True,
        blank=True,
    )
    max_retries = models.PositiveSmallIntegerField(
        _("retries"),
        default=0,
        db_default=0,
        validators=[MaxValueValidator(100)],
        help_text=_("How often a failed run is tried again."),
    )
    retry_delay_seconds = seconds_field(
        _("retry after (seconds)"),
        _("The wait before a retry."),
        default=60,
        db_default=60,
    )
    retry_backoff = models.BooleanField(
        _("double the wait"),
        default=False,
        db_default=False,
        help_text=_("Each wait is twice the one before, up to an hour."),
    )
    on_lost = choice_field(
        _("when its worker dies"),
        OnLost,
        "fail",
        _("“Run it again” starts it at least once: the task must bear a second start."),
    )
    pause_after_failures = models.PositiveIntegerField(
        _("pause after failures"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Pauses the schedule after that many failed or lost runs in a row."),
    )

    # What the buttons of the pages set ------------------------------------------------------------

    paused_until = models.DateTimeField(_("paused until"), null=True, blank=True)
    skip_slots = models.JSONField(
        _("skipped slots"),
        default=list,
        db_default=models.Value([], output_field=models.JSONField()),
        blank=True,
        editable=False,
    )

    # Kept by the scheduler: `save()` never writes them from memory --------------------------------

    next_run_at = models.DateTimeField(_("next slot to plan"), null=True, editable=False)
    last_run_at = models.DateTimeField(_("last slot"), null=True, editable=False)
    armed_at = models.DateTimeField(
        default=django_timezone.now, db_default=DatabaseNow(), editable=False
    )
    slots_used = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    revision = models.PositiveIntegerField(default=1, db_default=1, editable=False)
    state_reason = models.CharField(
        _("state"), max_length=20, blank=True, default="", db_default="", editable=False
    )
    state_reason_params = models.JSONField(
        default=dict,
        db_default=models.Value({}, output_field=models.JSONField()),
        blank=True,
        editable=False,
    )
    state_reason_at = models.DateTimeField(null=True, editable=False)
    state_reason_by = models.CharField(
        max_length=200, blank=True, default="", db_default="", editable=False
    )
    created_at = models.DateTimeField(
        _("created"), default=django_timezone.now, db_default=DatabaseNow(), editable=False
    )
    updated_at = models.DateTimeField(
        _("changed"), default=django_timezone.now, db_default=DatabaseNow(), editable=False
    )

    # The table ------------------------------------------------------------------------------------

    history = trail.Trail(
        verbose_name=_("change of a scheduled task"),
        verbose_name_plural=_("changes of scheduled tasks"),
        excluded_fields=[
            "name_key",
            "next_run_at",
            "last_run_at",
            "slots_used",
            "state_reason_at",
            "state_reason_by",
            "updated_at",
        ],
    )
    objects: ClassVar[ScheduledTaskQuerySet] = cast(
        ScheduledTaskQuerySet, ScheduledTaskQuerySet.as_manager()
    )

    class Meta:
        verbose_name = _("scheduled task")
        verbose_name_plural = _("scheduled tasks")
        base_manager_name = "objects"  # as `run.scheduled_task` reads, spoilt rows too
        ordering = ("name", "pk")
        indexes = INDEXES
        constraints = CONSTRAINTS
        permissions = (
            ("run_scheduledtask", _("Can run scheduled tasks now")),
            ("pause_scheduledtask", _("Can pause and resume scheduled tasks")),
            ("skip_scheduledtask", _("Can skip slots of scheduled tasks")),
            ("backfill_scheduledtask", _("Can backfill scheduled tasks")),
        )

    @classmethod
    def check(cls, **options: Any) -> list[CheckMessage]:
        """Leave out a warning of Django: MariaDB makes partial indexes whole, which serve too."""
        return [message for message in super().check(**options) if message.id != "models.W037"]

    def __str__(self) -> str:
        return self.name

    # Slots ----------------------------------------------------------------------------------------

    def schedule(self) -> Schedule:
        """The schedule as a value. Raises `ScheduleError` if the columns do not make one."""
        spoilt_rows.check_readable(self)
        if self.kind == Kind.CRON:
            return Cron(self.cron_expression, self.timezone)
        if self.kind == Kind.INTERVAL:
            anchor = _whole(self.starts_at) or self.created_at.replace(microsecond=0)
            return Interval(validation.interval_of(self.interval_seconds), anchor)
        if self.kind == Kind.ONE_TIME:
            return OneTime(cast(datetime, self.run_at))
        raise validation.unknown_kind(self.kind)

    def window(self) -> policies.Window:
        """The schedule from `starts_at` to `ends_at`. Raises `ScheduleError`, as `schedule()`."""
        return policies.Window(self.schedule(), self.starts_at, self.ends_at)

    def slots_left(self) -> int | None:
        """How many slots `max_runs` still allows to plan; None without a limit."""
        return None if self.max_runs is None else max(self.max_runs - self.slots_used, 0)

    def first_slot(self, after: datetime) -> datetime | None:
        """The first slot (UTC) after `after` that may still be planned; None where there is none.
        Raises `ScheduleError`, as `schedule()`."""
        return None if self.slots_left() == 0 else self.window().next_after(after)

    def give_back(self, slots: int, now: datetime) -> dict[str, Any]:
        """Return slots that were planned ahead, and are not any more, to `max_runs`.

        In memory, with what follows for the next slot; returns the changed columns by name.
        """
        used = max(self.slots_used - slots, 0)
        if used == self.slots_used:
            return {}
        self.slots_used, columns = used, {"slots_used": used}
        if self.enabled and self.max_runs is not None:
            columns |= edits.next_slot(self, now)
        for name, value in columns.items():
            setattr(self, name, value)
        return columns

    def start_of(self, slot: datetime) -> datetime:
        """The time (UTC) at which the run of `slot` starts: the slot and its jitter."""
        if not self.jitter_seconds:
            return slot
        following = self.window().next_after(slot)
        return slot + policies.jitter(self.pk, slot, self.jitter_seconds, following)

    def upcoming(
        self, n: int, *, now: datetime | None = None, everything_paused: bool | None = None
    ) -> list[datetime]:
        """The next at most `n` slots (UTC) that will run, planned already or not.

        Empty when the schedule is not evaluated, or everything is paused (looked up if not
        given). Raises `ScheduleError` if it is not valid.
        """
        return upcoming_slots(self, n, now, everything_paused)

    # Edits ----------------------------------------------------------------------------------------

    def clean(self) -> None:
        """Raise `ValidationError`, which names each wrong field. The only validation: the admin,
        the managers and the API all come through here."""
        validation.clean(self, self.judged_at)

    #: The time by which `clean()` tells what is past; None: it asks the database.
    judged_at: datetime | None = None

    def save(
        self,
        *,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Write, in the edit transaction, what was changed on this copy since it was read, or the
        named columns. Raises `ValidationError`, as `clean()`."""
        if self._state.adding:
            write = functools.partial(super().save, using=using, force_insert=force_insert)
            edits.create(self, write)
        else:
            edits.save(self, update_fields)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the row; its runs stay, detached; those it still owes are cancelled. Returns what
        Django's does, `(0, {})` where the row was gone already."""
        return edits.delete(self, functools.partial(super().delete, *args, **kwargs))

    def pause(
        self,
        *,
        by: Any = None,
        until: datetime | None = None,
        params: dict[str, Any] | None = None,
    ) -> bool:
        """Stop its slots, until `until` if given; True if it was not paused before.

        `params` are kept beside the reason: `{"failures": 3}` where failures paused it.
        """
        return edits.pause(self, by=by, until=until, params=params)

    def resume(self, *, by: Any = None) -> bool:
        """Let its slots run again from now on; True if it was paused. Raises `ValidationError`
        where it has no further slot."""
        return edits.resume(self, by=by)

    def skip_next(self, *, by: Any = None) -> datetime | None:
        """Skip the next slot that would run, and return it (UTC); None where there is none."""
        return edits.skip_next(self, by=by)

    def unskip(self, slot: datetime, *, by: Any = None) -> bool:
        """Let a slot to come run that was to be skipped; True if it was."""
        return edits.unskip(self, slot, by=by)

    skip_next.alters_data = True  # type: ignore[attr-defined]
    unskip.alters_data = True  # type: ignore[attr-defined]
    pause.alters_data = True  # type: ignore[attr-defined]
    resume.alters_data = True  # type: ignore[attr-defined]

    # The copy and the stored row ------------------------------------------------------------------

    @classmethod
    def from_db(
        cls, db: str | None, field_names: Collection[str], values: Collection[Any], **options: Any
    ) -> "ScheduledTask":
        row = super().from_db(db, field_names, values, **options)
        row.remember()
        return row

    def refresh_from_db(
        self,
        using: str | None = None,
        fields: Iterable[str] | None = None,
        from_queryset: Any = None,
    ) -> None:
        """As Django's; what is changed on this copy counts from here."""
        names = None if fields is None else list(fields)
        super().refresh_from_db(using, names, from_queryset)
        self.remember(names)

    def remember(self, names: Iterable[str] | None = None) -> None:
        """Note these columns, or all, as stored: `save()` writes those that differ from it."""
        self.stored = stale_copies.remembered(self.__dict__, self.stored or {}, names)

    def is_changed(self, name: str) -> bool:
        """Whether the column was changed on this copy since it was read; True if that is not
        known."""
        return stale_copies.is_changed(self.stored, self.__dict__, name)

    #: What this copy knows to be stored, by column; None where it was neither read nor written.
    stored: Mapping[str, Any] | None = None

    #: What stands for stored values that cannot be read (see `scheduling.models.spoilt_rows`).
    stand_ins: Mapping[str, Any] = MappingProxyType({})

    @property
    def unreadable(self) -> list[str]:
        """Columns whose stored value cannot be read, and for which nobody gave another one."""
        return [name for name, value in self.stand_ins.items() if getattr(self, name) is value]
