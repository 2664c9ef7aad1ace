"""`ScheduledTask`: what should run and when. One row per schedule."""

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, ClassVar, cast

from django.conf import settings
from django.core.checks import CheckMessage
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import NotSupportedError, connections, models, transaction
from django.db.models import F, OrderBy, Q
from django.db.models.functions import Lower
from django.utils import timezone as django_timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from scheduling import cleaning, edits, policies, reading, registry, trail
from scheduling.clock import DatabaseNow, database_now
from scheduling.locking import locked
from scheduling.schedules import Cron, Interval, OneTime, Schedule
from scheduling.stop import Stop as Stop  # here Django finds it
from scheduling.stop import is_everything_paused

#: How long a row that was set aside waits for its next try.
SET_ASIDE_RETRY = timedelta(days=1)

_FIRST_MOMENT = datetime(1000, 1, 1, tzinfo=UTC)
_LAST_MOMENT = datetime.max.replace(tzinfo=UTC)

TEN_YEARS = 10 * 366 * 24 * 3600


class Kind(models.TextChoices):
    ONE_TIME = "one_time", _("one time")
    INTERVAL = "interval", _("interval")
    CRON = "cron", _("cron")


class MisfirePolicy(models.TextChoices):
    RUN_LATEST = "run_latest", _("run only the latest")
    RUN_ALL = "run_all", _("run all of them, oldest first")
    SKIP = "skip", _("skip them")


class OverlapPolicy(models.TextChoices):
    ALLOW = "allow", _("run beside it")
    SKIP = "skip", _("skip the new run")
    QUEUE_ONE = "queue_one", _("let one wait")
    CANCEL_PREVIOUS = "cancel_previous", _("cancel the running one")


class OnLost(models.TextChoices):
    FAIL = "fail", _("leave it lost")
    RERUN = "rerun", _("run it again")


class StateReason(models.TextChoices):
    """Why an existing schedule is not evaluated."""

    NONE = "", pgettext_lazy("state of a schedule", "active")
    PAUSED = "paused", _("paused")
    FINISHED = "finished", _("finished")
    SET_ASIDE = "set_aside", _("set aside")


class _ByLetter(OrderBy):
    """In the order of the index that `named_from` reads, which is not that of the collation."""

    template = "%(expression)s USING ~%(sign)s~ /* %(ordering)s */"  # Django looks for the word

    def as_sql(
        self, compiler: Any, connection: Any, template: str | None = None, **context: Any
    ) -> Any:
        sign = ">" if self.descending else "<"
        return super().as_sql(compiler, connection, template, sign=sign, **context)


