"""`ScheduledTask.objects`: questions about schedules, and writes that keep their runs true."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import NotSupportedError, connections, models, transaction
from django.db.models import F, OrderBy, Q

from scheduling import edits, trail, validation
from scheduling.database import free, in_batches, locked
from scheduling.models import spoilt_rows
from scheduling.models.choices import Kind
from scheduling.models.state import State, where
from scheduling.stop import is_everything_paused

if TYPE_CHECKING:
    from scheduling.models.scheduled_task import ScheduledTask

#: How long a row that was set aside waits for its next try.
SET_ASIDE_RETRY = timedelta(days=1)

_FIRST_MOMENT = datetime(1000, 1, 1, tzinfo=UTC)
_LAST_MOMENT = datetime.max.replace(tzinfo=UTC)


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
        self._iterable_class = spoilt_rows.ReadableIterable

    def evaluated(self, now: datetime) -> "ScheduledTaskQuerySet":
        """Enabled, and not set aside less than a day ago."""
        fresh = where(State.SET_ASIDE) & Q(state_reason_at__gt=now - SET_ASIDE_RETRY)
        return self.filter(enabled=True).exclude(fresh)

    def in_state(self, state: str) -> "ScheduledTaskQuerySet":
        """`active`, `paused`, `finished` or `set_aside`, as the scheduler has noted it."""
        return self.filter(where(state))

    def named_from(self, prefix: str) -> "ScheduledTaskQuerySet":
        """Rows whose name begins so, in upper or lower case; by an index, and in its
        order."""
        if connections[self.db].vendor == "postgresql":
            named = self.filter(name_key__startswith=prefix.lower())
            return named.order_by(_ByLetter(F("name_key")))
        # The others compare without case: MySQL and MariaDB every letter, and by the index, which
        # their LIKE BINARY would not use; SQLite those that its `lower()` knows too.
        return self.filter(name_key__istartswith=prefix)

    def due(self, now: datetime, horizon: datetime) -> "ScheduledTaskQuerySet":
        """Rows with a slot up to `horizon` not planned yet, or with none computed yet; none of
        them while everything is paused."""
        unplanned = Q(next_run_at__lte=horizon) | Q(next_run_at=None)
        return self.evaluated(now).filter(unplanned, ~is_everything_paused())

    def distrust(self) -> int:
        """Forget next slots that no rule has, so that they are computed: outside the calendar,
        before the schedule starts or after it ends. Raw SQL makes them; the due rows are found by
        them, so that one that lies ahead would hide for as long that the schedule is over."""
        calendar = Q(next_run_at__lt=_FIRST_MOMENT) | Q(next_run_at__gte=_LAST_MOMENT)
        window = Q(next_run_at__lt=F("starts_at")) | Q(next_run_at__gt=F("ends_at"))
        outside = self.filter(calendar | window, enabled=True)
        if not outside.exists():  # looked for without a lock
            return 0
        ids = free(outside)
        return outside.filter(pk__in=ids).keep(next_run_at=None) if ids else 0

    def resumable(self, now: datetime) -> "ScheduledTaskQuerySet":
        return self.filter(where(State.PAUSED), paused_until__lte=now)

    def keep(self, **columns: Any) -> int:
        """Write columns that only the scheduler writes: no edit, no signal, no new revision."""
        return super().update(**columns)

    def set_aside(self, code: str, message: str, now: datetime) -> int:
        """Stop evaluating the rows, with the reason; tried again after an edit, or a day."""
        reason, params = State.SET_ASIDE, {"code": code, "message": message[:500]}
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
            trail.note_by_scheduler(self.model.objects.filter(pk__in=news), now)
        return written

    def bring_back(self, now: datetime) -> None:
        """Note that rows of the selection, set aside until now, are evaluated again."""
        trail.note_by_scheduler(self, now)

    def finish(self, now: datetime) -> int:
        """Disable rows that have no further slot."""
        with transaction.atomic():
            over = locked(self.filter(enabled=True, next_run_at=None).order_by("pk"))
            rows = self.model.objects.filter(pk__in=list(over.values_list("pk", flat=True)))
            written = rows.keep(
                enabled=False,
                state_reason=State.FINISHED,
                state_reason_params={},
                state_reason_at=now,
                state_reason_by="",
            )
            trail.note_by_scheduler(rows, now)
        return written

    def update(self, **columns: Any) -> int:
        """As Django's, but a change of what people set is an edit of each row, in batches: its
        unstarted runs follow, and the audit trail. It validates nothing, as Django's."""
        if not validation.is_edit(columns):
            return super().update(**columns)
        return edits.update_each(self, columns)

    def bulk_update(
        self, objs: Iterable["ScheduledTask"], fields: Iterable[str], batch_size: int | None = None
    ) -> int:
        names = list(fields)
        if not validation.is_edit(names):
            return super().bulk_update(objs, names, batch_size=batch_size)
        return edits.bulk_update_each(list(objs), names)

    def bulk_create(  # type: ignore[override]  # the options are refused, not named
        self, objs: Iterable["ScheduledTask"], batch_size: int | None = None, **options: Any
    ) -> list["ScheduledTask"]:
        """As Django's, with the audit trail. It validates nothing, as Django's, and plans nothing:
        the next tick does, from `armed_at` on. It cannot update rows, which would be no edit."""
        if any(options.values()):
            raise NotSupportedError("Scheduled tasks cannot be inserted with conflicts.")
        with transaction.atomic():
            rows = super().bulk_create(objs, batch_size=batch_size)
            edits.note_created(rows)
        return rows

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete row by row, so that the slots that each still owes get their runs. Returns what
        Django's does."""
        deleted = sum(task.delete()[0] for task in in_batches(self.order_by("pk")))
        return deleted, {self.model._meta.label: deleted}

    delete.queryset_only = True  # type: ignore[attr-defined]

    # Create. Each validates as the admin does: `ValidationError` names the field. `task` is a
    # Celery task, its registered name, or the signature of one, whose arguments follow `args`, and
    # whose queue, priority, expiry and time limits hold where `options` (further fields) say
    # nothing. None for a text is its default.

    def create_one_time(
        self,
        name: str,
        task: Any,
        run_at: datetime,
        *,
        args: Sequence[Any] | None = (),
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
        args: Sequence[Any] | None = (),
        kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> "ScheduledTask":
        """Run every `every` (whole seconds, or a timedelta of whole seconds)."""
        seconds = validation.whole_seconds(every)
        rule = {"interval_seconds": seconds}
        return self._create(Kind.INTERVAL, name, task, args, kwargs, options, rule)

    def create_cron(
        self,
        name: str,
        task: Any,
        expression: str,
        *,
        args: Sequence[Any] | None = (),
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
        args: Sequence[Any] | None,
        kwargs: dict[str, Any] | None,
        options: dict[str, Any],
        rule: dict[str, Any],
    ) -> "ScheduledTask":
        call = validation.called(task, args, kwargs)
        columns = validation.columns_of(self.model, call, rule, options)
        row = self.model(
            kind=kind, name=name, task=call.task, args=call.args, kwargs=call.kwargs, **columns
        )
        validation.check_values(row)
        row.save(force_insert=True, using=self.db)
        return row
