"""How the project is set up: migrations, isolation, e-mail, retention."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from dispatcher.models import Failing
from dispatcher.upkeep import prune
from dispatcher.watch.checks import check_isolation
from dispatcher.watch.doctor.finding import Finding, listed
from scheduling.models import ScheduledTask

CONSOLE = "django.core.mail.backends.console.EmailBackend"
#: A mail that waits longer could not be sent.
MAIL_AGE = timedelta(minutes=5)


def check_migrations() -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    missing = [f"{migration.app_label}.{migration.name}" for migration, _backwards in plan]
    if missing:
        yield Finding(
            "unmigrated",
            f"These migrations have not been applied: {listed(missing)}. Run manage.py migrate.",
        )


def check_database(now: datetime) -> Iterator[Finding]:
    for problem in check_isolation(databases=["default"]):
        yield Finding("isolation", f"{problem.msg} {problem.hint}")


def check_mail(now: datetime) -> Iterator[Finding]:
    printed = settings.EMAIL_BACKEND == CONSOLE and not settings.DEBUG
    if printed and ScheduledTask.objects.exclude(owner="").exists():
        yield Finding(
            "mail_not_configured",
            "Scheduled tasks have owners, but mails to them are only printed by the dispatcher. "
            "Set EMAIL_URL to a mail server, or to dummymail:// to send none.",
        )
    unsent = Failing.objects.filter(tell_at__isnull=False, noticed_at__lt=now - MAIL_AGE).count()
    if unsent:
        yield Finding(
            "mail_failing",
            f"Mails about {unsent} scheduled tasks could not be sent for over "
            f"{MAIL_AGE.total_seconds() / 60:.0f} minutes. The dispatcher's log says why (action "
            "mail_failed); look at EMAIL_URL and the mail server.",
        )


def check_retention(now: datetime) -> Iterator[Finding]:
    if prune.is_behind(now):
        yield Finding(
            "prune_behind",
            "Runs are kept a day longer than the settings say: the hourly pruning does not run, "
            "or does not keep up. Run manage.py prune_runs; if this comes back, lower "
            "SCHEDULER_RUN_RETENTION_DAYS or run that command by cron.",
        )


CHECKS = (check_database, check_mail, check_retention)