class ScheduledTaskQuerySet(models.QuerySet["ScheduledTask"]):
    """Questions about schedules, and writes that keep their runs true."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._iterable_class = reading.ReadableIterable

    def evaluated(self, now: datetime) -> "ScheduledTaskQuerySet":
        """Enabled, and not set aside less than a day ago."""
        fresh = Q(state_reason=StateReason.SET_ASIDE, state_reason_at__gt=now - SET_ASIDE_RETRY)
        return self.filter(enabled=True).exclude(fresh)

    def in_state(self, state: str) -> "ScheduledTaskQuerySet":
        """`active`, `paused`, `finished` or `set_aside`, as the scheduler has noted it."""
        set_aside, finished = StateReason.SET_ASIDE, StateReason.FINISHED
        questions = {
            "active": Q(enabled=True) & ~Q(state_reason=set_aside),
            "paused": Q(enabled=False) & ~Q(state_reason=finished),
            "finished": Q(enabled=False, state_reason=finished),
            "set_aside": Q(enabled=True, state_reason=set_aside),
        }
        return self.filter(questions[state])

    def named_from(self, prefix: str) -> "ScheduledTaskQuerySet":
        """Whose name begins so, upper and lower case being the same; by an index, and in its
        order."""
        if connections[self.db].vendor == "postgresql":
            found = self.filter(name_key__startswith=prefix.lower())
            return found.order_by(_ByLetter(F("name_key")))
        # The others compare without case: MySQL and MariaDB every letter, and by the index, which
        # their LIKE BINARY would not use; SQLite those that its `lower()` knows too.
        return self.filter(name_key__istartswith=prefix)

    def due(self, now: datetime, horizon: datetime) -> "ScheduledTaskQuerySet":
        """With a slot up to `horizon` that is not planned, or with none computed yet; none of
        them while everything is paused."""
        unplanned = Q(next_run_at__lte=horizon) | Q(next_run_at=None)
        return self.evaluated(now).filter(unplanned, ~is_everything_paused())

    def distrust(self) -> int:
        """Forget next slots that lie outside the calendar (raw SQL), so that they are computed:
        the due rows are found by them."""
        outside = Q(next_run_at__lt=_FIRST_MOMENT) | Q(next_run_at__gte=_LAST_MOMENT)
        return self.filter(outside, enabled=True).keep(next_run_at=None)

    def resumable(self, now: datetime) -> "ScheduledTaskQuerySet":
        return self.filter(enabled=False, state_reason=StateReason.PAUSED, paused_until__lte=now)

    def keep(self, **columns: Any) -> int:
        """Write columns that only the scheduler writes: no edit, no signal, no new revision."""
        return super().update(**columns)

    def set_aside(self, code: str, message: str, now: datetime) -> int:
        """Stop evaluating the rows, with the reason; tried again after an edit, or a day."""
        reason, params = StateReason.SET_ASIDE, {"code": code, "message": message[:500]}
        rows = self.filter(enabled=True)
        with transaction.atomic():
            before = rows.only("state_reason", "state_reason_params")
            # Every day it is tried again; that it failed again in the same way is no news.
            known = (reason, params)
            news = [r.pk for r in before if (r.state_reason, r.state_reason_params) != known]
            written = rows.keep(
                state_reason=reason,
                state_reason_params=params,
                state_reason_at=now,
                state_reason_by="",
                next_run_at=None,
            )
            trail.record_by_scheduler(self.model.objects.filter(pk__in=news), now)
        return written

    def bring_back(self, now: datetime) -> None:
        """Note that rows of the selection, set aside until now, are evaluated again."""
        trail.record_by_scheduler(self, now)

    def finish(self, now: datetime) -> int:
        """Disable rows that have no further slot."""
        with transaction.atomic():
            over = locked(self.filter(enabled=True, next_run_at=None).order_by("pk"))
            rows = self.model.objects.filter(pk__in=list(over.values_list("pk", flat=True)))
            written = rows.keep(
                enabled=False,
                state_reason=StateReason.FINISHED,
                state_reason_params={},
                state_reason_at=now,
                state_reason_by="",
            )
            trail.record_by_scheduler(rows, now)
        return written

    def update(self, **columns: Any) -> int:
        """As Django's, but a change of what people set is an edit of each row, in batches: its
        unstarted runs follow, and the audit trail. It validates nothing, as Django's."""
        if not edits.is_edit(columns):
            return super().update(**columns)
        return edits.update_each(self, columns)

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_update(
        self, objs: Iterable["ScheduledTask"], fields: Iterable[str], batch_size: int | None = None
    ) -> int:
        names = list(fields)
        if not edits.is_edit(names):
            return super().bulk_update(objs, names, batch_size=batch_size)
        return edits.bulk_update_each(list(objs), names)

    bulk_update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(  # type: ignore[override]  # the options are refused, not named
        self, objs: Iterable["ScheduledTask"], batch_size: int | None = None, **options: Any
    ) -> list["ScheduledTask"]:
        """As Django's, with the audit trail. It validates nothing, as Django's, and plans nothing:
        the next tick does, from `armed_at` on. It cannot update rows, which would be no edit."""
        if any(options.values()):
            raise NotSupportedError("Scheduled tasks cannot be inserted with conflicts.")
        with transaction.atomic():
            rows = super().bulk_create(objs, batch_size=batch_size)
            edits.record_creation(rows)
        return rows

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete row by row, so that what each still owes is recorded."""
        deleted = sum(task.delete()[0] for task in self.order_by("pk").iterator())
        return deleted, {self.model._meta.label: deleted}

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    # Create. Each validates as the admin does: `ValidationError` names the field. `task` is a
    # Celery task or its registered name; `options` are further fields.

    def create_one_time(
        self,
        name: str,
        task: Any,
        run_at: datetime,
        *,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> "ScheduledTask":
        """Run once at `run_at` (an aware datetime)."""
        return self._create(Kind.ONE_TIME, name, task, args, kwargs, options, {"run_at": run_at})

    def create_interval(
        self,
        name: str,
        task: Any,
        every: int | timedelta,
        *,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> "ScheduledTask":
        """Run every `every` (whole seconds, or a timedelta of whole seconds)."""
        seconds = cleaning.whole_seconds(every)
        rule = {"interval_seconds": seconds}
        return self._create(Kind.INTERVAL, name, task, args, kwargs, options, rule)

    def create_cron(
        self,
        name: str,
        task: Any,
        expression: str,
        *,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> "ScheduledTask":
        """Run by a cron expression of five fields, or six with the seconds first."""
        rule = {"cron_expression": expression}
        return self._create(Kind.CRON, name, task, args, kwargs, options, rule)

    def _create(
        self,
        kind: str,
        name: str,
        task: Any,
        args: Sequence[Any],
        kwargs: dict[str, Any] | None,
        options: dict[str, Any],
        rule: dict[str, Any],
    ) -> "ScheduledTask":
        row = self.model(
            kind=kind,
            name=name,
            task=registry.task_name(task),
            args=list(args) if isinstance(args, (list, tuple)) else args,
            kwargs={} if kwargs is None else kwargs,
            **rule,
            **options,
        )
        row.full_clean()
        row.save(force_insert=True, using=self.db)
        return row


def default_timezone() -> str:
    return str(settings.TIME_ZONE)


def _seconds(label: Any, help_text: Any, *, low: int = 0, **options: Any) -> Any:
    """A column of whole seconds, `low` up to ten years."""
    limits = [MinValueValidator(low), MaxValueValidator(TEN_YEARS)]
    return models.PositiveIntegerField(label, help_text=help_text, validators=limits, **options)


def _choice(label: Any, choices: type[models.TextChoices], default: str, help_text: Any) -> Any:
    return models.CharField(
        label,
        max_length=20,
        choices=choices.choices,
        default=default,
        db_default=default,
        help_text=help_text,
    )


class ScheduledTask(models.Model):
    """When a Celery task should run, with what, and by which rules."""

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

    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    run_at = models.DateTimeField(
        _("run at"), null=True, blank=True, help_text=_("For a one-time job.")
    )
    interval_seconds = _seconds(
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

    misfire_policy = _choice(
        _("late slots"),
        MisfirePolicy,
        "run_latest",
        _("What becomes of slots that were missed while the scheduler was down."),
    )
    misfire_grace_seconds = _seconds(
        _("late after (seconds)"),
        _("A slot older than this counts as late."),
        default=60,
        db_default=60,
    )
    overlap_policy = _choice(
        _("while the previous run is running"),
        OverlapPolicy,
        "allow",
        _("What becomes of a run that is about to start while another one is running."),
    )
    jitter_seconds = _seconds(
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
    expires_seconds = _seconds(
        _("expires after (seconds)"),
        _("A run that could not start within this time of its slot is missed."),
        low=1,
        null=True,
        blank=True,
    )
    time_limit = _seconds(
        _("time limit (seconds)"),
        _("The worker kills the run after it. Only the prefork pool can."),
        low=1,
        null=True,
        blank=True,
    )
    soft_time_limit = _seconds(
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
    retry_delay_seconds = _seconds(
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
    on_lost = _choice(
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

    paused_until = models.DateTimeField(_("paused until"), null=True, blank=True)
    skip_slots = models.JSONField(
        _("skipped slots"),
        default=list,
        db_default=models.Value([], output_field=models.JSONField()),
        blank=True,
        editable=False,
    )

    # Kept by the scheduler: `save()` never writes them from memory.
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
        indexes = (
            models.Index(fields=("enabled", "next_run_at"), name="scheduledtask_due"),
            # For what the lists are filtered by, in the order in which they show it: by the value
            # alone a page of a group would be looked for among all names, or all its rows sorted.
            models.Index(fields=("group", "name_key"), name="scheduledtask_group_name"),
            models.Index(fields=("owner", "name_key"), name="scheduledtask_owner_name"),
            models.Index(fields=("task", "name_key"), name="scheduledtask_task_name"),
            models.Index(fields=("queue", "name_key"), name="scheduledtask_queue_name"),
            models.Index(
                fields=("name_key",), name="scheduledtask_disabled", condition=Q(enabled=False)
            ),
            models.Index(
                fields=("name_key",),
                name="scheduledtask_set_aside",
                condition=Q(state_reason="set_aside"),
            ),
            # For `named_from`: in the collation of the database LIKE cannot use the unique index.
            models.Index(
                fields=("name_key",),
                opclasses=["varchar_pattern_ops"],
                name="scheduledtask_name_prefix",
            ),
        )
        constraints = (
            models.UniqueConstraint(fields=("name_key",), name="scheduledtask_name_any_case"),
            models.CheckConstraint(
                name="scheduledtask_fields_of_its_kind",
                condition=Q(
                    kind="one_time",
                    run_at__isnull=False,
                    interval_seconds__isnull=True,
                    cron_expression="",
                )
                | Q(
                    kind="interval",
                    run_at__isnull=True,
                    interval_seconds__isnull=False,  # or NULL >= 1 is NULL, which a CHECK lets pass
                    interval_seconds__gte=1,
                    cron_expression="",
                )
                | (
                    Q(kind="cron", run_at__isnull=True, interval_seconds__isnull=True)
                    & ~Q(cron_expression="")
                ),
                violation_error_message=_(
                    "Give exactly the field of the kind: run at, every or cron expression."
                ),
            ),
            models.CheckConstraint(
                name="scheduledtask_priority",
                condition=Q(priority__isnull=True) | Q(priority__lte=9),
                violation_error_message=_("The priority is 0 to 9."),
            ),
            models.CheckConstraint(
                name="scheduledtask_ends_after_start",
                condition=Q(starts_at__isnull=True)
                | Q(ends_at__isnull=True)
                | Q(ends_at__gte=F("starts_at")),
                violation_error_message=_("It ends before it starts."),
            ),
        )
        permissions = (
            ("run_scheduledtask", _("Can run scheduled tasks now")),
            ("pause_scheduledtask", _("Can pause and resume scheduled tasks")),
            ("skip_scheduledtask", _("Can skip slots of scheduled tasks")),
            ("backfill_scheduledtask", _("Can backfill scheduled tasks")),
        )

    @classmethod
    def check(cls, **options: Any) -> list[CheckMessage]:
        """Django warns that MariaDB makes the partial indexes whole ones: those serve as well."""
        return [message for message in super().check(**options) if message.id != "models.W037"]

    def __str__(self) -> str:
        return self.name

    # Rule -----------------------------------------------------------------------------------------

    def schedule(self) -> Schedule:
        """The schedule as a value; `ScheduleError` if the columns do not make one."""
        reading.check_readable(self)
        if self.kind == Kind.CRON:
            return Cron(self.cron_expression, self.timezone)
        if self.kind == Kind.INTERVAL:
            anchor = (self.starts_at or self.created_at).replace(microsecond=0)
            return Interval(cleaning.interval_of(self.interval_seconds), anchor)
        if self.kind == Kind.ONE_TIME:
            return OneTime(cast(datetime, self.run_at))
        raise cleaning.unknown_kind(self.kind)

    def window(self) -> policies.Window:
        """The schedule between `starts_at` and `ends_at`; `ScheduleError` as `schedule()`."""
        return policies.Window(self.schedule(), self.starts_at, self.ends_at)

    def slots_left(self) -> int | None:
        """How many slots `max_runs` still allows to plan; None without a limit."""
        return None if self.max_runs is None else max(self.max_runs - self.slots_used, 0)

    def first_slot(self, after: datetime) -> datetime | None:
        """The first slot after `after` that may still be planned."""
        return None if self.slots_left() == 0 else self.window().next_after(after)

    def start_of(self, slot: datetime) -> datetime:
        """When the run of `slot` starts: the slot and its jitter."""
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
        if not self.enabled or self.state_reason == StateReason.SET_ASIDE or n <= 0:
            return []
        if everything_paused is None:
            everything_paused = Stop.objects.in_force().exists()
        if everything_paused:
            return []
        now = now or database_now()
        skipped, left = set(self.skip_slots), self.slots_left()
        slots: list[datetime] = []
        slot = self.window().next_after(now)
        while slot is not None and len(slots) < n:
            if left is not None and self._unplanned(slot):
                if left == 0:
                    break
                left -= 1
            if slot.isoformat() not in skipped:
                slots.append(slot)
            slot = self.window().next_after(slot)
        return slots

    def _unplanned(self, slot: datetime) -> bool:
        if self.next_run_at is not None:
            return slot >= self.next_run_at
        return self.last_run_at is None or slot > self.last_run_at

    # Edits ----------------------------------------------------------------------------------------

    def clean(self) -> None:
        """The only validation: the admin, the managers and the API all come through here."""
        cleaning.clean(self)

    def save(
        self,
        *,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Write the row in the edit transaction. `ValidationError` as from `clean()`."""
        write = functools.partial(super().save, using=using)
        if self._state.adding:
            edits.create(self, functools.partial(write, force_insert=force_insert))
        else:
            edits.save(self, functools.partial(write, force_update=force_update), update_fields)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the row; its runs stay, detached; those it still owes are cancelled."""
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
        """Let its slots run again from now on; True if it was paused."""
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

    @classmethod
    def from_db(
        cls, db: str | None, field_names: Collection[str], values: Collection[Any], **options: Any
    ) -> "ScheduledTask":
        row = super().from_db(db, field_names, values, **options)
        row.remember()
        return row

    def remember(self) -> None:
        """Note the row as stored, to know at `save()` what a person changed."""
        self._stored = {name: self.__dict__.get(name) for name in edits.DECIDING}

    _stored: dict[str, Any] | None = None

    #: What stands for stored values that cannot be read (see `scheduling.reading`).
    stand_ins: Mapping[str, Any] = MappingProxyType({})

    @property
    def unreadable(self) -> list[str]:
        """Columns whose stored value cannot be read, and for which nobody gave another one."""
        return [name for name, value in self.stand_ins.items() if getattr(self, name) is value]
