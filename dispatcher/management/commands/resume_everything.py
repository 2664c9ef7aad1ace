"""`manage.py resume_everything`: let the schedules run again."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from scheduling.stop import resume_everything


class Command(BaseCommand):
    help = "End pause_everything: the misfire rules decide what became late meanwhile."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--by", default="", help="who, for the record")

    def handle(self, *args: Any, **options: Any) -> None:
        if resume_everything(by=options["by"]):
            self.stdout.write("The schedules run again.")
        else:
            self.stdout.write("Nothing was paused.")
