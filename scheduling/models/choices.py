"""What may stand in the columns of a `ScheduledTask` that offer a choice."""

from django.db import models
from django.utils.translation import gettext_lazy as _


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
