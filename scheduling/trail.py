"""The audit trail: who changed which scheduled task, when, from where, and how it stands since.

The edit transaction writes one row per edit at its end, when revision, state and times are final.
What changed is the difference to the row before. The rows outlive the scheduled task, and
`verify_slots` reads from them which rule was in force when.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import DataError, IntegrityError, models, transaction
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from scheduling.schedules.zones import tzdata_version

if TYPE_CHECKING:
    from scheduling.models import ScheduledTask

logger = logging.getLogger(__name__)

CREATED, CHANGED, DELETED = "+", "~", "-"

#: Entries written by one statement.
ENTRIES_AT_ONCE = 500


class Via(models.TextChoices):
    """From where a change came."""

    ADMIN = "admin", _("admin")
    API = "api", _("API")
    CODE = "code", _("code")
    COMMAND = "command", _("command")
    SCHEDULER = "scheduler", _("scheduler")


# Who is at work ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class OfToken:
    """A user at work through an API token; as a text “ann (token ci)”, the token never cut off."""

    user: Any
    token: str

    def __str__(self) -> str:
        token = f" (token {self.token})"
        return f"{str(self.user)[: 200 - len(token)]}{token}"


@dataclass(frozen=True)
class Actor:
    """Who changes scheduled tasks now, and from where. `by`: a user, a user's token, or a name."""

    via: str = Via.CODE
    by: Any = None


_CODE = Actor()
_actor: ContextVar[Actor] = ContextVar("actor", default=_CODE)
_in_edit: ContextVar[bool] = ContextVar("in_edit", default=False)


@contextmanager
def acting(via: str, by: Any = None) -> Iterator[None]:
    """Note what is changed inside the block as theirs: `with acting("api", by=request.user): …`"""
    token = _actor.set(Actor(via, by))
    try:
        yield
    finally:
        _actor.reset(token)


def actor() -> Actor:
    return _actor.get()


@contextmanager
def one_edit() -> Iterator[None]:
    """Count what the scheduler does to a row in the block as part of the edit that it follows."""
    token = _in_edit.set(True)
    try:
        yield
    finally:
        _in_edit.reset(token)


# The rows ----------------------------------------------------------------------------------------


class Entry(models.Model):
    """What a row of the trail says besides the scheduled task as it stood then."""

    via = models.CharField(_("from"), max_length=20, choices=Via.choices)
    by = models.CharField(_("by"), max_length=200, blank=True, default="")
    tzdata = models.CharField(_("time zone data"), max_length=20, blank=True, default="")

    class Meta:
        abstract = True


def user_model() -> Any:
    """The project's user model; None where there is none."""
    try:
        return get_user_model()
    except ImproperlyConfigured:
        return None


def _user_id(who: Any) -> str | None:
    """The key of the user at work, as text; None of a name, and of nobody."""
    user = who.user if isinstance(who, OfToken) else who
    model = user_model()
    return str(user.pk) if model and isinstance(user, model) else None


def _user_of(entry: Any) -> Any:
    """The user who acted; None if it was none, or has been deleted since."""
    model = user_model()
    if model is None or entry.history_user_id is None:
        return None
    try:
        return model._base_manager.filter(pk=entry.history_user_id).first()
    except (ValueError, ValidationError):
        return None  # a key of an earlier user model


class Trail(HistoricalRecords):  # type: ignore[misc]  # untyped
    """The history of a model, without the signals that would write a row in the middle of an edit,
    and without the project-wide settings that would change its columns or switch it off."""

    _date_indexing = False  # a project's setting; our index below serves every question asked

    def __init__(self, **options: Any) -> None:
        super().__init__(
            bases=[Entry],
            history_id_field=models.BigAutoField(),
            history_change_reason_field=models.CharField(max_length=100, null=True),
            # No foreign key: any user model will do, or none, and a deletion leaves who it was.
            history_user_id_field=models.CharField(max_length=255, null=True),
            history_user_getter=_user_of,
            no_db_index=["id"],
            **options,
        )

    def finalize(self, sender: type[models.Model], **signal: Any) -> None:
        super().finalize(sender, **signal)
        if sender is self.cls:
            models.signals.post_save.disconnect(self.post_save, sender=sender)
            models.signals.pre_delete.disconnect(self.pre_delete, sender=sender)
            models.signals.post_delete.disconnect(self.post_delete, sender=sender)

    def get_meta_options(self, model: type[models.Model]) -> dict[str, Any]:
        options: dict[str, Any] = super().get_meta_options(model)
        return options | {
            # Under the lock of the scheduled task ids grow with time; a clock may be set back.
            "ordering": ("-history_id",),
            "get_latest_by": ("history_id",),
            "indexes": (models.Index(fields=("id", "history_id"), name="scheduledtask_trail"),),
            "default_permissions": (),
        }


def tracked(model: type["ScheduledTask"]) -> list[str]:
    """The columns that the trail keeps."""
    return [field.attname for field in model.history.model.tracked_fields]


def note(rows: Iterable["ScheduledTask"], kind: str, now: datetime, *, by: Any = None) -> None:
    """Note that these rows were `kind` (created, changed, deleted) at `now`, as they stand in the
    caller's hands. Call it last, inside the transaction: it says what that came to."""
    rows = list(rows)
    if not rows:
        return
    who = actor().by if by is None else by
    entry, columns = type(rows[0]).history.model, tracked(type(rows[0]))
    common = {
        "history_type": kind,
        "history_date": now,
        "history_user_id": _user_id(who) or _user_id(actor().by),
        "via": actor().via,
        "by": str(who or "")[:200],
        "tzdata": tzdata_version(),
    }
    entry.objects.bulk_create(
        [entry(**{name: getattr(row, name) for name in columns}, **common) for row in rows],
        batch_size=ENTRIES_AT_ONCE,
    )


def note_changed(
    pairs: Iterable[tuple["ScheduledTask", "ScheduledTask"]], now: datetime, *, by: Any = None
) -> None:
    """Note each (old, new) that differs in anything that the trail keeps."""
    note([new for old, new in pairs if _differ(old, new)], CHANGED, now, by=by)


def note_by_scheduler(rows: Iterable["ScheduledTask"], now: datetime) -> None:
    """Note what the scheduler itself did to rows, unless it did so inside an edit of them.

    What SQL wrote into them may be nothing that can be read and copied; that stops no scheduler.
    """
    if _in_edit.get():
        return
    try:
        with acting(Via.SCHEDULER), transaction.atomic():
            note(rows, CHANGED, now)
    except (ValueError, TypeError, OverflowError, DataError, IntegrityError):
        logger.exception("The audit trail cannot keep these rows", extra={"action": "no_trail"})


def _differ(old: "ScheduledTask", new: "ScheduledTask") -> bool:
    return any(getattr(old, name) != getattr(new, name) for name in tracked(type(new)))
