"""`manage.py prune_runs`: retention, at once instead of in the hourly tick."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils.translation import ngettext

from dispatcher.upkeep.prune import prune
from scheduling.database import database_now


class Command(BaseCommand):
    help = "Delete runs, ticks and workers that are older than the SCHEDULER_* settings keep them."

    def handle(self, *args: Any, **options: Any) -> None:
        count = prune(database_now())
        self.stdout.write(
            ngettext("%(count)d row was deleted.", "%(count)d rows were deleted.", count)
            % {"count": count}
        )
