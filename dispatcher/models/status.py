"""The states of a run and what starts one."""

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class Status(TextChoices):
    PLANNED = "planned", _("planned")
    PUBLISHED = "published", _("published")
    RUNNING = "running", _("running")
    RETRYING = "retrying", _("retrying")
    SUCCEEDED = "succeeded", _("succeeded")
    FAILED = "failed", _("failed")
    LOST = "lost", _("lost")
    CANCELLED = "cancelled", _("cancelled")
    MISSED = "missed", _("missed")
    SKIPPED = "skipped", _("skipped")


class Trigger(TextChoices):
    SCHEDULE = "schedule", pgettext_lazy("what started a run", "schedule")
    MANUAL = "manual", _("manual")
    BACKFILL = "backfill", _("backfill")
    RERUN = "rerun", _("rerun")


#: Not started: no worker has claimed any attempt.
UNSTARTED = (Status.PLANNED, Status.PUBLISHED)
#: Waiting for a worker: a message of theirs is, or should be, in the broker.
WAITING = (*UNSTARTED, Status.RETRYING)
#: Started and not ended.
ACTIVE = (Status.RUNNING, Status.RETRYING)
#: Ended badly: what `pause_after_failures` counts and an owner is told of.
BAD = (Status.FAILED, Status.LOST)
#: Ended as its function made it end: what says whether a scheduled task works.
COUNTED = (Status.SUCCEEDED, *BAD)
#: Ended; nothing leaves these, but a late end that corrects `lost`.
ENDED = (
    Status.SUCCEEDED,
    Status.FAILED,
    Status.LOST,
    Status.CANCELLED,
    Status.MISSED,
    Status.SKIPPED,
)
