"""`manage.py pause_everything`: the switch that holds every schedule."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from scheduling.stop import pause_everything


class Command(BaseCommand):
    help = "Hold all schedules, until resume_everything. Running and manual runs go on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--by", default="", help="who, for the record")

    def handle(self, *args: Any, **options: Any) -> None:
        if pause_everything(by=options["by"], via="command"):
            self.stdout.write("Everything is paused. manage.py resume_everything ends it.")
        else:
            self.stdout.write("Everything was paused already.")
