"""`manage.py create_demo`: example scheduled tasks."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from project.demo import tasks
from scheduling.models import ScheduledTask


class Command(BaseCommand):
    help = "Creates the example scheduled tasks. Those that exist, by name, stay as they are."

    def handle(self, *args: Any, **options: Any) -> None:
        created = [name for name, create in self.examples().items() if self.create(name, create)]
        if created:
            self.stdout.write(f"Created examples: {', '.join(created)}.")

    def create(self, name: str, create: Callable[[str], ScheduledTask]) -> bool:
        if ScheduledTask.objects.filter(name=name).exists():
            return False
        create(name)
        return True

    def examples(self) -> dict[str, Callable[[str], ScheduledTask]]:
        make = ScheduledTask.objects
        soon = timezone.now() + timedelta(seconds=20)
        return {
            "Heartbeat, every 5 seconds": lambda name: make.create_interval(
                name, tasks.heartbeat, 5, group="demo"
            ),
            "Add, every minute": lambda name: make.create_cron(
                name, tasks.add, "* * * * *", args=[2, 3], group="demo"
            ),
            "Report, once": lambda name: make.create_one_time(
                name, tasks.send_report, soon, kwargs={"name": "Ada", "pages": 3}, group="demo"
            ),
            "Import orders, fails every minute": lambda name: make.create_cron(
                name, tasks.import_orders, "* * * * *", group="demo"
            ),
            "Tidy up, working days at 03:30 in Shanghai": lambda name: make.create_cron(
                name,
                tasks.tidy_up,
                "30 3 * * mon-fri",
                timezone="Asia/Shanghai",
                overlap_policy="skip",
                group="demo",
            ),
        }
