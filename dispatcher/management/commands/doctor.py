"""`manage.py doctor`: what is wrong and what to do, in sentences."""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError

from dispatcher.watch.doctor import Finding, examine
from dispatcher.watch.doctor.installed import report


class Command(BaseCommand):
    help = "Say what is wrong and what to do; exit code 1 if anything is, advice aside."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="a JSON list instead of sentences")

        parser.add_argument(
            "--install",
            action="store_true",
            help="only say what dispatcher.install changed, and what is recommended",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["install"]:
            for line in report():
                self.stdout.write(line)
            return
        try:
            findings = examine()
        except DatabaseError as error:
            sentence = f"The database does not answer, or is not migrated: {error}"
            findings = [Finding("database", sentence)]
        if options["json"]:
            self.stdout.write(json.dumps([vars(finding) for finding in findings], indent=2))
        else:
            for finding in findings:
                self.stdout.write(f"- {finding.sentence}")
            if not findings:
                self.stdout.write("Everything is well.")
        if any(not finding.is_advice for finding in findings):
            sys.exit(1)
