"""`manage.py verify_slots`: is every slot accounted for?"""

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dispatcher.verify import Report, verify
from dispatcher.verify.findings import KINDS, LISTED, Finding, text


class Command(BaseCommand):
    help = (
        "Compute from the audit trail which slots there should have been, and compare with the "
        "runs. Exit code 0: every slot is accounted for; 1: some are missing, extra or undecided; "
        "2: a bad argument."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--task", action="append", metavar="NAME", help="only this one")
        parser.add_argument("--since", type=_moment, metavar="ISO", help="2026-11-21T09:00:00Z")
        parser.add_argument("--until", type=_moment, metavar="ISO", help="by default 2 min ago")
        parser.add_argument("--json", action="store_true", help="JSON instead of sentences")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report = verify(options["since"], options["until"], options["task"])
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(report), indent=2, default=str))
        else:
            for line in _lines(report):
                self.stdout.write(line)
        if not report.is_clean:
            sys.exit(1)


def _moment(value: str) -> datetime:
    """An ISO time with its zone; argparse turns the ValueError into exit code 2."""
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment


_moment.__name__ = "ISO time with its zone"  # what argparse calls it


def _lines(report: Report) -> list[str]:
    lines = [
        f"{text(report.since)} to {text(report.until)}: {report.schedules} schedules, "
        f"{report.slots} slots accounted for, {report.running} still running."
    ]
    for kind in KINDS:
        count, listed = report.counts[kind], report.listed[kind]
        if count:
            lines.append(f"{count} {kind}:")
            lines += [f"- {finding.sentence}" for finding in listed]
        if len(listed) == LISTED:
            lines.append(f"- … (the first {LISTED} are listed)")
    lines += [f"Note: {note}" for note in report.notes]
    return [*lines, "Every slot is accounted for."] if report.is_clean else lines


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "accounted": report.is_clean,
        "since": report.since.isoformat(),
        "until": report.until.isoformat(),
        "schedules": report.schedules,
        "slots": report.slots,
        "running": report.running,
        **{
            kind: {
                "count": report.counts[kind],
                "listed": [_finding(finding) for finding in report.listed[kind]],
            }
            for kind in KINDS
        },
        "notes": report.notes,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    shown = asdict(finding) | {"sentence": finding.sentence}
    del shown["kind"]
    return shown | {"first": finding.first.isoformat(), "last": finding.last.isoformat()}
