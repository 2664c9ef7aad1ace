"""`manage.py upcoming`: what will run, as the preview and the tick see it."""

import heapq
import json
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand

from scheduling.database import database_now, in_batches
from scheduling.models import ScheduledTask
from scheduling.stop import current_stop


class Command(BaseCommand):
    help = "List the next slots of all schedules, soonest first (UTC)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("-n", type=int, default=20, help="how many slots (default 20)")
        parser.add_argument("--name", help="only the scheduled task of this name")
        parser.add_argument("--json", action="store_true", help="a JSON list instead of lines")

    def handle(self, *args: Any, **options: Any) -> None:
        now = database_now()
        if current_stop() is not None:
            self.stderr.write("Everything is paused: nothing will run until it is resumed.")
            found = []
        else:
            found = heapq.nsmallest(options["n"], _slots(options["name"], options["n"], now))
        rows = [
            {"slot": slot.isoformat(), "start_at": start.isoformat(), "name": name}
            for slot, name, start in found
        ]
        if options["json"]:
            self.stdout.write(json.dumps(rows, indent=2))
            return
        for row in rows:
            self.stdout.write(f"{row['slot']}  {row['name']}")


def _slots(name: str | None, n: int, now: datetime) -> Iterator[tuple[datetime, str, datetime]]:
    tasks = ScheduledTask.objects.evaluated(now)
    if name:
        tasks = tasks.filter(name__iexact=name)
    for task in in_batches(tasks.order_by("pk")):
        try:
            for slot in task.upcoming(n, now=now, everything_paused=False):
                yield slot, task.name, task.start_of(slot)
        except Exception:
            continue  # garbage by raw SQL: the tick sets it aside, `doctor` shows it
